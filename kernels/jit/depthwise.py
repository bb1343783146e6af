"""Depthwise convolution, channels last: inner loops run over the channels of a pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import int32

from ...ops.fused_spec import ConvS8
from ..step import Array, Layout, Shape, Step
from .base import JitStep, compiled
from .epilogue import Epilogue
from .images import PaddedImage

TILE_SUMS = 16 * 1024  # int32 sums of a tile: they should stay in L2, mostly in L1


@compiled
def _accumulate(
    image: Array, offsets: Array, weight: Array, first: int, out_w: int, row_step: int,
    pixel_step: int, sums: Array,
) -> None:  # fmt: skip
    """sums[p] = the window of output pixel first + p, without bias; int32 [P, C].

    image: uint8, flat. offsets: of each tap; weight: int16 [taps, C]. Three taps at a time, so
    that a loaded sum serves three products.
    """
    channels = weight.shape[1]
    taps = offsets.size
    for p in range(sums.shape[0]):
        y, x = divmod(first + p, out_w)
        base = y * row_step + x * pixel_step
        total = sums[p]
        total[:] = 0
        for t in range(0, taps - 2, 3):
            x0 = image[base + offsets[t] : base + offsets[t] + channels]
            x1 = image[base + offsets[t + 1] : base + offsets[t + 1] + channels]
            x2 = image[base + offsets[t + 2] : base + offsets[t + 2] + channels]
            w0, w1, w2 = weight[t], weight[t + 1], weight[t + 2]
            for c in range(channels):
                total[c] = int32(
                    total[c]
                    + int32(x0[c]) * int32(w0[c])
                    + int32(x1[c]) * int32(w1[c])
                    + int32(x2[c]) * int32(w2[c])
                )
        for t in range(taps // 3 * 3, taps):
            x0, w0 = image[base + offsets[t] : base + offsets[t] + channels], weight[t]
            for c in range(channels):
                total[c] = int32(total[c] + int32(x0[c]) * int32(w0[c]))


class _DepthwiseS8(JitStep):
    def __init__(self, spec: ConvS8, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        channels = spec.groups
        kh, kw = spec.window.kernel
        self._x_zero_point = spec.x_zero_point
        self._epilogue = Epilogue(spec)
        self._weight = np.ascontiguousarray(spec.weight.reshape(channels, -1).T, np.int16)
        self._padded = PaddedImage(spec.window, *shapes[0][2:])
        self._strides, dilations = spec.window.strides, spec.window.dilations
        self._taps = [(y * dilations[0], x * dilations[1]) for y in range(kh) for x in range(kw)]
        self.weight_bytes = self._weight.nbytes + self._epilogue.weight_bytes

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        _, out_h, out_w, channels = output.shape
        tile = max(1, TILE_SUMS // channels)
        for n, image in enumerate(inputs[0]):
            padded = self._padded.of(image, self._x_zero_point)
            pitch = padded.shape[1] * channels
            offsets = np.array([y * pitch + x * channels for y, x in self._taps], np.int64)
            steps = self._strides[0] * pitch, self._strides[1] * channels
            out = output[n].reshape(-1, channels)
            residual = inputs[1][n].reshape(-1, channels) if len(inputs) == 2 else None
            for first in range(0, out_h * out_w, tile):
                part = slice(first, min(first + tile, out_h * out_w))
                sums = np.empty((part.stop - first, channels), np.int32)
                _accumulate(padded.reshape(-1), offsets, self._weight, first, out_w, *steps, sums)
                self._epilogue.rows(sums, None if residual is None else residual[part], out[part])


def depthwise_s8(spec: ConvS8, shapes: Sequence[Shape], layout: Layout, threads: int) -> Step:
    return _DepthwiseS8(spec, shapes, layout)
