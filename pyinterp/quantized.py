"""What a QDQ graph says about its quantized tensors: scales, zero points, proven ranges."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from .errors import QuantizationError
from .kernels.sums import extremes
from .model import Array, Node
from .ops.fused_spec import I32, OutputRange
from .records import record

Constant = Callable[[str], "Array | None"]  # the value of a name that is constant, else None

# dtypes: comparing with them takes a fraction of the time that comparing with NumPy's types takes
UINT8, INT8, INT32, FLOAT32 = (np.dtype(t) for t in (np.uint8, np.int8, np.int32, np.float32))
_NO_ZERO_POINT = np.zeros((), UINT8)

SCALE_LIMITS = (2.0**-64, 2.0**64)


@record(frozen=True, slots=True)
class Storage:
    """How a quantized tensor is kept: uint8 `q + shift`, in [lo, hi] after the shift.

    lo and hi are narrower than uint8 only where a Sparing clamp makes them so.
    """

    shift: int
    lo: int
    hi: int


@record(frozen=True, slots=True)
class Parameters:
    """Scale (a float32 value) and zero point of a tensor, per tensor, in the model's own type."""

    scale: float
    zero_point: int
    signed: bool


FULL_U8 = Storage(0, 0, 255)
FULL_S8 = Storage(128, 0, 255)


def check_scales(scales: npt.ArrayLike, of: Node | str, what: str = "") -> None:
    """Raise QuantizationError, with the first of the scales that is out of range, or NaN."""
    if isinstance(scales, float) and SCALE_LIMITS[0] <= scales < SCALE_LIMITS[1]:
        return  # of an activation, nearly always
    values = np.asarray(scales).reshape(-1)
    least, largest = extremes(values)
    if SCALE_LIMITS[0] <= least and largest < SCALE_LIMITS[1]:
        return  # neither is NaN
    bad = values[~((values >= SCALE_LIMITS[0]) & (values < SCALE_LIMITS[1]))]
    if bad.size:
        named = of if isinstance(of, str) else f"{of.op_type} {of.label!r}"
        raise QuantizationError(f"{named}{what}: scale {bad[0]} is outside [2^-64, 2^64)")


def activation_parameters(node: Node, constant: Constant) -> Parameters | None:
    """Of a QuantizeLinear or DequantizeLinear on an activation; None where it has no int8 path.

    That is: scale not constant or not scalar, or an element type other than uint8 and int8.
    """
    scale = constant(node.inputs[1])
    has_zero = len(node.inputs) > 2 and bool(node.inputs[2])
    zero = constant(node.inputs[2]) if has_zero else _NO_ZERO_POINT
    if scale is None or zero is None or scale.size != 1 or zero.size != 1:
        return None
    if zero.dtype not in (UINT8, INT8) or scale.dtype != FLOAT32:
        return None
    if "output_dtype" in node.attributes and not has_zero:
        return None
    value = float(scale.item())
    check_scales(value, node)
    return Parameters(value, zero.item(), zero.dtype == INT8)


def quantize_scalar(value: float, parameters: Parameters) -> int:
    """QuantizeLinear of one number, by the rule of the numeric contract."""
    lo, hi = (-128, 127) if parameters.signed else (0, 255)
    if math.isinf(value):  # nearly always: there was no clamp
        return hi if value > 0 else lo
    if value == 0:  # or a Relu
        return parameters.zero_point
    # of two float32 values: rounded once more to float32, that is their quotient in float32
    quotient = float(np.float32(value)) / parameters.scale
    zero = parameters.zero_point
    if abs(quotient) >= 2**16:
        return hi if quotient > 0 else lo
    return min(max(round(float(np.float32(quotient))), lo - zero), hi - zero) + zero


