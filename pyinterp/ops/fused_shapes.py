"""Output shape and element type of each fused operator, with the checks its inputs need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ModelError
from .fused_spec import (
    ActivationF32,
    AddF32,
    AddS8,
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
    SelectChannels,
    Spec,
    Window,
)

Shape = tuple[int, ...]
RANGE_SHAPE = (2,)  # of what DynamicRange finds: scale, zero point
_POOLS = (MaxPoolS8, AveragePoolS8, MaxPoolF32, AveragePoolF32)
# from float32 to float32
_FLOATS = (
    *(ConvF32, ConcatF32, MaxPoolF32, AveragePoolF32, AddF32, MulF32, ActivationF32),
    *(InterpolateF32, NormalizeF32, PReluF32),
)
_FROM_FLOATS = frozenset((*_FLOATS, Quantize, DynamicRange, DynamicQuantize))
_TO_FLOATS = frozenset((*_FLOATS, Dequantize, DynamicRange, DynamicConv))
_RANGED = (DynamicQuantize, DynamicConv)  # whose second input is a range
_MOVES = (SelectChannels, GatherPixels, DepthToSpace)  # of either element type
_UINT8, _INT32, _FLOAT32 = (np.dtype(t) for t in (np.uint8, np.int32, np.float32))


def _windowed(window: Window, shape: Shape, channels: int) -> Shape:
    if len(shape) != 4:
        raise ModelError(f"expected an input [N, C, H, W], got shape {list(shape)}")
    height, width = window.output_size(shape[2], shape[3])
    if height < 1 or width < 1:
        raise ModelError(f"window {window.kernel} does not fit an input of shape {list(shape)}")
    return shape[0], channels, height, width


def _conv(spec: ConvS8 | ConvF32 | DynamicConv, shapes: Sequence[Shape]) -> Shape:
    outputs, per_group = spec.weight.shape[:2]
    result = _windowed(spec.window, shapes[0], outputs)
    if spec.weight.shape[2:] != spec.window.kernel:
        raise ModelError(f"weight {spec.weight.shape} does not fit the window {spec.window.kernel}")
    if shapes[0][1] != per_group * spec.groups or outputs % spec.groups:
        raise ModelError(
            f"input {list(shapes[0])} does not fit weight {spec.weight.shape}, {spec.groups} groups"
        )
    if len(shapes) == 2 and shapes[1] != result:
        raise ModelError(f"residual: expected shape {list(result)}, got {list(shapes[1])}")
    return result


def input_count(spec: Spec) -> int:
    """How many activations the operator reads."""
    if isinstance(spec, ConvS8):
        return 1 if spec.residual is None else 2
    if isinstance(spec, ConvF32):
        return 2 if spec.has_residual else 1
    if isinstance(spec, ConcatS8):
        return len(spec.parts)
    if isinstance(spec, ConcatF32):
        return spec.parts
    return 2 if isinstance(spec, (AddS8, MulS8, AddF32, MulF32, *_RANGED)) else 1


def input_dtype(spec: Spec, i: int = 0) -> np.dtype[Any]:
    """Of input i."""
    if i == 1 and isinstance(spec, _RANGED):
        return _FLOAT32
    if isinstance(spec, _MOVES):
        return np.dtype(spec.element)
    return _FLOAT32 if type(spec) in _FROM_FLOATS else _UINT8


def output_dtype(spec: Spec) -> np.dtype[Any]:
    if isinstance(spec, _MOVES):
        return np.dtype(spec.element)
    if type(spec) in _TO_FLOATS:
        return _FLOAT32
    return _INT32 if isinstance(spec, GemmS8) else _UINT8


def output_shape(spec: Spec, shapes: Sequence[Shape]) -> Shape:
    """Logical (NCHW) output shape. Raises ModelError where the input shapes do not fit."""
    if len(shapes) != input_count(spec):
        raise ModelError(f"expected {input_count(spec)} inputs, got {len(shapes)}")
    first = shapes[0]
    if isinstance(spec, _RANGED) and shapes[1] != RANGE_SHAPE:
        raise ModelError(f"expected a range of shape {list(RANGE_SHAPE)}, got {list(shapes[1])}")
    if isinstance(spec, DynamicRange):
        return RANGE_SHAPE
    if isinstance(spec, DynamicConv):
        return _conv(spec, shapes[:1])
    if isinstance(spec, (ConvS8, ConvF32)):
        return _conv(spec, shapes)
    if isinstance(spec, _POOLS):
        return _windowed(spec.window, first, first[1] if len(first) == 4 else 0)
    if isinstance(spec, GemmS8):
        if len(first) != 2 or first[1] != spec.weight.shape[1]:
            raise ModelError(f"expected [M, {spec.weight.shape[1]}], got {list(first)}")
        return first[0], spec.weight.shape[0]
    if isinstance(spec, SelectChannels):
        channels = first[1] if len(first) == 4 else 0
        if not all(0 <= channel < channels for channel in spec.channels) or not spec.channels:
            raise ModelError(f"channels {spec.channels} do not fit an input of shape {list(first)}")
        return first[0], len(spec.channels), *first[2:]
    if isinstance(spec, (ConcatS8, ConcatF32)):
        for shape in shapes:
            if len(shape) != 4 or shape[0] != first[0] or shape[2:] != first[2:]:
                raise ModelError(f"shapes {list(map(list, shapes))} differ beyond their channels")
        return first[0], sum(shape[1] for shape in shapes), *first[2:]
    if isinstance(spec, AddS8) and shapes[1] != first:
        raise ModelError(f"shapes differ: {list(first)} and {list(shapes[1])}")
    if isinstance(spec, (MulS8, AddF32, MulF32)) and shapes[1] not in (first, (*first[:2], 1, 1)):
        raise ModelError(f"expected {list(first)} or one value a channel, got {list(shapes[1])}")
    if isinstance(spec, (GatherPixels, DepthToSpace, InterpolateS8, InterpolateF32)):
        return _moved_pixels(spec, first)
    if isinstance(spec, (NormalizeS8, NormalizeF32, PReluS8, PReluF32)):
        _check_channels(spec, first)
    return first


def _moved_pixels(
    spec: GatherPixels | DepthToSpace | InterpolateS8 | InterpolateF32, shape: Shape
) -> Shape:
    if len(shape) != 4:
        raise ModelError(f"expected an input [N, C, H, W], got shape {list(shape)}")
    batch, channels, height, width = shape
    if isinstance(spec, GatherPixels):
        return batch, channels, len(spec.rows), len(spec.columns)
    if not isinstance(spec, DepthToSpace):
        return batch, channels, len(spec.rows.index), len(spec.columns.index)
    top, left, bottom, right = spec.crop
    size = height * spec.block - top - bottom, width * spec.block - left - right
    if channels % spec.block**2 or min(spec.crop) < 0 or min(size) < 1:
        raise ModelError(f"blocks of {spec.block}, cropped {spec.crop}, do not fit {list(shape)}")
    return batch, channels // spec.block**2, *size


def _check_channels(spec: NormalizeS8 | NormalizeF32 | PReluS8 | PReluF32, shape: Shape) -> None:
    if isinstance(spec, PReluS8):
        values = spec.negative_multiplier
    else:
        values = spec.slope if isinstance(spec, PReluF32) else spec.scale
    if len(shape) != 4 or values.shape != shape[1:2]:
        raise ModelError(f"expected [N, {values.size}, H, W], got shape {list(shape)}")
    if isinstance(spec, (NormalizeS8, NormalizeF32)) and spec.bias.shape != values.shape:
        raise ModelError(f"expected a bias of shape {values.shape}, got {spec.bias.shape}")
