"""Packs sparse weights for the C kernels of csrc/conv_csr, with the proof that int16 suffices.

A packed row is a list of entries, each of `k_group` non-zeros: their offsets in lanes, then one
32-bit word of weights (csrc/conv_csr/csr.h). Rows are dealt to panels, which threads may run at
the same time; within a panel they are cut into segments by blocks of input channels, so that the
part of the input which a segment reads stays in L1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .csr_windows import pair_up

Array = npt.NDArray[Any]
I64 = npt.NDArray[np.int64]

SEGMENT = np.dtype([("row", "i4"), ("steps", "i4"), ("first", "i4"), ("last", "i4")])
MAX_WINDOWS = 256  # csrc/conv_csr/avx2.c: int16 sums of floor(s / 256) stay within int16


@dataclass(frozen=True, slots=True)
class PackedCsr:
    """See sp_csr_matrix. window: pairs that may be added in int16; 1 for other entries."""

    panel_segment: npt.NDArray[np.int32]
    panel_byte: I64
    segments: Array
    entries: npt.NDArray[np.int32]
    split_rows: bool
    window: int

    @property
    def nbytes(self) -> int:
        return self.entries.nbytes + self.segments.nbytes


@dataclass(frozen=True, slots=True)
class Nonzeros:
    """Non-zeros of a weight [O, C / groups, kh, kw], in memory order. channel: of the input."""

    rows: int
    row: I64
    channel: I64
    offset: I64
    value: Array


def find_nonzeros(weight: Array, groups: int, channel_lanes: int, taps: I64) -> Nonzeros:
    """taps: lanes from an output to each tap, [kh, kw]."""
    outputs, per_group = weight.shape[:2]
    row, inner, tap_h, tap_w = np.nonzero(weight)
    channel = row // (outputs // groups) * per_group + inner
    offset = channel * channel_lanes + taps[tap_h, tap_w]
    return Nonzeros(outputs, row, channel, offset, weight[row, inner, tap_h, tap_w])


def panels_for(lanes: int, outputs: int, threads: int) -> int:
    """So many panels of channels that every thread finds work, however small the image."""
    blocks = -(-lanes // 64)
    wanted = -(-4 * threads // blocks) if threads > 1 else 1
    return max(1, min(wanted, outputs // 8))


def pack_csr(
    nonzeros: Nonzeros, k_group: int, panels: int, channel_block: int, x_max: int
) -> PackedCsr:
    """channel_block: input channels a segment may read. x_max: largest activation."""
    rows = nonzeros.rows
    per_row = np.bincount(nonzeros.row, minlength=rows)
    panel = np.empty(rows, np.int64)  # the fullest rows are dealt out first
    panel[np.argsort(-per_row, kind="stable")] = np.arange(rows) % panels
    block = nonzeros.channel // channel_block
    blocks = int(block.max(initial=0)) + 1

    # a segment is (panel, block, row); its number here is block * rows + row
    segment = block * rows + nonzeros.row
    count = np.bincount(segment, minlength=blocks * rows)
    order = np.argsort(segment, kind="stable")
    sorted_segment, value = segment[order], nonzeros.value[order]
    begin = np.cumsum(count) - count
    slot = np.arange(len(order)) - begin[sorted_segment]
    window, steps = 1, -(-count // k_group)
    if k_group == 2:
        pairing = pair_up(value, sorted_segment, count, x_max)
        slot, window, steps = pairing.slot, pairing.window, pairing.steps

    row = np.tile(np.arange(rows), blocks)
    block_of = np.repeat(np.arange(blocks), rows)
    # rows of one length follow each other: branch prediction learns when their loops end
    run_order = np.lexsort((-steps, block_of, panel[row]))
    start = np.empty(blocks * rows, np.int64)
    start[run_order] = np.cumsum(steps[run_order]) - steps[run_order]

    entries = np.zeros((int(steps.sum()), k_group + 1), np.int32)
    at = start[sorted_segment] + slot // k_group
    entries[at, slot % k_group] = nonzeros.offset[order]
    if k_group == 1:
        entries[at, 1] = value.view(np.int32) if value.dtype == np.float32 else value
    else:
        words = entries[:, k_group:].view(np.int8)
        for repeat in range(0, 4, k_group):  # pairs stand twice in their word
            words[at, slot % k_group + repeat] = value

    segments = np.zeros(blocks * rows, SEGMENT)
    segments["row"], segments["steps"] = row[run_order], steps[run_order]
    segments["first"], segments["last"] = (
        block_of[run_order] == 0,
        block_of[run_order] == blocks - 1,
    )
    panel_of = panel[row[run_order]]
    if k_group == 2:
        segments, panel_of = _split_long(segments, panel_of, MAX_WINDOWS * window)
    panel_segment = np.searchsorted(panel_of, np.arange(panels + 1)).astype(np.int32)
    steps_before = np.concatenate([[0], np.cumsum(segments["steps"], dtype=np.int64)])
    panel_byte = steps_before[panel_segment[:-1]] * (entries.shape[1] * 4)
    split = len(segments) > rows
    return PackedCsr(panel_segment, panel_byte, segments, entries, split, window)


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
