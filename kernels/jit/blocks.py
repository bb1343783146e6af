"""Sparse convolution by blocks of four input channels, nc4hw4.

LLVM makes vectors of channels that lie in planes, so the words are taken apart first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import int32

from ...ops.fused_shapes import output_shape
from ...ops.fused_spec import ConvS8
from ..reference import from_nchw, to_nchw
from ..step import WORD, Array, Layout, Shape, Step
from .base import JitStep, compiled
from .epilogue import Epilogue
from .images import PhasePlanes

PLANE_PIXELS = 1024  # a tile's sums stay in L1 while all blocks of an output pass


@compiled
def _accumulate(
    x: Array, start: int, length: int, row_start: Array, offsets: Array, blocks: Array,
    channel_size: int, bias: Array, sums: Array,
) -> None:  # fmt: skip
    """sums[o, p] = bias[o] + sum over row o's blocks e and their four weights i of
    blocks[e, i] * x[offsets[e] + i * channel_size + start + p]. blocks: int8 [entries, 4]."""
    for o in range(bias.size):
        total = sums[o, :length]
        total[:] = bias[o]
        for e in range(row_start[o], row_start[o + 1]):
            at0 = start + offsets[e]
            at1, at2, at3 = at0 + channel_size, at0 + 2 * channel_size, at0 + 3 * channel_size
            x0, x1 = x[at0 : at0 + length], x[at1 : at1 + length]
            x2, x3 = x[at2 : at2 + length], x[at3 : at3 + length]
            w0, w1 = int32(blocks[e, 0]), int32(blocks[e, 1])
            w2, w3 = int32(blocks[e, 2]), int32(blocks[e, 3])
            for p in range(length):
                total[p] = int32(
                    total[p]
                    + w0 * int32(x0[p])
                    + w1 * int32(x1[p])
                    + w2 * int32(x2[p])
                    + w3 * int32(x3[p])
                )


class _ConvBlockS8(JitStep):
    def __init__(self, spec: ConvS8, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        self._planes = PhasePlanes(spec.window, *shapes[0][2:])
        self._layout, self._x_zero_point = layout, spec.x_zero_point
        self._outputs, self._image = spec.weight.shape[0], (1, *shapes[0][1:])
        self._result = (1, *output_shape(spec, shapes)[1:])
        self._pack(spec.weight, spec.groups)
        self._epilogue = Epilogue(spec)
        packed = (self._row_start, self._offsets, self._blocks)
        self.weight_bytes = sum(a.nbytes for a in packed) + self._epilogue.weight_bytes

    def _pack(self, weight: Array, groups: int) -> None:
        outputs, per_group = weight.shape[:2]
        words = weight.reshape(outputs, per_group // WORD, WORD, *weight.shape[2:])
        words = words.transpose(0, 1, 3, 4, 2)
        row, channel, tap_h, tap_w = np.nonzero(words.any(axis=4))
        self._blocks = words[row, channel, tap_h, tap_w]
        channel = WORD * channel + row // (outputs // groups) * per_group
        taps = self._planes.offsets[tap_h, tap_w]
        self._offsets = channel * self._planes.channel_size + taps
        self._row_start = np.searchsorted(row, np.arange(outputs + 1))

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        planes = self._planes
        tiles = planes.tiles(PLANE_PIXELS)
        sums = np.empty((self._outputs, planes.run_length(tiles[0])), np.int32)
        result = np.empty(self._result[1:], np.uint8)
        for n in range(len(output)):
            image = to_nchw(inputs[0][n : n + 1], self._layout, self._image)[0]
            x = planes.of(image, self._x_zero_point)
            residual = None
            if len(inputs) == 2:
                residual = to_nchw(inputs[1][n : n + 1], self._layout, self._result)[0]
                residual = np.ascontiguousarray(residual)
            for rows in tiles:
                _accumulate(
                    x, rows.start * planes.row_size, planes.run_length(rows), self._row_start,
                    self._offsets, self._blocks, planes.channel_size, self._epilogue.bias, sums,
                )  # fmt: skip
                self._epilogue.planes(sums, planes.row_size, rows, residual, result)
            output[n] = from_nchw(result[None], self._layout)[0]


def conv_block_s8(spec: ConvS8, shapes: Sequence[Shape], layout: Layout, threads: int) -> Step:
    return _ConvBlockS8(spec, shapes, layout)
