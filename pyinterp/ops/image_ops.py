"""Reference of the operators of `image_spec.py`.

Kernels give these bits, float32 included: the order of every operation is fixed, and division and
square root are exact to the last bit everywhere.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .fused_parts import F32, Array
from .fused_rounding import U8, requantize
from .image_spec import (
    DepthToSpace,
    GatherPixels,
    InterpolateF32,
    InterpolateS8,
    NormalizeF32,
    NormalizeS8,
    Over,
    PReluF32,
    PReluS8,
    Taps,
)

F64 = npt.NDArray[np.float64]


def gather_pixels(spec: GatherPixels, x: Array) -> Array:
    rows, columns = np.array(spec.rows), np.array(spec.columns)
    y = x[:, :, np.maximum(rows, 0)][:, :, :, np.maximum(columns, 0)]
    outside = (rows < 0)[:, None] | (columns < 0)
    return np.where(outside, x.dtype.type(spec.fill), y)


def depth_to_space(spec: DepthToSpace, x: Array) -> Array:
    (batch, channels, height, width), b = x.shape, spec.block
    if spec.channels_first:
        blocks = x.reshape(batch, -1, b, b, height, width).transpose(0, 1, 4, 2, 5, 3)
    else:
        blocks = x.reshape(batch, b, b, -1, height, width).transpose(0, 3, 4, 1, 5, 2)
    whole = blocks.reshape(batch, channels // b**2, height * b, width * b)
    top, left, bottom, right = spec.crop
    return whole[:, :, top : height * b - bottom, left : width * b - right]


def _along(x: F32, taps: Taps, axis: int) -> F32:
    shape = (-1, 1) if axis == 2 else (-1,)
    total = np.take(x, taps.index[:, 0], axis) * taps.weight[:, 0].reshape(shape)
    for t in range(1, taps.index.shape[1]):
        total = total + np.take(x, taps.index[:, t], axis) * taps.weight[:, t].reshape(shape)
    return total


def interpolate_s8(spec: InterpolateS8, x: U8) -> U8:
    shifted = (x.astype(np.int32) - np.int32(spec.x_zero_point)).astype(np.float32)
    real = _along(_along(shifted, spec.rows, 2), spec.columns, 3)
    return requantize(real * np.float32(spec.multiplier), spec.output)


def interpolate_f32(spec: InterpolateF32, x: F32) -> F32:
    return _along(_along(x, spec.rows, 2), spec.columns, 3)


def _sums(x: F64, over: Over) -> F64:
    """[N, C, 1, 1] or [N, 1, H, W], added in the order that `NormalizeF32` gives."""
    if over == "space":
        running = np.cumsum(x.reshape(*x.shape[:2], -1), axis=2)
        return running[:, :, -1, None, None]
    lanes = np.zeros((x.shape[0], 8, *x.shape[2:]))
    for c in range(x.shape[1]):
        lanes[:, c % 8] += x[:, c]
    four = lanes[:, :4] + lanes[:, 4:]
    two = four[:, 0::2] + four[:, 1::2]
    return two[:, :1] + two[:, 1:]


def _normalized(x: F32, spec: NormalizeS8 | NormalizeF32, x_scale: float) -> F32:
    """x: float32, its zero point taken off."""
    wide = x.astype(np.float64)
    count = np.float64(x.shape[1] if spec.over == "channels" else x.shape[2] * x.shape[3])
    scale = np.float64(x_scale)
    mean = _sums(wide, spec.over) / count
    variance = _sums(wide * wide, spec.over) / count - mean * mean
    variance = np.where(variance > 0, variance, np.float64(0))
    inverse = scale / np.sqrt(variance * (scale * scale) + np.float64(spec.epsilon))
    centred = (x - mean.astype(np.float32)) * inverse.astype(np.float32)
    return centred * spec.scale[:, None, None] + spec.bias[:, None, None]


def normalize_s8(spec: NormalizeS8, x: U8) -> U8:
    shifted = (x.astype(np.int32) - np.int32(spec.x_zero_point)).astype(np.float32)
    return requantize(_normalized(shifted, spec, spec.x_scale), spec.output)


def normalize_f32(spec: NormalizeF32, x: F32) -> F32:
    return _normalized(x, spec, 1.0)


def prelu_s8(spec: PReluS8, x: U8) -> U8:
    shifted = (x.astype(np.int32) - np.int32(spec.x_zero_point)).astype(np.float32)
    below = shifted * spec.negative_multiplier[:, None, None]
    real = np.where(shifted >= 0, shifted * np.float32(spec.multiplier), below)
    return requantize(real, spec.output)


def prelu_f32(spec: PReluF32, x: F32) -> F32:
    return np.where(x >= 0, x, x * spec.slope[:, None, None])
