"""Scales, zero points, and the integers of one layer, within the bounds of the numeric contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import QuantizationError
from ..model import Array

F64 = npt.NDArray[np.float64]

SMALLEST_SCALE, SCALE_LIMIT = 2.0**-64, 2.0**64  # scales and multipliers lie in [first, second)
BIAS_LIMIT = 2**30
INT32 = np.iinfo(np.int32)


@dataclass(frozen=True, slots=True)
class Quantizer:
    """Of an activation: real = scale * (q - zero_point), q in [lo, hi]."""

    scale: np.float32
    zero_point: int
    lo: int
    hi: int


def activation_quantizer(
    low: float,
    high: float,
    bits: int,
    name: str,
    symmetric: bool = False,
    power_of_two: bool = False,
) -> Quantizer:
    """The unsigned quantizer of `bits` whose range is [low, high] and 0, which is exact.

    symmetric: a range with negative values is widened to [-m, m] and gets the zero point
    2^(bits-1). power_of_two: the scale is the next power of two that covers the range.
    A range of nothing but 0 gets scale 1. Raises QuantizationError where the scale would be 2^64 or
    more; one below 2^-64 is raised to that.
    """
    levels = 2**bits - 1
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        return Quantizer(np.float32(1), 0, 0, levels)
    step = (high - low) / levels
    if symmetric and low < 0:
        step = max(-low, high) / (levels // 2)
    if power_of_two:
        step = float(next_power_of_two(np.float64(step)))
    scale = np.float32(max(step, SMALLEST_SCALE))
    if not scale < SCALE_LIMIT:
        raise QuantizationError(f"{name!r}: the range [{low}, {high}] needs a scale above 2^64")
    zero_point = int(np.clip(np.rint(-low / np.float64(scale)), 0, levels))
    if symmetric and low < 0:
        zero_point = levels // 2 + 1
    return Quantizer(scale, zero_point, 0, levels)


def next_power_of_two(values: Any) -> Any:
    """The smallest powers of two that are not below positive values, in their own type."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(values.dtype.type(1), exponent - (mantissa == 0.5))


def range_clip(q: Quantizer) -> tuple[np.float32, np.float32]:
    """The float32 bounds of the Clip that keeps `QuantizeLinear` in [q.lo, q.hi].

    ONNX knows no 7-bit activations; this Clip carries them through a QDQ graph. Each bound is one
    rounded product, which the division of QuantizeLinear brings back to within 2 ulp of its
    integer: far from a tie, so that rounding gives that integer exactly.
    """
    return np.float32(q.lo - q.zero_point) * q.scale, np.float32(q.hi - q.zero_point) * q.scale


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedLayer:
    """weight: int8, bias: int32 [O]; scales: float32, [O] or []."""

    weight: npt.NDArray[np.int8]
    weight_scale: npt.NDArray[np.float32]
    bias: npt.NDArray[np.int32]
    bias_scale: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class StoredLayer:
    """Of a layer that reads floats. weight: int8; weight_scale: float32, [O] or []; bias: float32
    [O].
    """

    weight: npt.NDArray[np.int8]
    weight_scale: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]


def quantize_weights(
    weight: Array,
    bias: Array | None,
    bits: int,
    per_channel: bool,
    label: str,
    weight_scale: Array | None = None,
    power_of_two: bool = False,
) -> StoredLayer:
    """Weights as in `quantize_layer`, for a layer whose input and bias stay float.

    Raises QuantizationError, naming layer and channel, for weights or a bias that are not finite
    and for scales of 2^64 and above.
    """
    rows, offsets, wanted = _wanted(weight, bias, bits, label, weight_scale)
    if not per_channel:
        wanted = np.asarray(wanted.max(initial=0.0))
    scale = np.where(wanted == 0, 1.0, np.maximum(wanted, SMALLEST_SCALE)).astype(np.float32)
    if power_of_two:
        scale = next_power_of_two(scale)
    within = np.broadcast_to(scale < SCALE_LIMIT, len(rows))
    _require(within, label, "the scale of the weights is not below 2^64")
    q = _rounded(rows, scale, bits)
    return StoredLayer(q.reshape(weight.shape), scale, offsets.astype(np.float32))


