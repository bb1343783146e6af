"""QLinearConv and QLinearMatMul: integer products followed by the requantization rule.

`f = rint(float32(acc) * m)`, `y = int32(clamp(f, lo - y_zp, hi - y_zp)) + y_zp`,
`m = float32(float64(sx) * float64(sw) / float64(sy))`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .checks import per_channel, require
from .conv import conv_window, convolve_integers
from .element_types import integer_range, is_integer
from .matmul import along_columns, along_rows, multiply_integers
from .quantize_linear import one_value, quantized
from .registry import Array, Ints, operator


@operator("QLinearConv")
def qlinear_conv(
    x: Array,
    x_scale: Array,
    x_zero_point: Array,
    w: Array,
    w_scale: Array,
    w_zero_point: Array,
    y_scale: Array,
    y_zero_point: Array,
    b: Array | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Array:
    """x [N, C, ...], w [O, C/group, ...] u8 or s8; w_scale scalar or [O]; b int32 [O].

    Sums wrap modulo 2^32, as in the kernels; padding holds x_zero_point.
    """
    window = conv_window(x, w, auto_pad, dilations, group, kernel_shape, pads, strides)
    acc = convolve_integers(x, w, x_zero_point, w_zero_point, window, group)
    if b is not None:
        require(b.dtype == np.int32, f"bias: expected int32, got {b.dtype}")
        acc += per_channel(b.astype(np.int64), x.ndim, "bias", w.shape[0])
    weight_scale = w_scale.astype(np.float64)
    weight_scale = (
        weight_scale.reshape(())
        if weight_scale.size == 1
        else per_channel(weight_scale, x.ndim, "w_scale", w.shape[0])
    )
    product = one_value(x_scale, "x_scale") * weight_scale
    return requantized(acc, product, y_scale, y_zero_point)


@operator("QLinearMatMul")
def qlinear_matmul(
    a: Array,
    a_scale: Array,
    a_zero_point: Array,
    b: Array,
    b_scale: Array,
    b_zero_point: Array,
    y_scale: Array,
    y_zero_point: Array,
) -> Array:
    """a [..., M, K], b [..., K, N] u8 or s8; a's scale and zero point scalar or one a row,
    b's scalar or one a column.
    """
    acc = multiply_integers(a, b, a_zero_point, b_zero_point)
    product = along_rows(a_scale, a, "a_scale").astype(np.float64) * along_columns(
        b_scale, b, "b_scale"
    ).astype(np.float64)
    return requantized(acc, product, y_scale, y_zero_point)


def requantized(acc: Array, product: Array, y_scale: Array, y_zero_point: Array) -> Array:
    """The rule above; product = sx * sw in float64, broadcasting with acc."""
    target: np.dtype[Any] = y_zero_point.dtype
    require(
        is_integer(target) and target.itemsize == 1 and y_zero_point.size == 1,
        f"y_zero_point: expected one int8 or uint8, got {y_zero_point.shape} {target}",
    )
    low, high = integer_range(target)
    multiplier = (product / one_value(y_scale, "y_scale")).astype(np.float32)
    f = np.rint(acc.astype(np.int32).astype(np.float32) * multiplier)
    zero = y_zero_point.astype(np.int32).reshape(())
    return quantized(f, zero, low, high).astype(target)