def storage_of_clamp(parameters: Parameters, lo: float, hi: float) -> Storage:
    """Storage of a QuantizeLinear whose input was clamped to [lo, hi] (infinite: not clamped).

    QuantizeLinear is monotone, so quantizing a clamped value is clamping the quantized one.
    """
    q_lo, q_hi = quantize_scalar(lo, parameters), quantize_scalar(hi, parameters)
    q_hi = max(q_lo, q_hi)
    shift = -q_lo if parameters.signed else 0
    return Storage(shift, q_lo + shift, q_hi + shift)


def output_range(parameters: Parameters, storage: Storage) -> OutputRange:
    return OutputRange(parameters.zero_point + storage.shift, storage.lo, storage.hi)


@record(frozen=True, slots=True, eq=False)
class QuantizedWeight:
    """values: int8 or int16, zero points taken off. scale: float32 [O]."""

    values: Array
    scale: Array


def weight_parameters(
    node: Node | None, constant: Constant, channel_axis: int
) -> QuantizedWeight | None:
    """Weights behind a DequantizeLinear; None where they are not constant 8-bit integers.

    channel_axis: the axis of output channels. Differences to a zero point that fit int8 stay
    int8, the others become int16.
    """
    if node is None or node.op_type != "DequantizeLinear" or "block_size" in node.attributes:
        return None
    values, scale = constant(node.inputs[0]), constant(node.inputs[1])
    has_zero = len(node.inputs) > 2 and bool(node.inputs[2])
    zero = constant(node.inputs[2]) if has_zero else _NO_ZERO_POINT
    if values is None or scale is None or zero is None:
        return None
    if values.dtype not in (INT8, UINT8) or scale.dtype != FLOAT32:
        return None
    channels = values.shape[channel_axis]
    axis = int(node.attributes.get("axis", 1)) % values.ndim  # type: ignore[arg-type]
    if scale.size != 1 and (axis != channel_axis or scale.shape != (channels,)):
        return None
    check_scales(scale, node)
    full_scale = scale if scale.shape == (channels,) else np.full(channels, scale.item(), FLOAT32)
    return QuantizedWeight(without_zero_points(values, zero, channel_axis), full_scale)


def without_zero_points(values: Array, zero: Array, axis: int) -> Array:
    """8-bit weights less their zero point, or one for each channel along the axis: int8 where that
    holds them, else int16."""
    if values.dtype == INT8 and not np.count_nonzero(zero):
        return values
    along = [1] * values.ndim
    along[axis] = -1
    difference = values.astype(np.int16) - zero.astype(np.int16).reshape(
        along if zero.size > 1 else ()
    )
    fits = difference.min(initial=0) >= -128 and difference.max(initial=0) <= 127
    return difference.astype(np.int8) if fits else difference


def stored_bias(node: Node | None, constant: Constant, scale: Array) -> I32 | None:
    """The int32 bias that the DequantizeLinear `node` reads, where it serves unchanged: one value a
    channel, with zero point 0 and a scale within 2 float32 ulp of `scale`, float64 [O]."""
    if node is None or node.op_type != "DequantizeLinear":
        return None
    stored, given = constant(node.inputs[0]), constant(node.inputs[1])
    zero = constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
    if stored is None or stored.dtype != INT32 or stored.shape != scale.shape or given is None:
        return None
    if given.size not in (1, scale.size) or (zero is not None and np.count_nonzero(zero)):
        return None
    rounded = scale.astype(np.float32)
    if given.tobytes() == rounded.tobytes():  # nearly always
        return stored
    ulp = np.spacing(rounded).astype(np.float64)
    near = np.abs(given.reshape(-1).astype(np.float64) - scale) <= 2 * ulp
    return stored if near.all() else None


def rounded_bias(real: Array, scale: Array) -> I32 | None:
    """int32 bias of a scale, by rint half to even in float64; None where it does not fit int32.

    real: the bias as float32 [O]. scale: float64 [O].
    """
    rounded = np.rint(real.astype(np.float64) / scale)
    if not np.isfinite(rounded).all() or np.abs(rounded).max(initial=0) > 2**31 - 1:
        return None
    return rounded.astype(np.int32)