def quantize_layer(
    weight: Array,
    bias: Array | None,
    x: Quantizer,
    y_scale: np.float32,
    bits: int,
    per_channel: bool,
    label: str,
    weight_scale: Array | None = None,
    power_of_two: bool = False,
) -> QuantizedLayer:
    """Weights [O, ...] symmetric in +-(2^(bits-1) - 1), bias [O] with scale x.scale * weight_scale.

    weight_scale: [O] or [], positive, where it is known; weights beyond its range saturate. By
    default the largest weight takes the largest integer. Either is raised where the bias needs it,
    and to the next power of two if `power_of_two`.
    Raises QuantizationError, naming layer and channel, where weights or bias are not finite, a
    scale or multiplier leaves [2^-64, 2^64), or the accumulator could leave int32.
    """
    rows, offsets, wanted = _wanted(weight, bias, bits, label, weight_scale)
    scale = _weight_scale(wanted, offsets, x.scale, y_scale, per_channel)
    if power_of_two:
        scale = next_power_of_two(scale)
    product = np.float64(x.scale) * scale.astype(np.float64)
    for what, value in (("scale", scale), ("multiplier", product / np.float64(y_scale))):
        within = np.broadcast_to((value >= SMALLEST_SCALE) & (value < SCALE_LIMIT), len(rows))
        _require(within, label, f"the {what} of the weights is not within [2^-64, 2^64)")
    q = _rounded(rows, scale, bits)
    q_bias = np.rint(offsets / product)
    _require(np.abs(q_bias) <= BIAS_LIMIT, label, "the bias exceeds 2^30 quanta")
    integers = q_bias.astype(np.int32)
    _require(_fits_int32(q, integers, x), label, "the accumulator can exceed int32")
    return QuantizedLayer(
        q.reshape(weight.shape), scale, integers, np.asarray(np.float32(x.scale) * scale)
    )


def _wanted(
    weight: Array, bias: Array | None, bits: int, label: str, weight_scale: Array | None
) -> tuple[F64, F64, F64]:
    """Weights [O, K], the bias [O], and the scales [O] that the weights want, in float64."""
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    offsets = np.zeros(len(rows)) if bias is None else bias.astype(np.float64)
    finite = np.isfinite(rows).all(axis=1) & np.isfinite(offsets)
    _require(finite, label, "weights or bias are not finite")
    if weight_scale is None:
        return rows, offsets, np.abs(rows).max(axis=1, initial=0.0) / (2 ** (bits - 1) - 1)
    return rows, offsets, np.broadcast_to(weight_scale.astype(np.float64), len(rows))


def _rounded(rows: F64, scale: npt.NDArray[np.float32], bits: int) -> npt.NDArray[np.int8]:
    largest = 2 ** (bits - 1) - 1
    steps = np.rint(rows / scale.astype(np.float64).reshape(-1, 1))
    return np.clip(steps, -largest, largest).astype(np.int8)


def _weight_scale(
    by_weights: F64,
    offsets: F64,
    x_scale: np.float32,
    y_scale: np.float32,
    per_channel: bool,
) -> npt.NDArray[np.float32]:
    """The scale of each channel: what the weights want, unless the bias needs a coarser one.

    Too fine a scale is raised to where multipliers stay above 2^-64 and the bias's own scale is a
    normal float32; what such a channel adds is far below one quantum of the output.
    """
    sx, sy = float(x_scale), float(y_scale)
    # The margin covers the rounding of the scale to float32.
    by_bias = np.abs(offsets) / (BIAS_LIMIT * sx) * (1 + 2.0**-22)
    scale = np.maximum(by_weights, by_bias)
    floor = max(SMALLEST_SCALE, 2 * SMALLEST_SCALE * sy / sx, 2.0**-125 / sx)
    if not per_channel:
        scale = np.asarray(scale.max(initial=0.0))
    raised = np.where(scale == 0, max(1.0, floor), np.maximum(scale, floor))
    return raised.astype(np.float32)


def _fits_int32(q: npt.NDArray[np.int8], bias: npt.NDArray[np.int32], x: Quantizer) -> Array:
    """Per channel, whether no input in [lo, hi] can take the accumulator out of int32."""
    wide = q.astype(np.int64)
    at_lo, at_hi = (x.lo - x.zero_point) * wide, (x.hi - x.zero_point) * wide
    top = bias + np.maximum(at_lo, at_hi).sum(axis=1)
    bottom = bias + np.minimum(at_lo, at_hi).sum(axis=1)
    return np.asarray((top <= INT32.max) & (bottom >= INT32.min))


def _require(fine: Array, label: str, what: str) -> None:
    if not fine.all():
        raise QuantizationError(f"{label!r}, channel {int(np.argmin(fine))}: {what}")
