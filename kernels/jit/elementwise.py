"""Operators that go element by element, and concatenation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import float32, int32

from ...ops import fused_spec as fs
from ..step import Array, Layout, Shape, Step
from . import rounding
from .base import GatedStep, JitStep, compiled


@compiled
def look_up(x: Array, table: Array, out: Array) -> None:
    """x, out: uint8 [P, C], possibly the same array; table: uint8 [256]."""
    for p in range(out.shape[0]):
        for c in range(out.shape[1]):
            out[p, c] = table[x[p, c]]


@compiled
def look_up_rows(x: Array, table: Array, first: int, last: int) -> None:
    """In place, rows first..last of x, uint8 [C, H, W]."""
    for c in range(x.shape[0]):
        for i in range(first, last):
            for j in range(x.shape[2]):
                x[c, i, j] = table[x[c, i, j]]


@compiled
def _dequantize(x: Array, zero_point: np.int32, scale: np.float32, out: Array) -> None:
    for i in range(out.size):
        out[i] = float32(int32(x[i]) - zero_point) * scale


class _Quantize(JitStep):
    def __init__(self, spec: fs.Quantize, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        self._scale, self._range = np.float32(spec.scale), rounding.to_range(spec.output)

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        rounding.quantize_flat(inputs[0].reshape(-1), self._scale, self._range, output.reshape(-1))


class _Dequantize(JitStep):
    def __init__(self, spec: fs.Dequantize, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        self._scale, self._zero_point = np.float32(spec.scale), np.int32(spec.zero_point)

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        _dequantize(inputs[0].reshape(-1), self._zero_point, self._scale, output.reshape(-1))


class _AddS8(JitStep):
    def __init__(self, spec: fs.AddS8, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        self._a = np.int32(spec.a_zero_point), np.float32(spec.a_multiplier)
        self._b = np.int32(spec.b_zero_point), np.float32(spec.b_multiplier)
        self._range = rounding.to_range(spec.output)

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        a, b = (x.reshape(-1) for x in inputs)
        rounding.add_flat(a, *self._a, b, *self._b, self._range, output.reshape(-1))


class _MulS8(GatedStep):
    def __init__(self, spec: fs.MulS8, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        self._a_zero, self._b_zero = np.int32(spec.a_zero_point), np.int32(spec.b_zero_point)
        self._multiplier, self._range = np.float32(spec.multiplier), rounding.to_range(spec.output)

    def rows(self, a: Array, b: Array, out: Array) -> None:
        rounding.multiply_rows(a, self._a_zero, b, self._b_zero, self._multiplier, self._range, out)


class _RescaleS8(JitStep):
    def __init__(self, spec: fs.RescaleS8, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        self._zero_point, self._multiplier = (
            np.int32(spec.x_zero_point),
            np.float32(spec.multiplier),
        )
        self._range = rounding.to_range(spec.output)

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        x, out = inputs[0].reshape(1, -1), output.reshape(1, -1)
        rounding.rescale_rows(x, self._zero_point, self._multiplier, self._range, out)


class _ConcatS8(JitStep):
    def __init__(self, spec: fs.ConcatS8, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        self._parts = spec.parts
        self._outer_axes = 3 if layout == "nhwc" else 1  # axes before the channels

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        outer = int(np.prod(output.shape[: self._outer_axes]))
        rows, start = output.reshape(outer, -1), 0
        for part, x in zip(self._parts, inputs, strict=True):
            source = x.reshape(outer, -1)
            target = rows[:, start : start + source.shape[1]]
            start += source.shape[1]
            if part is None:
                target[...] = source
            else:
                zero_point, multiplier = np.int32(part.x_zero_point), np.float32(part.multiplier)
                to = rounding.to_range(part.output)
                rounding.rescale_rows(source, zero_point, multiplier, to, target)


class _TableS8(JitStep):
    def __init__(self, spec: fs.TableS8, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        self._table = np.array(spec.table, np.uint8)
        self.weight_bytes = self._table.nbytes

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        look_up(inputs[0].reshape(1, -1), self._table, output.reshape(1, -1))


def quantize(spec: fs.Quantize, shapes: Sequence[Shape], layout: Layout, threads: int) -> Step:
    return _Quantize(spec, shapes, layout)


def dequantize(spec: fs.Dequantize, shapes: Sequence[Shape], layout: Layout, threads: int) -> Step:
    return _Dequantize(spec, shapes, layout)


def add_s8(spec: fs.AddS8, shapes: Sequence[Shape], layout: Layout, threads: int) -> Step:
    return _AddS8(spec, shapes, layout)


def mul_s8(spec: fs.MulS8, shapes: Sequence[Shape], layout: Layout, threads: int) -> Step:
    return _MulS8(spec, shapes, layout)


def rescale_s8(spec: fs.RescaleS8, shapes: Sequence[Shape], layout: Layout, threads: int) -> Step:
    return _RescaleS8(spec, shapes, layout)


def concat_s8(spec: fs.ConcatS8, shapes: Sequence[Shape], layout: Layout, threads: int) -> Step:
    return _ConcatS8(spec, shapes, layout)


def table_s8(spec: fs.TableS8, shapes: Sequence[Shape], layout: Layout, threads: int) -> Step:
    return _TableS8(spec, shapes, layout)
