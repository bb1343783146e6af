"""Pixels moved and interpolated, normalization, PRelu: by the steps of `ops/image_ops.py`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import float32, float64, int32

from ...ops import fused_spec as fs
from ..step import Array, Layout, Shape, Step
from . import rounding
from .base import JitStep, compiled


@compiled
def _gather(x: Array, rows: Array, columns: Array, fill: Array, out: Array) -> None:
    """x: [N, H, W, C]; out: [N, len(rows), len(columns), C]; fill: [1], of their type."""
    for n in range(out.shape[0]):
        for i in range(out.shape[1]):
            for j in range(out.shape[2]):
                target = out[n, i, j]
                if rows[i] < 0 or columns[j] < 0:
                    target[:] = fill[0]
                else:
                    source = x[n, rows[i], columns[j]]
                    for c in range(target.size):
                        target[c] = source[c]


@compiled
def _blocks(x: Array, block: int, first: bool, top: int, left: int, out: Array) -> None:
    """x: [N, H, W, C * block * block]; out: [N, H', W', C]."""
    channels = out.shape[3]
    step, start = (block * block, 1) if first else (1, channels)
    for n in range(out.shape[0]):
        for i in range(out.shape[1]):
            row, in_row = (i + top) // block, (i + top) % block
            for j in range(out.shape[2]):
                column, in_column = (j + left) // block, (j + left) % block
                at = (in_row * block + in_column) * start
                for c in range(channels):
                    out[n, i, j, c] = x[n, row, column, at + c * step]


@compiled
def _blend(x: Array, zero: np.float32, index: Array, weight: Array, out: Array) -> None:
    """x: [N, L, C], out: float32 [N, L', C]; index, weight: [L', T]."""
    for n in range(out.shape[0]):
        for i in range(out.shape[1]):
            for c in range(out.shape[2]):
                total = (float32(x[n, index[i, 0], c]) - zero) * weight[i, 0]
                for t in range(1, index.shape[1]):
                    total += (float32(x[n, index[i, t], c]) - zero) * weight[i, t]
                out[n, i, c] = total


@compiled
def _space_sums(x: Array, zero: np.float64, total: Array, square: Array) -> None:
    """x: [P, C]; total, square: float64 [1, C], 0."""
    for p in range(x.shape[0]):
        for c in range(x.shape[1]):
            value = float64(x[p, c]) - zero
            total[0, c] += value
            square[0, c] += value * value


@compiled
def _in_pairs(lanes: Array) -> float:
    a, b = lanes[0] + lanes[4], lanes[1] + lanes[5]
    c, d = lanes[2] + lanes[6], lanes[3] + lanes[7]
    return (a + b) + (c + d)


@compiled
def _channel_sums(x: Array, zero: np.float64, total: Array, square: Array) -> None:
    """x: [P, C]; total, square: float64 [P, 1]."""
    lanes, squares = np.empty(8), np.empty(8)
    for p in range(x.shape[0]):
        lanes[:] = 0.0
        squares[:] = 0.0
        for c in range(x.shape[1]):
            value = float64(x[p, c]) - zero
            lanes[c % 8] += value
            squares[c % 8] += value * value
        total[p, 0] = _in_pairs(lanes)
        square[p, 0] = _in_pairs(squares)


@compiled
def _moments(
    total: Array, square: Array, count: float, scale: float, epsilon: float, mean: Array,
    inverse: Array,
) -> None:  # fmt: skip
    """All [R, C]: float64 sums to float32 factors."""
    for r in range(total.shape[0]):
        for c in range(total.shape[1]):
            middle = total[r, c] / count
            variance = square[r, c] / count - middle * middle
            if not variance > 0:
                variance = 0.0
            mean[r, c] = float32(middle)
            inverse[r, c] = float32(scale / np.sqrt(variance * (scale * scale) + epsilon))


@compiled
def _normalize_rows(
    x: Array, mean: Array, inverse: Array, scale: Array, bias: Array, out: Array
) -> None:
    """x, out: float32 [P, C]; scale, bias: [C]; mean, inverse: [1, C] or [P, 1]."""
    across, down = int32(mean.shape[1] > 1), int32(mean.shape[0] > 1)
    for p in range(out.shape[0]):
        for c in range(out.shape[1]):
            centred = (x[p, c] - mean[p * down, c * across]) * inverse[p * down, c * across]
            out[p, c] = float32(centred * scale[c]) + bias[c]


@compiled
def _prelu_rows(x: Array, slope: Array, out: Array) -> None:
    """x, out: float32 [P, C]; slope: [C] or [1]."""
    across = int32(slope.size > 1)
    for p in range(out.shape[0]):
        for c in range(out.shape[1]):
            value = x[p, c]
            out[p, c] = value if value >= float32(0) else value * slope[c * across]


class _GatherPixels(JitStep):
    def __init__(self, spec: fs.GatherPixels, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        self._rows, self._columns = np.array(spec.rows, np.int64), np.array(spec.columns, np.int64)
        self._fill = np.array([spec.fill], self.output.dtype)

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        _gather(inputs[0], self._rows, self._columns, self._fill, output)


class _DepthToSpace(JitStep):
    def __init__(self, spec: fs.DepthToSpace, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        self._order = spec.block, spec.channels_first, *spec.crop[:2]

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        _blocks(inputs[0], *self._order, output)


class _Interpolate(JitStep):
    def __init__(
        self,
        spec: fs.InterpolateS8 | fs.InterpolateF32,
        shapes: Sequence[Shape],
        layout: Layout,
    ) -> None:
        super().__init__(spec, shapes, layout)
        self._spec = spec

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        spec, x = self._spec, inputs[0]
        batch, height, width, channels = x.shape
        out_h, out_w = output.shape[1:3]
        zero = np.float32(spec.x_zero_point if isinstance(spec, fs.InterpolateS8) else 0)
        rows = np.empty((batch, out_h, width * channels), np.float32)
        flat = x.reshape(batch, height, width * channels)
        _blend(flat, zero, spec.rows.index, spec.rows.weight, rows)
        pixels = np.empty((batch * out_h, out_w, channels), np.float32)
        lines = rows.reshape(batch * out_h, width, channels)
        _blend(lines, np.float32(0), spec.columns.index, spec.columns.weight, pixels)
        if isinstance(spec, fs.InterpolateF32):
            output[...] = pixels.reshape(output.shape)
            return
        to, result = rounding.to_range(spec.output), output.reshape(-1, channels)
        rounding.round_rows(pixels.reshape(-1, channels), np.float32(spec.multiplier), to, result)


class _Normalize(JitStep):
    def __init__(
        self, spec: fs.NormalizeS8 | fs.NormalizeF32, shapes: Sequence[Shape], layout: Layout
    ) -> None:
        super().__init__(spec, shapes, layout)
        self._spec = spec

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        for image, result in zip(inputs[0], output, strict=True):
            channels = image.shape[2]
            self._image(image.reshape(-1, channels), result.reshape(-1, channels))

    def _image(self, x: Array, out: Array) -> None:
        spec, (pixels, channels) = self._spec, x.shape
        zero, x_scale = 0, 1.0
        if isinstance(spec, fs.NormalizeS8):
            zero, x_scale = spec.x_zero_point, spec.x_scale
        over_channels = spec.over == "channels"
        shape = (pixels, 1) if over_channels else (1, channels)
        total, square = np.zeros(shape), np.zeros(shape)
        (_channel_sums if over_channels else _space_sums)(x, np.float64(zero), total, square)
        mean, inverse = np.empty(shape, np.float32), np.empty(shape, np.float32)
        count = float(channels if over_channels else pixels)
        _moments(total, square, count, float(x_scale), spec.epsilon, mean, inverse)
        factors = mean, inverse, spec.scale, spec.bias
        if isinstance(spec, fs.NormalizeS8):
            rounding.normalize_rows(
                x, np.int32(zero), *factors, rounding.to_range(spec.output), out
            )
        else:
            _normalize_rows(x, *factors, out)


class _PRelu(JitStep):
    def __init__(
        self, spec: fs.PReluS8 | fs.PReluF32, shapes: Sequence[Shape], layout: Layout
    ) -> None:
        super().__init__(spec, shapes, layout)
        self._spec, self._nhwc = spec, layout == "nhwc"
        slope = spec.negative_multiplier if isinstance(spec, fs.PReluS8) else spec.slope
        self._slope = np.ascontiguousarray(slope)

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        channels = self._slope.size
        if self._nhwc:
            self._run(inputs[0].reshape(-1, channels), self._slope, output.reshape(-1, channels))
            return
        for image, result in zip(inputs[0], output, strict=True):
            for c in range(channels):
                slope = self._slope[c : c + 1]
                self._run(image[c].reshape(1, -1), slope, result[c].reshape(1, -1))

    def _run(self, x: Array, slope: Array, out: Array) -> None:
        spec = self._spec
        if isinstance(spec, fs.PReluF32):
            _prelu_rows(x, slope, out)
        else:
            to, multiplier = rounding.to_range(spec.output), np.float32(spec.multiplier)
            rounding.prelu_rows(x, np.int32(spec.x_zero_point), multiplier, slope, to, out)


def gather_pixels(
    spec: fs.GatherPixels, shapes: Sequence[Shape], layout: Layout, threads: int
) -> Step:
    return _GatherPixels(spec, shapes, layout)


def depth_to_space(
    spec: fs.DepthToSpace, shapes: Sequence[Shape], layout: Layout, threads: int
) -> Step:
    return _DepthToSpace(spec, shapes, layout)


def interpolate_s8(
    spec: fs.InterpolateS8, shapes: Sequence[Shape], layout: Layout, threads: int
) -> Step:
    return _Interpolate(spec, shapes, layout)


def interpolate_f32(
    spec: fs.InterpolateF32, shapes: Sequence[Shape], layout: Layout, threads: int
) -> Step:
    return _Interpolate(spec, shapes, layout)


def normalize_s8(
    spec: fs.NormalizeS8, shapes: Sequence[Shape], layout: Layout, threads: int
) -> Step:
    return _Normalize(spec, shapes, layout)


def normalize_f32(
    spec: fs.NormalizeF32, shapes: Sequence[Shape], layout: Layout, threads: int
) -> Step:
    return _Normalize(spec, shapes, layout)


def prelu_s8(spec: fs.PReluS8, shapes: Sequence[Shape], layout: Layout, threads: int) -> Step:
    return _PRelu(spec, shapes, layout)


def prelu_f32(spec: fs.PReluF32, shapes: Sequence[Shape], layout: Layout, threads: int) -> Step:
    return _PRelu(spec, shapes, layout)
