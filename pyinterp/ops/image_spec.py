"""Fused operators that work on whole images or channels: pixels moved and interpolated,
normalization, and slopes by channel. `image_ops.py` is their reference.
"""

from __future__ import annotations

from typing import Literal

from ..records import record
from .fused_parts import F32, I32, OutputRange


@record(frozen=True, slots=True)
class GatherPixels:
    """Pixels by row and column: `y[:, :, i, j] = x[:, :, rows[i], columns[j]]`, `fill` where one of
    the two is -1. Nearest resizing, padding of every mode, slices of space.

    element: "uint8" or "float32". fill: a value of that type. Input: [N, C, H, W].
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    element: str = "uint8"
    fill: float = 0.0


@record(frozen=True, slots=True)
class DepthToSpace:
    """Every pixel's channels become a block of pixels (ONNX DepthToSpace), cropped.

    channels_first: a pixel holds [C, block, block] (mode CRD), else [block, block, C] (DCR).
    crop: top, left, bottom, right; pixels that the result lacks. element: as in `GatherPixels`.
    """

    block: int
    channels_first: bool
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)
    element: str = "uint8"


@record(frozen=True, slots=True, eq=False)
class Taps:
    """An output position's sources along one axis. index: int32 [L, T]. weight: float32 [L, T]."""

    index: I32
    weight: F32


@record(frozen=True, slots=True, eq=False)
class InterpolateS8:
    """Separable resizing of uint8 (linear, cubic): rows, then columns, of `float32(x - x_zp)`; of
    taps, products are rounded and added in order. `rint(that * multiplier)`, clamped.
    """

    rows: Taps
    columns: Taps
    x_zero_point: int
    multiplier: float
    output: OutputRange


@record(frozen=True, slots=True, eq=False)
class InterpolateF32:
    """Separable resizing of float32, as `InterpolateS8` without the rounding to integers."""

    rows: Taps
    columns: Taps


Over = Literal["space", "channels"]


@record(frozen=True, slots=True, eq=False)
class NormalizeS8:
    """Normalization of uint8 [N, C, H, W] over `over`: each channel of an image over its pixels
    (InstanceNormalization), or each pixel over its channels (LayerNormalization).

    With n values, d = x - x_zp, the exact sums S of d and Q of d * d, and all in float64
    mean = S / n, variance = max(Q / n - mean * mean, 0), inverse = x_scale / sqrt(variance *
    (x_scale * x_scale) + epsilon):
    `rint((float32(d) - float32(mean)) * float32(inverse) * scale[c] + bias[c])`, clamped, each
    operation rounded to float32. scale, bias: float32 [C], divided by the output's scale.
    """

    over: Over
    scale: F32
    bias: F32
    epsilon: float
    x_scale: float
    x_zero_point: int
    output: OutputRange


@record(frozen=True, slots=True, eq=False)
class NormalizeF32:
    """Normalization of float32 by the formula of `NormalizeS8`, x_scale being 1. Sums are those of
    float64, in the order of the pixels; over channels eight sums, each of every eighth channel, are
    added pairwise: 0 and 4, 1 and 5, ..., then the first two and the last two of these.
    """

    over: Over
    scale: F32
    bias: F32
    epsilon: float


@record(frozen=True, slots=True, eq=False)
class PReluS8:
    """`rint(float32(x - x_zp) * m)`, clamped; m is `multiplier` where x - x_zp is not negative,
    else the channel's negative_multiplier, float32 [C]. uint8 [N, C, H, W]."""

    x_zero_point: int
    multiplier: float
    negative_multiplier: F32
    output: OutputRange


@record(frozen=True, slots=True, eq=False)
class PReluF32:
    """x, where negative times its channel's slope. slope: float32 [C]. float32 [N, C, H, W]."""

    slope: F32
