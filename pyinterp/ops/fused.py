"""Reference of the fused operators: the judge of every kernel, in plain NumPy.

Integer products run through float64 BLAS where they stay below 2^53, which is exact and some 30
times faster than an int32 matmul. Layout is NCHW throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .dynamic_ops import dynamic_conv, dynamic_quantize, dynamic_range
from .fused_float import (
    activation_f32,
    add_f32,
    average_pool_f32,
    max_pool_f32,
    mul_f32,
)
from .fused_rounding import U8, requantize
from .fused_spec import (
    F32,
    I32,
    ActivationF32,
    AddF32,
    AddS8,
    Array,
    AveragePoolF32,
    AveragePoolS8,
    ConcatF32,
    ConcatS8,
    ConvF32,
    ConvS8,
    DepthToSpace,
    Dequantize,
    DynamicConv,
    DynamicQuantize,
    DynamicRange,
    GatherPixels,
    GemmS8,
    InterpolateF32,
    InterpolateS8,
    MaxPoolF32,
    MaxPoolS8,
    MulF32,
    MulS8,
    NormalizeF32,
    NormalizeS8,
    PReluF32,
    PReluS8,
    Quantize,
    RescaleS8,
    SelectChannels,
    Spec,
    TableS8,
)
from .fused_windows import average_pool_counts, convolve, windows, wrap_int32
from .image_ops import (
    depth_to_space,
    gather_pixels,
    interpolate_f32,
    interpolate_s8,
    normalize_f32,
    normalize_s8,
    prelu_f32,
    prelu_s8,
)


def accumulate(spec: ConvS8, x: U8) -> I32:
    """acc = bias + sum (x - x_zp) * w, modulo 2^32: int32 [N, O, H', W']."""
    shifted = x.astype(np.float64) - spec.x_zero_point
    exact = convolve(shifted, spec.weight.astype(np.float64), spec.window, spec.groups, 0.0)
    return wrap_int32(exact + spec.bias.astype(np.float64)[:, None, None])


def conv_s8(spec: ConvS8, x: U8, residual: U8 | None = None) -> U8:
    real = accumulate(spec, x).astype(np.float32) * spec.multiplier[:, None, None]
    result = requantize(real, spec.output)
    if spec.residual is not None:
        assert residual is not None
        if spec.residual.conv_output is not None:
            middle = spec.residual.conv_output
            t = requantize(real, middle).astype(np.int32) - np.int32(middle.zero_point)
            real = t.astype(np.float32) * np.float32(spec.residual.conv_multiplier)
        r = residual.astype(np.int32) - np.int32(spec.residual.zero_point)
        real = real + r.astype(np.float32) * np.float32(spec.residual.multiplier)
        result = requantize(real, spec.output)
    return result if spec.table is None else spec.table[result]


def gemm_s8(spec: GemmS8, x: U8) -> I32:
    shifted = x.astype(np.float64) - spec.x_zero_point
    return wrap_int32(shifted @ spec.weight.astype(np.float64).T + spec.bias.astype(np.float64))


def conv_f32(spec: ConvF32, x: F32, residual: F32 | None = None) -> F32:
    result = convolve(x, spec.weight, spec.window, spec.groups, 0.0)
    result += spec.bias[:, None, None]
    if residual is not None:
        result += residual
    return np.clip(result, np.float32(spec.lo), np.float32(spec.hi))


def conv_f32_bound(spec: ConvF32, x: F32, residual: F32 | None = None) -> tuple[Array, Array]:
    """The float64 result and the largest error a float32 kernel may make, both [N, O, H', W'].

    gamma(K + 2) * (sum |x| |w| + |b| + |r|), gamma(n) = n u / (1 - n u): Higham, Accuracy and
    Stability of Numerical Algorithms, section 3.1. It holds for every order of summation. One more
    rounding is counted where there is a residual.
    """

    def run(prepare: Callable[[Array], Array]) -> Array:
        wide_x, weight, bias = (prepare(a.astype(np.float64)) for a in (x, spec.weight, spec.bias))
        total = convolve(wide_x, weight, spec.window, spec.groups, 0.0) + bias[:, None, None]
        return total if residual is None else total + prepare(residual.astype(np.float64))

    exact, size = run(np.asarray), run(np.abs)
    n = int(np.prod(spec.weight.shape[1:])) + 2 + (residual is not None)
    unit = 2.0**-24
    return np.clip(exact, spec.lo, spec.hi), n * unit / (1 - n * unit) * size


def quantize(spec: Quantize, x: F32) -> U8:
    real = x / np.float32(spec.scale)
    return requantize(np.where(np.isnan(real), np.float32(0), real), spec.output)


def dequantize(spec: Dequantize, x: U8) -> F32:
    shifted = x.astype(np.int32) - np.int32(spec.zero_point)
    return shifted.astype(np.float32) * np.float32(spec.scale)


def add_s8(spec: AddS8, a: U8, b: U8) -> U8:
    left = (a.astype(np.int32) - np.int32(spec.a_zero_point)).astype(np.float32)
    right = (b.astype(np.int32) - np.int32(spec.b_zero_point)).astype(np.float32)
    real = left * np.float32(spec.a_multiplier) + right * np.float32(spec.b_multiplier)
    return requantize(real, spec.output)


def mul_s8(spec: MulS8, a: U8, b: U8) -> U8:
    left = a.astype(np.int32) - np.int32(spec.a_zero_point)
    right = b.astype(np.int32) - np.int32(spec.b_zero_point)
    return requantize((left * right).astype(np.float32) * np.float32(spec.multiplier), spec.output)


def rescale_s8(spec: RescaleS8, x: U8) -> U8:
    shifted = (x.astype(np.int32) - np.int32(spec.x_zero_point)).astype(np.float32)
    return requantize(shifted * np.float32(spec.multiplier), spec.output)


def concat_s8(spec: ConcatS8, *parts: U8) -> U8:
    scaled = [
        part if rescale is None else rescale_s8(rescale, part)
        for rescale, part in zip(spec.parts, parts, strict=True)
    ]
    return np.concatenate(scaled, axis=1)


def max_pool_s8(spec: MaxPoolS8, x: U8) -> U8:
    result: U8 = windows(x, spec.window, 0).max(axis=(4, 5))
    return result


def average_pool_multipliers(spec: AveragePoolS8, height: int, width: int) -> F32:
    """Multiplier of each output pixel, float32 [H', W']."""
    counts = average_pool_counts(spec.window, height, width, spec.count_include_pad)
    scale = np.float64(np.float32(spec.x_scale)) / (np.float64(np.float32(spec.y_scale)) * counts)
    return scale.astype(np.float32)


def average_pool_s8(spec: AveragePoolS8, x: U8) -> U8:
    shifted = x.astype(np.int32) - np.int32(spec.x_zero_point)
    sums = windows(shifted, spec.window, 0).sum(axis=(4, 5), dtype=np.int32)
    multipliers = average_pool_multipliers(spec, x.shape[2], x.shape[3])
    return requantize(sums.astype(np.float32) * multipliers, spec.output)


def table_s8(spec: TableS8, x: U8) -> U8:
    return spec.table[x]


def select_channels(spec: SelectChannels, x: Array) -> Array:
    return x[:, list(spec.channels)]


def concat_f32(spec: ConcatF32, *parts: F32) -> F32:
    return np.concatenate(parts, axis=1)


REFERENCE: dict[type[Any], Callable[..., Array]] = {
    ConvS8: conv_s8,
    GemmS8: gemm_s8,
    ConvF32: conv_f32,
    Quantize: quantize,
    Dequantize: dequantize,
    DynamicRange: dynamic_range,
    DynamicQuantize: dynamic_quantize,
    DynamicConv: dynamic_conv,
    AddS8: add_s8,
    MulS8: mul_s8,
    RescaleS8: rescale_s8,
    ConcatS8: concat_s8,
    MaxPoolS8: max_pool_s8,
    AveragePoolS8: average_pool_s8,
    TableS8: table_s8,
    GatherPixels: gather_pixels,
    DepthToSpace: depth_to_space,
    InterpolateS8: interpolate_s8,
    InterpolateF32: interpolate_f32,
    NormalizeS8: normalize_s8,
    NormalizeF32: normalize_f32,
    PReluS8: prelu_s8,
    PReluF32: prelu_f32,
    SelectChannels: select_channels,
    ConcatF32: concat_f32,
    MaxPoolF32: max_pool_f32,
    AveragePoolF32: average_pool_f32,
    AddF32: add_f32,
    MulF32: mul_f32,
    ActivationF32: activation_f32,
}


def run(spec: Spec, inputs: Sequence[Array]) -> Array:
    """The reference result of a fused operator, NCHW."""
    return REFERENCE[type(spec)](spec, *inputs)
