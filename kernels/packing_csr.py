"""Packs sparse weights for the C kernels of csrc/conv_csr and csrc/conv_block, with the proof that
int16 suffices.

A packed row is a list of entries, each of `k_group` non-zeros: their offsets in lanes, then one
32-bit word of weights (csrc/conv_csr/csr.h). A 1x4 block is an entry of one non-zero, whose value
is the word of its four weights. Rows are dealt to panels, which threads may run at
the same time; within a panel they are cut into segments by blocks of input channels, so that the
part of the input which a segment reads stays in L1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ModelError
from ..records import record
from ._native import ffi, lib
from .csr_windows import pair_up, window_up
from .native import CData, aligned_zeros, pointer
from .step import WORD
from .sums import count_nonzeros, count_weights

Array = npt.NDArray[Any]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

SEGMENT = np.dtype([("row", "i4"), ("steps", "i4"), ("first", "i4"), ("last", "i4")])
MAX_STEPS = 2**31 - 1  # of a segment
MAX_WINDOWS = 128  # csrc/conv_csr/avx2_s8.c: what floor(s / 256) drops stays within int16


@record(frozen=True, slots=True)
class PackedCsr:
    """See sp_csr_matrix. window: pairs that may be added in int16; 1 for other entries."""

    part_segment: npt.NDArray[np.int32]
    part_byte: I64
    panels: int
    parts: int
    channel_block: int
    segments: Array
    entries: npt.NDArray[np.int32]
    split_rows: bool
    window: int

    @property
    def nbytes(self) -> int:
        return self.entries.nbytes + self.segments.nbytes


@record(frozen=True, slots=True)
class Nonzeros:
    """Non-zeros of a weight [O, C / groups, kh, kw], by segments: those of a row within a block of
    `channel_block` input channels (of blocks: words), in memory order.

    count: non-zeros of each segment, [blocks, rows]. offset: lanes; where `local`, counted from the
    block's first channel. value: int8 or float32; int32 for words of four int8 weights.
    """

    count: I64
    offset: npt.NDArray[np.int32]
    value: Array
    channel_block: int
    local: bool = False

    @property
    def are_blocks(self) -> bool:
        return bool(self.value.dtype == np.int32)


def find_nonzeros(
    weight: Array, groups: int, channel_lanes: int, taps: I64, channel_block: int
) -> Nonzeros:
    """weight: int8 or float32. channel_lanes: from one channel to the next. taps: lanes from an
    output to each tap, [kh, kw]. Floats come with the offsets of their block alone."""
    outputs, per_group = weight.shape[:2]
    blocks = max(1, -(-per_group * groups // channel_block))
    floats = weight.dtype == np.float32
    block_lanes = channel_block * channel_lanes if floats else 0
    source, _lanes = _source(weight, groups, channel_lanes, taps, channel_block, block_lanes)
    count, capacity = np.zeros((blocks, outputs), np.int64), count_nonzeros(weight)
    offset, value = np.empty(capacity, np.int32), np.empty(capacity, weight.dtype)
    given = np.ascontiguousarray(weight)
    listed = lib.sp_list_nonzeros(
        ffi.NULL if floats else pointer(given, "int8_t *"),
        pointer(given, "float *") if floats else ffi.NULL,
        *(source, pointer(count, "int64_t *"), pointer(offset, "int32_t *"), pointer(value)),
        capacity,
    )
    if listed != capacity:
        raise ModelError("weights changed while they were packed")
    return Nonzeros(count, offset, value, channel_block, local=floats)


def find_blocks(weight: Array, groups: int, channel_lanes: int, taps: I64, x_max: int) -> Nonzeros:
    """Non-zero blocks of four neighbouring input channels. weight: int8 [O, 4 n, kh, kw].

    x_max: largest activation where a pair of weights has to fit int16, else 0. A block of which a
    pair does not becomes two, with one weight of each pair.
    """
    outputs, per_group = weight.shape[:2]
    words = max(1, per_group * groups // WORD)
    source, _lanes = _source(weight, groups, channel_lanes, taps, words, 0, WORD)
    count, capacity = np.zeros((1, outputs), np.int64), 2 * count_weights(weight).blocks
    offset, value = np.empty(capacity, np.int32), np.empty(capacity, np.int32)
    listed = lib.sp_list_blocks(
        pointer(np.ascontiguousarray(weight), "int8_t *"),
        *(source, x_max, pointer(count, "int64_t *"), pointer(offset, "int32_t *")),
        *(pointer(value, "int8_t *"), capacity),
    )
    if listed < 0:
        raise ModelError("weights changed while they were packed")
    return Nonzeros(count, offset[:listed], value[:listed], words)


def _source(
    weight: Array,
    groups: int,
    channel_lanes: int,
    taps: I64,
    block_channels: int,
    block_lanes: int,
    together: int = 1,
) -> tuple[CData, Array]:
    """An sp_sparse_source, and the array that it points to. together: channels that are one."""
    outputs, per_group = weight.shape[:2]
    units = per_group // together
    lanes = np.arange(units, dtype=np.int64)[:, None] * channel_lanes + taps.reshape(-1)
    lanes = lanes.astype(np.int32)
    source = ffi.new("sp_sparse_source *")
    source.rows, source.channels, source.taps = outputs, per_group, taps.size
    source.group_rows = outputs // groups
    source.lane = pointer(lanes, "int32_t *")
    source.group_lanes = units * channel_lanes
    source.block_channels, source.block_lanes = block_channels, block_lanes
    return source, lanes


def panels_for(lanes: int, outputs: int, threads: int) -> int:
    """So many panels of channels that every thread finds work, however small the image."""
    blocks = -(-lanes // 64)
    wanted = -(-4 * threads // blocks) if threads > 1 else 1
    return max(1, min(wanted, outputs // 8))


def pack_csr(
    nonzeros: Nonzeros, k_group: int, panels: int, x_max: int, together: int = 1
) -> PackedCsr:
    """x_max: largest activation where int16 sums need a proof, else 0. together: rows that stay in
    one panel."""
    blocks = len(nonzeros.count)
    panel = _deal(nonzeros.count, panels, together)
    count, value, slot = nonzeros.count.reshape(-1), nonzeros.value, None
    parts = blocks if nonzeros.local else 1  # int8 brings all channels into lanes at once
    window, limit = 1, MAX_STEPS
    if k_group == 2 or (nonzeros.are_blocks and x_max):
        join = window_up if nonzeros.are_blocks else pair_up
        pairing = join(value, count, x_max)
        slot, steps, window = pairing.slot, pairing.steps, pairing.window
    else:
        steps = -(-count // k_group)
    if k_group == 2:
        limit = MAX_WINDOWS * window
    order = _order(steps.reshape(blocks, -1), panel, panels, parts, limit)

    entries = aligned_zeros((int(steps.sum()), k_group + 1), np.int32)
    _fill(entries, nonzeros.offset, slot, value, count, order.start)
    part_byte = order.part_start * (entries.shape[1] * 4)
    split = len(order.segments) > len(panel)
    block = nonzeros.channel_block
    return PackedCsr(
        *(order.part_segment, part_byte, panels, parts, block, order.segments, entries),
        *(split, window),
    )


@record(frozen=True, slots=True)
class _Order:
    """Segments in the order in which they run. start: the first step of each row in a block of
    channels, [blocks * rows]. part_segment, part_start: first segment and step of each part."""

    start: I64
    segments: Array
    part_segment: I32
    part_start: I64


def _order(steps: I64, panel: I64, panels: int, parts: int, limit: int) -> _Order:
    """steps: [blocks, rows]. panel: of each row. limit: steps of a segment (csr_segments.c)."""
    blocks, rows = steps.shape
    given, longest = pointer(steps, "int64_t *"), int(steps.max(initial=0))
    segments = np.empty(lib.sp_count_csr_segments(given, steps.size, limit), SEGMENT)
    start, part_start = np.empty(steps.size, np.int64), np.empty(panels * parts, np.int64)
    part_segment = np.empty(panels * parts + 1, np.int32)
    scratch = np.empty(panels * (blocks + 1) + longest + 2 + rows, np.int64)
    ordered = np.empty(steps.size, np.int32)
    sizes = rows, blocks, panels, parts
    source = ffi.new("sp_csr_rows *", (*sizes, pointer(panel, "int64_t *"), given, longest, limit))
    lib.sp_order_csr(
        *(source, pointer(scratch, "int64_t *"), pointer(ordered, "int32_t *")),
        *(pointer(start, "int64_t *"), pointer(segments, "sp_csr_segment *")),
        *(pointer(part_segment, "int32_t *"), pointer(part_start, "int64_t *")),
    )
    return _Order(start, segments, part_segment, part_start)


def _fill(
    entries: Array, offset: Array, slot: I32 | None, value: Array, count: I64, start: I64
) -> None:
    """Write each non-zero into its place; slot: None for one after the other. entries: zero,
    [steps, k_group + 1]."""
    k_group = entries.shape[1] - 1
    if k_group == 1:  # a word of its own
        value = value.view(np.int32) if value.dtype == np.float32 else value.astype(np.int32)
    lib.sp_fill_csr(
        pointer(offset, "int32_t *"),
        ffi.NULL if slot is None else pointer(slot, "int32_t *"),
        pointer(np.ascontiguousarray(value)),
        *(pointer(count, "int64_t *"), pointer(start, "int64_t *")),
        *(len(count), k_group, pointer(entries, "int32_t *")),
    )


def _deal(counts: I64, panels: int, together: int) -> I64:
    """The panel of each row, of which the non-zeros are known, [blocks, rows]: the fullest rows, or
    groups of rows, are dealt out first."""
    if panels == 1:
        return np.zeros(counts.shape[1], np.int64)
    count = counts.sum(axis=0)
    units = -(-len(count) // together)
    fullness = np.add.reduceat(count, np.arange(units) * together) if units else count
    panel = np.empty(units, np.int64)
    panel[np.argsort(-fullness, kind="stable")] = np.arange(units) % panels
    return np.repeat(panel, together)[: len(count)]
