"""Sparse convolution by blocks of four input channels, nc4hw4."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import int32

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
    bias: Array, sums: Array,
) -> None:  # fmt: skip
    """sums[o, p] = bias[o] + sum over row o's blocks of block . x[offset + start + p].

    x: uint8 [pixels of all planes, 4]; blocks: int8 [entries, 4].
    """
    for o in range(bias.size):
        total = sums[o, :length]
        total[:] = bias[o]
        for e in range(row_start[o], row_start[o + 1]):
            at = start + offsets[e]
            pixels = x[at : at + length]
            w0, w1 = int32(blocks[e, 0]), int32(blocks[e, 1])
            w2, w3 = int32(blocks[e, 2]), int32(blocks[e, 3])
            for p in range(length):
                total[p] = int32(
                    total[p]
                    + w0 * int32(pixels[p, 0])
                    + w1 * int32(pixels[p, 1])
                    + w2 * int32(pixels[p, 2])
                    + w3 * int32(pixels[p, 3])
                )


class _ConvBlockS8(JitStep):
    def __init__(self, spec: ConvS8, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        self._planes = PhasePlanes(spec.window, *shapes[0][2:])
        self._layout, self._outputs = layout, spec.weight.shape[0]
        self._fill = int(np.full(WORD, spec.x_zero_point, np.uint8).view(np.uint32)[0])
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
        channel += row // (outputs // groups) * (per_group // WORD)
        taps = self._planes.offsets[tap_h, tap_w]
        self._offsets = channel * self._planes.channel_size + taps
        self._row_start = np.searchsorted(row, np.arange(outputs + 1))

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        planes = self._planes
        tiles = planes.tiles(PLANE_PIXELS)
        sums = np.empty((self._outputs, planes.run_length(tiles[0])), np.int32)
        result = np.empty((self._outputs, *output.shape[2:4]), np.uint8)
        for n, image in enumerate(inputs[0]):
            words = np.ascontiguousarray(image).view(np.uint32)[..., 0]
            x = planes.of(words, self._fill).view(np.uint8).reshape(-1, WORD)
            residual = None
            if len(inputs) == 2:
                residual = to_nchw(inputs[1][n : n + 1], self._layout, self._outputs)[0]
                residual = np.ascontiguousarray(residual)
            for rows in tiles:
                _accumulate(
                    x, rows.start * planes.row_size, planes.run_length(rows), self._row_start,
                    self._offsets, self._blocks, self._epilogue.bias, sums,
                )  # fmt: skip
                self._epilogue.planes(sums, planes.row_size, rows, residual, result)
            output[n] = from_nchw(result[None], self._layout)[0]


def conv_block_s8(spec: ConvS8, shapes: Sequence[Shape], layout: Layout, threads: int) -> Step:
    return _ConvBlockS8(spec, shapes, layout)
