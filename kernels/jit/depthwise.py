"""Depthwise convolution, channels last: inner loops run along rows of pixels and channels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import int32

from ...ops.fused_spec import ConvS8
from ..step import Array, Layout, Shape, Step
from .base import JitStep, compiled
from .epilogue import Epilogue
from .images import PhasePlanes

TILE_SUMS = 64 * 1024  # int32 sums of a tile: 256 KiB, which stay in L2; a call costs about 3 us
RUN = 512  # elements that one pass of the inner loop should cover at least


@compiled
def _accumulate(
    planes: Array, offsets: Array, weight: Array, first: int, row_step: int, sums: Array
) -> None:
    """sums[y] = the windows of output row first + y, without bias; int32 [rows, W * C].

    planes: uint8, flat. offsets: of each tap. weight: int16 [taps, q * C], a tap's weights q times
    over, since a run covers q pixels. Three taps at a time, so that a loaded sum serves three
    products.
    """
    taps, length = weight.shape
    for y in range(sums.shape[0]):
        for start in range(0, sums.shape[1], length):
            total = sums[y, start : start + length]
            count = total.size
            total[:] = 0
            base = (first + y) * row_step + start
            for t in range(0, taps - 2, 3):
                x0 = planes[base + offsets[t] :][:count]
                x1 = planes[base + offsets[t + 1] :][:count]
                x2 = planes[base + offsets[t + 2] :][:count]
                w0, w1, w2 = weight[t], weight[t + 1], weight[t + 2]
                for i in range(count):
                    total[i] = int32(
                        total[i]
                        + int32(x0[i]) * int32(w0[i])
                        + int32(x1[i]) * int32(w1[i])
                        + int32(x2[i]) * int32(w2[i])
                    )
            for t in range(taps // 3 * 3, taps):
                x0, w0 = planes[base + offsets[t] :][:count], weight[t]
                for i in range(count):
                    total[i] = int32(total[i] + int32(x0[i]) * int32(w0[i]))


class _DepthwiseS8(JitStep):
    def __init__(self, spec: ConvS8, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        channels = spec.groups
        self._x_zero_point = spec.x_zero_point
        self._epilogue = Epilogue(spec)
        self._planes = PhasePlanes(spec.window, *shapes[0][2:])
        pixels = min(self._planes.out_w, -(-RUN // channels))
        by_tap = spec.weight.reshape(channels, -1).T.astype(np.int16)
        self._weight = np.ascontiguousarray(np.tile(by_tap, (1, pixels)))
        self._offsets = self._planes.offsets.reshape(-1) * channels
        self.weight_bytes = self._weight.nbytes + self._epilogue.weight_bytes

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        _, _, out_w, channels = output.shape
        row_step = self._planes.row_size * channels
        tiles = self._planes.tiles(TILE_SUMS // channels)
        for n, image in enumerate(inputs[0]):
            planes = self._planes.of_pixels(image, self._x_zero_point)
            for rows in tiles:
                sums = np.empty((len(rows), out_w * channels), np.int32)
                _accumulate(planes, self._offsets, self._weight, rows.start, row_step, sums)
                out = output[n, rows.start : rows.stop].reshape(-1, channels)
                residual = None
                if len(inputs) == 2:
                    residual = inputs[1][n, rows.start : rows.stop].reshape(-1, channels)
                self._epilogue.rows(sums.reshape(-1, channels), residual, out)


def depthwise_s8(spec: ConvS8, shapes: Sequence[Shape], layout: Layout, threads: int) -> Step:
    return _DepthwiseS8(spec, shapes, layout)
