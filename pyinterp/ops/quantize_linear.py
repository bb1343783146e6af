"""QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear: real = scale * (q - zero_point)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .checks import axis_of, require, scalar
from .element_types import dtype_of, integer_range, is_float, is_integer
from .registry import Array, operator

FLOAT32 = 1
UINT8 = np.dtype(np.uint8)


@operator("QuantizeLinear")
def quantize_linear(
    x: Array,
    y_scale: Array,
    y_zero_point: Array | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,  # concerns float8 only
) -> Array:
    """x float or int32 -> integers of y_zero_point's type (else output_dtype, else uint8).

    Scales: one, one a slice along `axis`, or one a block of `block_size` along it.
    f = rint(x / scale) by float32 division, half to even; NaN gives the zero point; clamped
    before the conversion, so infinities and huge values saturate.
    """
    require(
        precision in (0, FLOAT32) or is_float(dtype_of(precision)),
        f"precision: expected a float type, got {precision}",
    )
    target = _target(y_zero_point, output_dtype)
    low, high = integer_range(target)
    scale = spread(y_scale, x, axis, block_size, "y_scale").astype(np.float32)
    zero = np.zeros((), np.int32)
    if y_zero_point is not None:
        _same_shape(y_scale, y_zero_point, "y_zero_point")
        zero = spread(y_zero_point, x, axis, block_size, "y_zero_point").astype(np.int32)
    return quantized(np.rint(x.astype(np.float32) / scale), zero, low, high).astype(target)


def quantized(f: Array, zero: Array, low: int, high: int) -> Array:
    """int32 from rounded float32 `f`: NaN to zero, clamp, convert, add the zero point.

    Types of up to 16 bits: every bound is exact in float32.
    """
    f = np.where(np.isnan(f), np.float32(0), f)
    floor, ceiling = (low - zero).astype(np.float32), (high - zero).astype(np.float32)
    return np.clip(f, floor, ceiling).astype(np.int32) + zero


def _target(zero_point: Array | None, output_dtype: int) -> np.dtype[Any]:
    wanted = dtype_of(output_dtype) if output_dtype else None
    if zero_point is not None:
        require(
            wanted in (None, zero_point.dtype),
            f"output_dtype: expected {zero_point.dtype} like y_zero_point, got {wanted}",
        )
        wanted = zero_point.dtype
    target = wanted or UINT8
    require(
        is_integer(target) and target.itemsize <= 2,
        f"expected a quantized type of 4, 8 or 16 bits, got {target}",
    )
    return target


@operator("DequantizeLinear")
def dequantize_linear(
    x: Array,
    x_scale: Array,
    x_zero_point: Array | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Array:
    """x integer -> float32((x - x_zero_point)) * x_scale in x_scale's type (or output_dtype).

    The difference is exact; it is rounded to float32 once, multiplied and, for a narrower type,
    rounded again.
    """
    require(is_integer(x.dtype), f"expected an integer tensor, got {x.dtype}")
    require(is_float(x_scale.dtype), f"x_scale: expected a float type, got {x_scale.dtype}")
    scale = spread(x_scale, x, axis, block_size, "x_scale")
    difference = x.astype(np.int64)
    if x_zero_point is not None:
        _same_shape(x_scale, x_zero_point, "x_zero_point")
        require(
            x_zero_point.dtype == x.dtype,
            f"x_zero_point: expected {x.dtype} like x, got {x_zero_point.dtype}",
        )
        difference -= spread(x_zero_point, x, axis, block_size, "x_zero_point").astype(np.int64)
    wide = np.float64 if x_scale.dtype == np.float64 else np.float32
    target = dtype_of(output_dtype) if output_dtype else x_scale.dtype
    return (difference.astype(wide) * scale.astype(wide)).astype(target, copy=False)


@operator("DynamicQuantizeLinear")
def dynamic_quantize_linear(x: Array) -> tuple[Array, Array, Array]:
    """x float32 -> y uint8, its scale (float32) and zero point (uint8), both scalars.

    The range is that of the data, widened to hold 0.
    """
    require(x.dtype == np.float32, f"expected float32, got {x.dtype}")
    scale, zero = dynamic_parameters(x)
    zero_point = np.array(zero, np.uint8)
    y = quantized(np.rint(x / scale), zero_point.astype(np.int32), 0, 255).astype(np.uint8)
    return y, np.asarray(scale), zero_point


def dynamic_parameters(x: Array) -> tuple[np.float32, int]:
    """Scale and zero point of float32 data. NaN among them gives a scale of NaN."""
    low, high = x.min(initial=np.float32(0)), x.max(initial=np.float32(0))
    scale = np.float32((high - low) / np.float32(255))
    if scale == 0:
        scale = np.float32(1)
    zero_point = np.clip(np.rint(-low / scale), 0, 255)
    return scale, 0 if np.isnan(zero_point) else int(zero_point)


def _same_shape(scale: Array, zero_point: Array, name: str) -> None:
    require(
        zero_point.shape == scale.shape or zero_point.size == scale.size == 1,
        f"{name}: expected shape {scale.shape} like the scale, got {zero_point.shape}",
    )


def spread(parameter: Array, x: Array, axis: int, block_size: int, name: str) -> Array:
    """A per-tensor, per-axis or blocked parameter, shaped to broadcast with x."""
    if block_size:
        return _spread_blocks(parameter, x, axis_of(axis, x.ndim), block_size, name)
    if parameter.size == 1 and parameter.ndim <= 1:
        return parameter.reshape(())
    at = axis_of(axis, x.ndim)
    require(
        parameter.shape == (x.shape[at],),
        f"{name}: expected one value or ({x.shape[at]},) along axis {at}, got {parameter.shape}",
    )
    return parameter.reshape(-1, *(1,) * (x.ndim - at - 1))


def _spread_blocks(parameter: Array, x: Array, axis: int, block_size: int, name: str) -> Array:
    expected = list(x.shape)
    expected[axis] = -(-x.shape[axis] // block_size) if block_size > 0 else -1
    require(
        block_size > 0 and parameter.shape == tuple(expected),
        f"{name}: expected shape {tuple(expected)} for blocks of {block_size} along axis {axis}"
        f" of {x.shape}, got {parameter.shape}",
    )
    index = np.arange(x.shape[axis]) // block_size
    return np.take(parameter, index, axis=axis)


def one_value(values: Array, name: str) -> float:
    """A per-tensor scale as a Python float; it must be positive and finite."""
    value = float(scalar(values, name))
    require(0 < value < float("inf"), f"{name}: expected a positive number, got {value}")
    return value
