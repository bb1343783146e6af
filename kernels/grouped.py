"""Grouped convolutions as convolutions of fewer, wider groups.

Products have whole COLUMN_GROUPs of output channels, and patches are copied tap by tap and group by
group. Where groups are narrow, some of them share a product: each channel then meets weights of
zero for its neighbours' inputs, in what would have been wasted otherwise, and taps are fewer.
Integers only: a float channel that is infinite would make its neighbours NaN.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..ops.fused_spec import ConvS8
from .step import Array

BLOCK = 16  # SP_GROUPED_CHANNELS in csrc/grouped_s8/grouped_s8.h
COLUMN_GROUP = 16  # SP_COLUMN_GROUP in csrc/gemm_s8/gemm_s8.h


def round_up(n: int, to: int) -> int:
    return -(-n // to) * to


def groups_to_join(spec: ConvS8) -> int:
    """How many neighbouring groups share a product: as many as fit COLUMN_GROUP output channels."""
    if spec.groups == 1:
        return 1
    outputs = max(1, spec.weight.shape[0] // spec.groups)
    most = min(spec.groups, max(1, COLUMN_GROUP // outputs))
    return next(n for n in range(most, 0, -1) if spec.groups % n == 0)


def join_groups(spec: ConvS8) -> ConvS8:
    """The same convolution with groups joined; weights between channels that were of different
    groups are zero."""
    joined = groups_to_join(spec)
    if joined == 1:
        return spec
    groups, channels = spec.groups // joined, spec.weight.shape[1]
    own: Array = spec.weight.reshape(groups, joined, -1, *spec.weight.shape[1:])
    wide = np.zeros((groups, joined, own.shape[2], joined, *own.shape[3:]), own.dtype)
    for i in range(joined):
        wide[:, i, :, i] = own[:, i]
    weight = wide.reshape(-1, joined * channels, *spec.weight.shape[2:])
    return replace(spec, groups=groups, weight=weight)


def pack_grouped(weight: Array) -> Array:
    """int16 [blocks of 16 channels, taps, width, 16], as csrc/grouped_s8/grouped_s8.h has it.

    weight: [C, width, kernel_h, kernel_w]. Lane l of a block is an input channel of the block's
    group l // width; the j-th vector holds what it gives to that group's j-th output channel.
    """
    channels, width = weight.shape[:2]
    starts = [min(c, channels - BLOCK) for c in range(0, channels, BLOCK)]
    lanes, columns = np.arange(BLOCK), np.arange(width)[:, None]
    outputs = np.array(starts)[:, None, None] + lanes // width * width + columns
    by_tap = weight.reshape(channels, width, -1).astype(np.int16)
    taken = by_tap[outputs, np.broadcast_to(lanes % width, outputs.shape)]
    return np.ascontiguousarray(np.moveaxis(taken, 3, 1))
