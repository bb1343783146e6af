"""Packs sparse weights for the C kernels of csrc/conv_csr and csrc/conv_block, with the proof that
int16 suffices.

A packed row is a list of entries, each of `k_group` non-zeros: their offsets in lanes, then one
32-bit word of weights (csrc/conv_csr/csr.h). A 1x4 block is an entry of one non-zero, whose value
is the word of its four weights. Rows are dealt to panels, which threads may run at
the same time; within a panel they are cut into segments by blocks of input channels, so that the
part of the input which a segment reads stays in L1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ._native import lib
from .csr_windows import Pairing, block_sums, pair_up, window_up
from .native import pointer
from .step import WORD

Array = npt.NDArray[Any]
I64 = npt.NDArray[np.int64]

SEGMENT = np.dtype([("row", "i4"), ("steps", "i4"), ("first", "i4"), ("last", "i4")])
MAX_WINDOWS = 128  # csrc/conv_csr/avx2_s8.c: what floor(s / 256) drops stays within int16


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Nonzeros:
    """Non-zeros of a weight [O, C / groups, kh, kw], in memory order.

    channel: of the input. value: int8 or float32; int32 for words of four int8 weights, where
    channels count words. channel_lanes: lanes from one channel to the next.
    """

    rows: int
    row: I64
    channel: I64
    offset: I64
    value: Array
    channel_lanes: int

    @property
    def are_blocks(self) -> bool:
        return bool(self.value.dtype == np.int32)


def find_nonzeros(weight: Array, groups: int, channel_lanes: int, taps: I64) -> Nonzeros:
    """taps: lanes from an output to each tap, [kh, kw]."""
    outputs, per_group = weight.shape[:2]
    flat = weight.reshape(outputs, per_group * taps.size)
    found = flat != 0
    place = np.flatnonzero(found)
    row = np.repeat(np.arange(outputs), np.count_nonzero(found, axis=1))
    inner = place - row * flat.shape[1]  # place in its row
    before = row // (outputs // groups) * per_group  # channels of the groups before
    channel = np.repeat(np.arange(per_group), taps.size)[inner] + before
    lanes = np.arange(per_group)[:, None] * channel_lanes + taps.reshape(-1)
    offset = lanes.reshape(-1)[inner] + before * channel_lanes
    return Nonzeros(outputs, row, channel, offset, flat.reshape(-1)[place], channel_lanes)


def find_blocks(weight: Array, groups: int, channel_lanes: int, taps: I64, x_max: int) -> Nonzeros:
    """Non-zero blocks of four neighbouring input channels. weight: int8 [O, 4 n, kh, kw].

    x_max: largest activation where a pair of weights has to fit int16, else 0. A block of which a
    pair does not becomes two, with one weight of each pair.
    """
    outputs, per_group = weight.shape[:2]
    words = weight.reshape(outputs, per_group // WORD, WORD, *weight.shape[2:])
    words = np.ascontiguousarray(words.transpose(0, 1, 3, 4, 2))
    row, inner, tap_h, tap_w = np.nonzero(words.any(axis=4))
    blocks = words[row, inner, tap_h, tap_w]
    channel = row // (outputs // groups) * (per_group // WORD) + inner
    offset = channel * channel_lanes + taps[tap_h, tap_w]
    large = np.flatnonzero((block_sums(blocks) * x_max > 32767).any(axis=0))
    seconds = blocks[large] * np.array([0, 1, 0, 1], np.int8)
    blocks[large, 1::2] = 0
    where = np.concatenate([np.arange(len(blocks)), large])
    order = np.argsort(where, kind="stable")
    every = np.concatenate([blocks, seconds])[order].view(np.int32)[:, 0]
    where = where[order]
    return Nonzeros(outputs, row[where], channel[where], offset[where], every, channel_lanes)


def panels_for(lanes: int, outputs: int, threads: int) -> int:
    """So many panels of channels that every thread finds work, however small the image."""
    blocks = -(-lanes // 64)
    wanted = -(-4 * threads // blocks) if threads > 1 else 1
    return max(1, min(wanted, outputs // 8))


def pack_csr(
    nonzeros: Nonzeros,
    k_group: int,
    panels: int,
    channel_block: int,
    x_max: int,
    together: int = 1,
) -> PackedCsr:
    """channel_block: input channels (of blocks: words) a segment may read. x_max: largest
    activation where int16 sums need a proof, else 0. together: rows that stay in one panel."""
    rows = nonzeros.rows
    panel = _deal(nonzeros, panels, together)
    block = nonzeros.channel // channel_block
    blocks = int(block.max(initial=0)) + 1

    # a segment is (panel, block, row); its number here is block * rows + row
    segment = block * rows + nonzeros.row
    count = np.bincount(segment, minlength=blocks * rows)
    value, offset, parts = nonzeros.value, nonzeros.offset, 1
    if value.dtype == np.float32:  # int8 brings all channels into lanes at once
        parts = blocks
        offset = offset - block * (channel_block * nonzeros.channel_lanes)
    if blocks > 1:
        order = np.argsort(segment, kind="stable")
        value, offset = value[order], offset[order]
    if k_group == 2:
        pairing = pair_up(value, count, x_max)
    elif nonzeros.are_blocks and x_max:
        pairing = window_up(value.view(np.int8).reshape(-1, WORD), count, x_max)
    else:
        in_order = np.arange(len(value)) - np.repeat(np.cumsum(count) - count, count)
        pairing = Pairing(in_order, -(-count // k_group), 1)
    steps, window = pairing.steps, pairing.window

    row = np.tile(np.arange(rows), blocks)
    block_of = np.repeat(np.arange(blocks), rows)
    # rows of one length follow each other: branch prediction learns when their loops end
    run_order = np.lexsort((-steps, block_of, panel[row]))
    start = np.empty(blocks * rows, np.int64)
    start[run_order] = np.cumsum(steps[run_order]) - steps[run_order]

    entries = np.zeros((int(steps.sum()), k_group + 1), np.int32)
    _fill(entries, offset, pairing.slot, value, count, start)

    segments = np.zeros(blocks * rows, SEGMENT)
    segments["row"], segments["steps"] = row[run_order], steps[run_order]
    segments["first"], segments["last"] = (
        block_of[run_order] == 0,
        block_of[run_order] == blocks - 1,
    )
    part_of = panel[row[run_order]] * parts + block_of[run_order] * (parts > 1)
    if k_group == 2:
        segments, part_of = _split_long(segments, part_of, MAX_WINDOWS * window)
    part_segment = np.searchsorted(part_of, np.arange(panels * parts + 1)).astype(np.int32)
    steps_before = np.concatenate([[0], np.cumsum(segments["steps"], dtype=np.int64)])
    part_byte = steps_before[part_segment[:-1]] * (entries.shape[1] * 4)
    split = len(segments) > rows
    return PackedCsr(
        part_segment, part_byte, panels, parts, channel_block, segments, entries, split, window
    )


def _fill(entries: Array, offset: I64, slot: I64, value: Array, count: I64, start: I64) -> None:
    """Write each non-zero into its place. entries: zero, [steps, k_group + 1]."""
    k_group = entries.shape[1] - 1
    if k_group == 1:  # a word of its own
        value = value.view(np.int32) if value.dtype == np.float32 else value.astype(np.int32)
    longs = [np.ascontiguousarray(array, np.int64) for array in (offset, slot, count, start)]
    offset_at, slot_at, count_at, start_at = (pointer(array, "int64_t *") for array in longs)
    value = np.ascontiguousarray(value)
    lib.sp_fill_csr(
        *(offset_at, slot_at, pointer(value), count_at, start_at),
        *(len(count), k_group, pointer(entries, "int32_t *")),
    )


def _deal(nonzeros: Nonzeros, panels: int, together: int) -> I64:
    """The panel of each row: the fullest rows, or groups of rows, are dealt out first."""
    units = -(-nonzeros.rows // together)
    count = np.bincount(nonzeros.row // together, minlength=units)
    panel = np.empty(units, np.int64)
    panel[np.argsort(-count, kind="stable")] = np.arange(units) % panels
    return np.repeat(panel, together)[: nonzeros.rows]


def _split_long(segments: Array, panel: I64, limit: int) -> tuple[Array, I64]:
    """Cut segments into parts of at most `limit` steps."""
    parts = np.maximum(1, -(-segments["steps"] // limit))
    if (parts == 1).all():
        return segments, panel
    result = np.repeat(segments, parts)
    number = np.arange(len(result)) - np.repeat(np.cumsum(parts) - parts, parts)
    result["first"] &= number == 0
    result["last"] &= number == np.repeat(parts, parts) - 1
    result["steps"] = np.minimum(result["steps"] - number * limit, limit)
    return result, np.repeat(panel, parts)
