"""The ONE rounding rule, and every compiled function that applies it.

They share a file because Numba's cache needs them to (see the package's docstring). Operands are
float32 and int32 explicitly: int32 * float32 is float64 in Numba, and so is the minimum of an int
and a float literal. docs/numeric-contract.md gives the arithmetic.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import float32, int32, uint8

from ...ops.fused_spec import OutputRange
from ..step import Array
from .base import compiled

NO_RESIDUAL, FROM_SUM, FROM_QUANTIZED = 0, 1, 2


class Range(NamedTuple):
    """An OutputRange as the rule wants it: bounds relative to the zero point, in float32."""

    lo: np.float32
    hi: np.float32
    zero_point: np.int32


def to_range(output: OutputRange) -> Range:
    zero = output.zero_point
    return Range(np.float32(output.lo - zero), np.float32(output.hi - zero), np.int32(zero))


class Addition(NamedTuple):
    """The residual of a convolution; see fused_spec.Residual. mode: one of the constants above."""

    mode: np.int32
    middle: Range
    conv_multiplier: np.float32
    zero_point: np.int32
    multiplier: np.float32


@compiled
def round_u8(real: float, to: Range) -> int:
    """rint half to even, clamp, convert, add the zero point."""
    f = np.rint(real)
    if f < to.lo:
        f = to.lo
    elif f > to.hi:
        f = to.hi
    return uint8(int32(f) + to.zero_point)


@compiled
def _add_residual(real: float, residual: int, addition: Addition) -> float:
    if addition.mode == FROM_QUANTIZED:
        t = int32(round_u8(real, addition.middle)) - addition.middle.zero_point
        real = float32(t) * addition.conv_multiplier
    return real + float32(int32(residual) - addition.zero_point) * addition.multiplier


@compiled
def requantize_rows(
    sums: Array, bias: Array, multiplier: Array, residual: Array, addition: Addition, to: Range,
    out: Array,
) -> None:  # fmt: skip
    """Channels last. sums: int32 [P, >= O]; residual (where there is one) and out: uint8 [P, O]."""
    outputs = out.shape[1]
    for p in range(out.shape[0]):
        if addition.mode == NO_RESIDUAL:
            for o in range(outputs):
                real = float32(int32(sums[p, o] + bias[o])) * multiplier[o]
                out[p, o] = round_u8(real, to)
        else:
            for o in range(outputs):
                real = float32(int32(sums[p, o] + bias[o])) * multiplier[o]
                out[p, o] = round_u8(_add_residual(real, residual[p, o], addition), to)


@compiled
def requantize_planes(
    sums: Array, stride: int, multiplier: Array, residual: Array, addition: Addition, to: Range,
    first: int, last: int, out: Array,
) -> None:  # fmt: skip
    """Channels first: rows first..last of out, uint8 [O, H, W], as is the residual.

    sums: int32 [O, >= rows * stride], row by row, `stride` apart.
    """
    for o in range(out.shape[0]):
        for y in range(first, last):
            row = sums[o, (y - first) * stride : (y - first) * stride + out.shape[2]]
            result = out[o, y]
            if addition.mode == NO_RESIDUAL:
                for x in range(result.size):
                    result[x] = round_u8(float32(row[x]) * multiplier[o], to)
            else:
                other = residual[o, y]
                for x in range(result.size):
                    real = float32(row[x]) * multiplier[o]
                    result[x] = round_u8(_add_residual(real, other[x], addition), to)


@compiled
def requantize_pixels(sums: Array, multiplier: Array, to: Range, out: Array) -> None:
    """A multiplier a pixel. sums: int32 [P, C]; multiplier: float32 [P]; out: uint8 [P, C]."""
    for p in range(out.shape[0]):
        for c in range(out.shape[1]):
            out[p, c] = round_u8(float32(sums[p, c]) * multiplier[p], to)


@compiled
def quantize_flat(x: Array, scale: np.float32, to: Range, out: Array) -> None:
    for i in range(out.size):
        real = x[i] / scale
        if np.isnan(real):
            real = float32(0)
        out[i] = round_u8(real, to)


@compiled
def add_flat(
    a: Array, a_zero: np.int32, a_multiplier: np.float32,
    b: Array, b_zero: np.int32, b_multiplier: np.float32,
    to: Range, out: Array,
) -> None:  # fmt: skip
    for i in range(out.size):
        left = float32(int32(a[i]) - a_zero) * a_multiplier
        right = float32(int32(b[i]) - b_zero) * b_multiplier
        out[i] = round_u8(left + right, to)


@compiled
def multiply_rows(
    a: Array, a_zero: np.int32, b: Array, b_zero: np.int32, multiplier: np.float32, to: Range,
    out: Array,
) -> None:  # fmt: skip
    """a, out: uint8 [P, C]; b: uint8 [P, C], [1, C] or [P, 1]."""
    down = int32(b.shape[0] > 1)
    across = int32(b.shape[1] > 1)
    for p in range(out.shape[0]):
        if across:
            for c in range(out.shape[1]):
                product = (int32(a[p, c]) - a_zero) * (int32(b[p * down, c]) - b_zero)
                out[p, c] = round_u8(float32(int32(product)) * multiplier, to)
        else:
            factor = int32(b[p * down, 0]) - b_zero
            for c in range(out.shape[1]):
                product = (int32(a[p, c]) - a_zero) * factor
                out[p, c] = round_u8(float32(int32(product)) * multiplier, to)


@compiled
def rescale_rows(x: Array, x_zero: np.int32, multiplier: np.float32, to: Range, out: Array) -> None:
    """x, out: uint8 [P, C]; out may be a strided view."""
    for p in range(out.shape[0]):
        for c in range(out.shape[1]):
            out[p, c] = round_u8(float32(int32(x[p, c]) - x_zero) * multiplier, to)


@compiled
def round_rows(x: Array, multiplier: np.float32, to: Range, out: Array) -> None:
    """x: float32 [P, C]; out: uint8 [P, C]."""
    for p in range(out.shape[0]):
        for c in range(out.shape[1]):
            out[p, c] = round_u8(x[p, c] * multiplier, to)


@compiled
def prelu_rows(
    x: Array, x_zero: np.int32, multiplier: np.float32, slope: Array, to: Range, out: Array
) -> None:
    """x, out: uint8 [P, C]; slope: float32 [C] or [1]."""
    across = int32(slope.size > 1)
    for p in range(out.shape[0]):
        for c in range(out.shape[1]):
            value = float32(int32(x[p, c]) - x_zero)
            factor = multiplier if value >= float32(0) else slope[c * across]
            out[p, c] = round_u8(value * factor, to)


@compiled
def normalize_rows(
    x: Array, x_zero: np.int32, mean: Array, inverse: Array, scale: Array, bias: Array, to: Range,
    out: Array,
) -> None:  # fmt: skip
    """x, out: uint8 [P, C]; scale, bias: float32 [C]; mean, inverse: float32 [1, C] or [P, 1]."""
    across, down = int32(mean.shape[1] > 1), int32(mean.shape[0] > 1)
    for p in range(out.shape[0]):
        for c in range(out.shape[1]):
            value = float32(int32(x[p, c]) - x_zero) - mean[p * down, c * across]
            value = value * inverse[p * down, c * across]
            out[p, c] = round_u8(float32(value * scale[c]) + bias[c], to)
