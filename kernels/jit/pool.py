"""Max and average pooling over channels-last images: whole pixels at a time, so that the inner
loops run over channels. Float sums follow the reference's order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import float32, int32

from ...ops import fused_spec as fs
from ...ops.fused import average_pool_multipliers
from ...ops.fused_float import average_pool_divisors
from ..step import Array, Layout, Shape, Step
from . import rounding
from .base import JitStep, compiled


@compiled
def _taps(start: int, kernel: int, dilation: int, size: int) -> tuple[int, int]:
    """Range of the window's taps that fall inside 0..size, for a window that begins at `start`."""
    first = max(0, -(start // dilation)) if start < 0 else 0
    last = min(kernel, (size - start + dilation - 1) // dilation)
    return first, max(first, last)


def _window(window: fs.Window) -> Array:
    """Kernel, strides, top and left pads, dilations; the other pads follow from output sizes."""
    parts = (*window.kernel, *window.strides, *window.pads[:2], *window.dilations)
    return np.array(parts, np.int64)


@compiled
def _max_pool(x: Array, window: Array, out: Array) -> None:
    """x, out: uint8 [N, H, W, C]. window: int64 [8], see `_window`."""
    kh, kw, sh, sw, top, left, dh, dw = window
    for n in range(out.shape[0]):
        for i in range(out.shape[1]):
            row = i * sh - top
            ky0, ky1 = _taps(row, kh, dh, x.shape[1])
            for j in range(out.shape[2]):
                column = j * sw - left
                kx0, kx1 = _taps(column, kw, dw, x.shape[2])
                result = out[n, i, j]
                result[:] = 0
                for ky in range(ky0, ky1):
                    for kx in range(kx0, kx1):
                        pixel = x[n, row + ky * dh, column + kx * dw]
                        for c in range(pixel.size):
                            result[c] = max(result[c], pixel[c])


@compiled
def _sum_pool(x: Array, zero_point: np.int32, window: Array, out: Array) -> None:
    """As `_max_pool`, of one image: out, int32 [H', W', C], is the sum of x - zero_point."""
    kh, kw, sh, sw, top, left, dh, dw = window
    for i in range(out.shape[0]):
        row = i * sh - top
        ky0, ky1 = _taps(row, kh, dh, x.shape[0])
        for j in range(out.shape[1]):
            column = j * sw - left
            kx0, kx1 = _taps(column, kw, dw, x.shape[1])
            result = out[i, j]
            result[:] = int32(-(ky1 - ky0) * (kx1 - kx0) * zero_point)
            for ky in range(ky0, ky1):
                for kx in range(kx0, kx1):
                    pixel = x[row + ky * dh, column + kx * dw]
                    for c in range(pixel.size):
                        result[c] += int32(pixel[c])


@compiled
def _max_pool_f32(x: Array, window: Array, out: Array) -> None:
    """x, out: float32 [N, H, W, C]. window: int64 [8], see `_window`."""
    kh, kw, sh, sw, top, left, dh, dw = window
    for n in range(out.shape[0]):
        for i in range(out.shape[1]):
            row = i * sh - top
            ky0, ky1 = _taps(row, kh, dh, x.shape[1])
            for j in range(out.shape[2]):
                column = j * sw - left
                kx0, kx1 = _taps(column, kw, dw, x.shape[2])
                result = out[n, i, j]
                result[:] = -np.inf
                for ky in range(ky0, ky1):
                    for kx in range(kx0, kx1):
                        pixel = x[n, row + ky * dh, column + kx * dw]
                        for c in range(pixel.size):
                            if pixel[c] > result[c] or pixel[c] != pixel[c]:
                                result[c] = pixel[c]


@compiled
def _average_pool_f32(x: Array, divisors: Array, window: Array, total: Array, out: Array) -> None:
    """As `_max_pool_f32`. divisors: float32 [H', W']. total: float32 [C], for a row's sum."""
    kh, kw, sh, sw, top, left, dh, dw = window
    for n in range(out.shape[0]):
        for i in range(out.shape[1]):
            row = i * sh - top
            ky0, ky1 = _taps(row, kh, dh, x.shape[1])
            for j in range(out.shape[2]):
                column = j * sw - left
                kx0, kx1 = _taps(column, kw, dw, x.shape[2])
                result = out[n, i, j]
                result[:] = float32(0)
                for ky in range(ky0, ky1):
                    total[:] = float32(0)
                    for kx in range(kx0, kx1):
                        pixel = x[n, row + ky * dh, column + kx * dw]
                        for c in range(pixel.size):
                            total[c] += pixel[c]
                    for c in range(total.size):
                        result[c] += total[c]
                for c in range(result.size):
                    result[c] /= divisors[i, j]


class _MaxPoolS8(JitStep):
    def __init__(self, spec: fs.MaxPoolS8, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        self._window = _window(spec.window)

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        _max_pool(inputs[0], self._window, output)


class _AveragePoolS8(JitStep):
    def __init__(self, spec: fs.AveragePoolS8, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        self._window = _window(spec.window)
        self._zero_point = np.int32(spec.x_zero_point)
        _, _, height, width = shapes[0]
        self._multiplier = average_pool_multipliers(spec, height, width).reshape(-1)
        self._range = rounding.to_range(spec.output)

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        _, height, width, channels = output.shape
        sums = np.empty((height, width, channels), np.int32)
        for image, result in zip(inputs[0], output, strict=True):
            _sum_pool(image, self._zero_point, self._window, sums)
            rounding.requantize_pixels(
                sums.reshape(-1, channels),
                self._multiplier,
                self._range,
                result.reshape(-1, channels),
            )


def max_pool_s8(spec: fs.MaxPoolS8, shapes: Sequence[Shape], layout: Layout, threads: int) -> Step:
    return _MaxPoolS8(spec, shapes, layout)


def average_pool_s8(
    spec: fs.AveragePoolS8, shapes: Sequence[Shape], layout: Layout, threads: int
) -> Step:
    return _AveragePoolS8(spec, shapes, layout)


class _MaxPoolF32(JitStep):
    def __init__(self, spec: fs.MaxPoolF32, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        self._window = _window(spec.window)

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        _max_pool_f32(inputs[0], self._window, output)


class _AveragePoolF32(JitStep):
    def __init__(self, spec: fs.AveragePoolF32, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        self._window = _window(spec.window)
        self._divisors = average_pool_divisors(spec, shapes[0][2], shapes[0][3])

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        total = np.empty(output.shape[3], np.float32)
        _average_pool_f32(inputs[0], self._divisors, self._window, total, output)


def max_pool_f32(
    spec: fs.MaxPoolF32, shapes: Sequence[Shape], layout: Layout, threads: int
) -> Step:
    return _MaxPoolF32(spec, shapes, layout)


def average_pool_f32(
    spec: fs.AveragePoolF32, shapes: Sequence[Shape], layout: Layout, threads: int
) -> Step:
    return _AveragePoolF32(spec, shapes, layout)
