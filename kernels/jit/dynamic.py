"""Dynamic quantization: the steps of `ops/dynamic_ops.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numba import float32, int32

from ...ops import fused_spec as fs
from ...ops.quantize_linear import dynamic_parameters
from ..conditions import is_depthwise
from ..step import Array, Layout, Shape, Step
from ..sums import count_weights
from .base import JitStep, compiled
from .conv import WindowSums
from .images import PaddedImage
from .rounding import quantize_flat, to_range


class _DynamicRange(JitStep):
    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        output[...] = dynamic_parameters(inputs[0])


class _DynamicQuantize(JitStep):
    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        x, (scale, zero_point) = inputs
        wanted = to_range(fs.OutputRange(int(zero_point)))
        quantize_flat(x.reshape(-1), scale, wanted, output.reshape(-1))


@compiled
def _to_reals(
    sums: Array, correction: Array, multiplier: Array, bias: Array, lo: np.float32,
    hi: np.float32, out: Array,
) -> None:  # fmt: skip
    """sums: int32 [P, >= O]; out: float32 [P, O]."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            real = float32(int32(sums[i, j] - correction[j])) * multiplier[j]
            real = float32(real + bias[j])
            if real < lo:  # NaN passes
                real = lo
            if real > hi:
                real = hi
            out[i, j] = real


@compiled
def _depthwise_sums(x: Array, weight: Array, steps: Array, sums: Array) -> None:
    """x: uint8 [H, W, C], padded. weight: [kh, kw, C]. steps: strides, dilations. sums: int32
    [H', W', C]."""
    for i in range(sums.shape[0]):
        for j in range(sums.shape[1]):
            total = sums[i, j]
            total[:] = 0
            for ky in range(weight.shape[0]):
                for kx in range(weight.shape[1]):
                    pixel = x[i * steps[0] + ky * steps[2], j * steps[1] + kx * steps[3]]
                    taps = weight[ky, kx]
                    for c in range(total.size):
                        total[c] += int32(pixel[c]) * int32(taps[c])


class _DepthwiseSums:
    """As WindowSums, of depthwise convolutions; a tile is the whole image."""

    def __init__(self, spec: fs.DynamicConv, shape: Shape) -> None:
        window = spec.window
        self._weight = np.ascontiguousarray(spec.weight[:, 0].transpose(1, 2, 0))
        self._padded = PaddedImage(window, *shape[2:])
        self._steps = np.array((*window.strides, *window.dilations), np.int64)
        self._shape = (*window.output_size(*shape[2:]), shape[1])
        self.nbytes = self._weight.nbytes

    def tiles(self, image: Array, x_zero_point: int) -> Iterator[tuple[slice, Array]]:
        sums = np.empty(self._shape, np.int32)
        _depthwise_sums(self._padded.of(image, x_zero_point), self._weight, self._steps, sums)
        yield slice(None), sums.reshape(-1, self._shape[2])


class _DynamicConv(JitStep):
    def __init__(self, spec: fs.DynamicConv, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        self._sums: WindowSums | _DepthwiseSums
        if is_depthwise(spec):
            self._sums = _DepthwiseSums(spec, shapes[0])
        else:
            self._sums = WindowSums(spec.window, spec.groups, spec.weight, shapes[0])
        self._weight_sums = count_weights(spec.weight).sums.astype(np.int32)
        self._scale, self._bias = np.array(spec.weight_scale), np.array(spec.bias)
        self._clamp = np.float32(spec.lo), np.float32(spec.hi)
        self.weight_bytes = self._sums.nbytes + self._weight_sums.nbytes + 2 * self._bias.nbytes

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        x, (scale, zero_point) = inputs
        correction, multiplier = self._weight_sums * np.int32(zero_point), scale * self._scale
        for image, result in zip(x, output, strict=True):
            out = result.reshape(-1, output.shape[3])
            for part, sums in self._sums.tiles(image, int(zero_point)):
                _to_reals(sums, correction, multiplier, self._bias, *self._clamp, out[part])


def dynamic_range(
    spec: fs.DynamicRange, shapes: Sequence[Shape], layout: Layout, threads: int
) -> Step:
    return _DynamicRange(spec, shapes, layout)


def dynamic_quantize(
    spec: fs.DynamicQuantize, shapes: Sequence[Shape], layout: Layout, threads: int
) -> Step:
    return _DynamicQuantize(spec, shapes, layout)


def dynamic_conv(
    spec: fs.DynamicConv, shapes: Sequence[Shape], layout: Layout, threads: int
) -> Step:
    return _DynamicConv(spec, shapes, layout)
