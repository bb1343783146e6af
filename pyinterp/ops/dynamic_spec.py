"""Fused operators of dynamic quantization: what a layer reads is quantized by the range that it has
in this very run. `dynamic_ops.py` is their reference.

A range is float32 [2]: the scale, and the zero point, an integer in 0..255.
"""

from __future__ import annotations

import numpy as np

from ..records import record
from .fused_parts import F32, Array, Window


@record(frozen=True, slots=True)
class DynamicRange:
    """The range of a float32 tensor of any shape, as ONNX' DynamicQuantizeLinear defines it."""


@record(frozen=True, slots=True)
class DynamicQuantize:
    """float32 -> uint8: `clamp(rint(x / scale)) + zero_point`, NaN to the zero point.

    Inputs: x, its range.
    """


@record(frozen=True, slots=True, eq=False)
class DynamicConv:
    """2-D convolution of uint8 with a range, to float32:
    `clamp(float32(sum (x - zero_point) w) * (scale * weight_scale[c]) + bias[c], lo, hi)`.

    The sum is modulo 2^32, each product and sum of floats is rounded, and NaN passes the clamp.
    weight: int8 or int16 [O, C / groups, kh, kw]; groups: 1, or O and C, and then of at most
    EXACT_PRODUCTS products. weight_scale, bias: float32 [O]. Inputs: x uint8 [N, C, H, W], its
    range.
    """

    window: Window
    groups: int
    weight: Array
    weight_scale: F32
    bias: F32
    lo: float = -np.inf
    hi: float = np.inf


# Of an activation and a weight of at most 255 each: so many have sums that float32 holds, in
# whatever order they are added.
EXACT_PRODUCTS = 2**24 // (255 * 255)
