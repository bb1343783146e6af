"""Max and average pooling of float32 over channels-last images, in the reference's order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import float32

from ...ops import fused_spec as fs
from ...ops.fused_float import average_pool_divisors
from ..step import Array, Layout, Shape, Step
from .base import JitStep, compiled


@compiled
def _taps(start: int, kernel: int, dilation: int, size: int) -> tuple[int, int]:
    """Range of the window's taps that fall inside 0..size, for a window that begins at `start`."""
    first = max(0, -(start // dilation)) if start < 0 else 0
    last = min(kernel, (size - start + dilation - 1) // dilation)
    return first, max(first, last)


@compiled
def _max_pool(x: Array, window: Array, out: Array) -> None:
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
def _average_pool(x: Array, divisors: Array, window: Array, total: Array, out: Array) -> None:
    """As `_max_pool`. divisors: float32 [H', W']. total: float32 [C], for a row's sum."""
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


def _window(window: fs.Window) -> Array:
    """Kernel, strides, top and left pads, dilations; the other pads follow from output sizes."""
    parts = (*window.kernel, *window.strides, *window.pads[:2], *window.dilations)
    return np.array(parts, np.int64)


class _MaxPoolF32(JitStep):
    def __init__(self, spec: fs.MaxPoolF32, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        self._window = _window(spec.window)

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        _max_pool(inputs[0], self._window, output)


class _AveragePoolF32(JitStep):
    def __init__(self, spec: fs.AveragePoolF32, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        self._window = _window(spec.window)
        self._divisors = average_pool_divisors(spec, shapes[0][2], shapes[0][3])

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        total = np.empty(output.shape[3], np.float32)
        _average_pool(inputs[0], self._divisors, self._window, total, output)


def max_pool_f32(
    spec: fs.MaxPoolF32, shapes: Sequence[Shape], layout: Layout, threads: int
) -> Step:
    return _MaxPoolF32(spec, shapes, layout)


def average_pool_f32(
    spec: fs.AveragePoolF32, shapes: Sequence[Shape], layout: Layout, threads: int
) -> Step:
    return _AveragePoolF32(spec, shapes, layout)
