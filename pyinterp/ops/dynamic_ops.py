"""Reference of the operators of `dynamic_spec.py`: kernels give these bits, floats included."""

from __future__ import annotations

import numpy as np

from .dynamic_spec import DynamicConv, DynamicQuantize, DynamicRange
from .fused_parts import F32, I32, OutputRange
from .fused_rounding import U8, requantize
from .fused_windows import convolve, wrap_int32
from .quantize_linear import dynamic_parameters


def dynamic_range(spec: DynamicRange, x: F32) -> F32:
    return np.array(dynamic_parameters(x), np.float32)


def dynamic_quantize(spec: DynamicQuantize, x: F32, parameters: F32) -> U8:
    with np.errstate(all="ignore"):  # a scale of NaN, or of 0
        real = x / parameters[0]
    real = np.where(np.isnan(real), np.float32(0), real)
    return requantize(real, OutputRange(int(parameters[1])))


def _sums(spec: DynamicConv, x: U8, zero_point: int) -> I32:
    shifted = x.astype(np.float64) - zero_point
    return wrap_int32(
        convolve(shifted, spec.weight.astype(np.float64), spec.window, spec.groups, 0.0)
    )


def dynamic_conv(spec: DynamicConv, x: U8, parameters: F32) -> F32:
    real = _sums(spec, x, int(parameters[1])).astype(np.float32)
    unit = parameters[0] * spec.weight_scale
    result = real * unit[:, None, None] + spec.bias[:, None, None]
    return np.clip(result, np.float32(spec.lo), np.float32(spec.hi))
