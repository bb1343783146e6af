"""The fused operators: what a lowered model is made of, and what kernels implement.

A spec holds everything about an operator but its activations. Activations are uint8 in all 8-bit
operators: signed ones are shifted to `q - qmin` when a model is lowered. Array shapes are given
for ONNX's NCHW order; a kernel may want another layout (`registry.Kernel.layout`).

`fused.py` is the reference of each spec; `sparing.kernels.registry` lists the fast ones.
The arithmetic is fixed by docs/numeric-contract.md.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ..records import record
from .dynamic_spec import DynamicConv as DynamicConv
from .dynamic_spec import DynamicQuantize as DynamicQuantize
from .dynamic_spec import DynamicRange as DynamicRange
from .fused_parts import F32 as F32
from .fused_parts import I32 as I32
from .fused_parts import Array as Array
from .fused_parts import OutputRange as OutputRange
from .fused_parts import Window as Window
from .image_spec import DepthToSpace as DepthToSpace
from .image_spec import GatherPixels as GatherPixels
from .image_spec import InterpolateF32 as InterpolateF32
from .image_spec import InterpolateS8 as InterpolateS8
from .image_spec import NormalizeF32 as NormalizeF32
from .image_spec import NormalizeS8 as NormalizeS8
from .image_spec import PReluF32 as PReluF32
from .image_spec import PReluS8 as PReluS8
from .image_spec import Taps as Taps


@record(frozen=True, slots=True)
class Residual:
    """A second operand, added to a convolution's result before the final clamp.

    With `conv_output` the convolution is first requantized and clamped to that range, as t, and
    `f = rint(float32(t - t_zp) * conv_multiplier + float32(r - zero_point) * multiplier)`.
    Without it the first product is `float32(acc) * m[c]`, straight from the accumulator.
    """

    zero_point: int
    multiplier: float  # float32(float64(sr) / float64(sy))
    conv_output: OutputRange | None = None
    conv_multiplier: float = 0.0  # float32(float64(st) / float64(sy))


@record(frozen=True, slots=True, eq=False)
class ConvS8:
    """2-D convolution of uint8 by signed integer weights, requantized to uint8.

    weight: int8 or int16 [O, C / groups, kh, kw]. bias: int32 [O]. multiplier: float32 [O].
    x_max: largest value the input can hold (proven: a Sparing clamp, else 255).
    table: uint8 [256], applied to the result last, or None.
    Inputs: x uint8 [N, C, H, W] (and, with `residual`, r uint8 [N, O, H', W']).
    Output: uint8 [N, O, H', W'].
    """

    window: Window
    groups: int
    weight: Array
    bias: I32
    x_zero_point: int
    multiplier: F32
    output: OutputRange
    x_max: int = 255
    residual: Residual | None = None
    table: npt.NDArray[np.uint8] | None = None


@record(frozen=True, slots=True, eq=False)
class GemmS8:
    """Integer matrix product without requantization: `(x - x_zero_point) @ weight.T + bias`.

    weight: int8 or int16 [N, K]. bias: int32 [N]. Input: uint8 [M, K]. Output: int32 [M, N],
    modulo 2^32.
    """

    weight: Array
    bias: I32
    x_zero_point: int
    x_max: int = 255


def conv_of(spec: GemmS8) -> ConvS8:
    """The 1x1 convolution of one pixel that makes the same sums; its range and multipliers mean
    nothing."""
    return ConvS8(
        Window((1, 1)),
        1,
        spec.weight[:, :, None, None],
        spec.bias,
        spec.x_zero_point,
        np.ones(len(spec.bias), np.float32),
        OutputRange(0),
        spec.x_max,
    )


def sums_of(spec: DynamicConv) -> ConvS8:
    """The convolution that makes the same sums where the zero point is 0; its range and multipliers
    mean nothing."""
    outputs = len(spec.weight)
    bias, multiplier = np.zeros(outputs, np.int32), np.ones(outputs, np.float32)
    return ConvS8(
        spec.window, spec.groups, spec.weight, bias, 0, multiplier, OutputRange(0), x_max=255
    )


@record(frozen=True, slots=True, eq=False)
class ConvF32:
    """2-D convolution in float32: `clamp(conv(x, weight) + bias + residual, lo, hi)`.

    weight: float32 [O, C / groups, kh, kw]. bias: float32 [O]. NaN passes the clamp.
    Inputs: x float32 [N, C, H, W] (and, with `has_residual`, r float32 [N, O, H', W']).
    """

    window: Window
    groups: int
    weight: F32
    bias: F32
    lo: float = -np.inf
    hi: float = np.inf
    has_residual: bool = False


@record(frozen=True, slots=True)
class Quantize:
    """float32 -> uint8: `clamp(rint(x / scale)) + zero_point`, NaN to the zero point."""

    scale: float
    output: OutputRange


@record(frozen=True, slots=True)
class Dequantize:
    """uint8 -> float32: `float32(x - zero_point) * scale`."""

    scale: float
    zero_point: int


@record(frozen=True, slots=True)
class AddS8:
    """`rint(float32(a - a_zp) * ma + float32(b - b_zp) * mb)`, clamped; uint8, equal shapes."""

    a_zero_point: int
    a_multiplier: float
    b_zero_point: int
    b_multiplier: float
    output: OutputRange


@record(frozen=True, slots=True)
class MulS8:
    """`rint(float32((a - a_zp) * (b - b_zp)) * m)`, clamped.

    a: uint8 [N, C, H, W]; b: the same shape, or [N, C, 1, 1] (a squeeze-and-excite gate).
    """

    a_zero_point: int
    b_zero_point: int
    multiplier: float
    output: OutputRange


@record(frozen=True, slots=True)
class RescaleS8:
    """uint8 -> uint8 of another scale: `rint(float32(x - x_zp) * m)`, clamped.

    With multiplier 1 and equal zero points it only clamps.
    """

    x_zero_point: int
    multiplier: float
    output: OutputRange


@record(frozen=True, slots=True)
class ConcatS8:
    """Concatenate along channels; a part is rescaled, or copied where its entry is None.

    Inputs: uint8 [N, C_i, H, W], one per part.
    """

    parts: tuple[RescaleS8 | None, ...]


@record(frozen=True, slots=True)
class MaxPoolS8:
    """Maximum over a window of uint8; padding never wins."""

    window: Window


@record(frozen=True, slots=True)
class AveragePoolS8:
    """Average over a window of uint8: int32 sum of `x - x_zp`, then the requantization rule.

    The multiplier of an output is `float32(float64(x_scale) / (float64(y_scale) * count))`, where
    count is the window's size, or the taps inside the input where padding is excluded.
    """

    window: Window
    count_include_pad: bool
    x_scale: float
    x_zero_point: int
    y_scale: float
    output: OutputRange


@record(frozen=True, slots=True, eq=False)
class TableS8:
    """A 256-entry table: a non-linear function of a quantized tensor. table: uint8 [256]."""

    table: npt.NDArray[np.uint8]


@record(frozen=True, slots=True)
class SelectChannels:
    """Some channels, in any order: `y[:, i] = x[:, channels[i]]`. Slices, splits and shuffles.

    element: name of the element type, "uint8" or "float32". Input: [N, C, H, W].
    """

    channels: tuple[int, ...]
    element: str


@record(frozen=True, slots=True)
class ConcatF32:
    """Concatenate `parts` inputs along channels: float32 [N, C_i, H, W]."""

    parts: int


@record(frozen=True, slots=True)
class MaxPoolF32:
    """Maximum over a window of float32; padding never wins, NaN always does."""

    window: Window


@record(frozen=True, slots=True)
class AveragePoolF32:
    """Average over a window of float32: the sum divided by the window's size, or by the taps inside
    the input where padding is excluded."""

    window: Window
    count_include_pad: bool


@record(frozen=True, slots=True)
class AddF32:
    """`clamp(a + b, lo, hi)`, NaN passing. b: a's shape, or [N, C, 1, 1] beside [N, C, H, W]."""

    lo: float = -np.inf
    hi: float = np.inf


@record(frozen=True, slots=True)
class MulF32:
    """`clamp(a * b, lo, hi)`, as `AddF32`."""

    lo: float = -np.inf
    hi: float = np.inf


@record(frozen=True, slots=True)
class ActivationF32:
    """A function of each element, float32: "clip" to [a, b]; "hard_sigmoid", the clamp of
    `a * x + b` to [0, 1]; "hard_swish", x times that; "sigmoid"; "silu", x times that;
    "leaky_relu" and "elu" with the slope, or limit, `a` of negative values; "tanh"; "gelu", by erf.
    """

    function: str
    a: float = 0.0
    b: float = 0.0


Spec: TypeAlias = (
    ConvS8
    | GemmS8
    | ConvF32
    | Quantize
    | Dequantize
    | DynamicRange
    | DynamicQuantize
    | DynamicConv
    | AddS8
    | MulS8
    | RescaleS8
    | ConcatS8
    | MaxPoolS8
    | AveragePoolS8
    | TableS8
    | GatherPixels
    | DepthToSpace
    | InterpolateS8
    | InterpolateF32
    | NormalizeS8
    | NormalizeF32
    | PReluS8
    | PReluF32
    | SelectChannels
    | ConcatF32
    | MaxPoolF32
    | AveragePoolF32
    | AddF32
    | MulF32
    | ActivationF32
)
