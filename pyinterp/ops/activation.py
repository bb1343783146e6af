"""Activations: element by element, in the input's type (float16 and bfloat16 in float32)."""

from __future__ import annotations

import math

import numpy as np

from .checks import broadcast_shape, one_of, require, scalar
from .element_types import is_float, widened
from .registry import Array, operator


def _wide(x: Array) -> Array:
    require(is_float(x.dtype), f"expected a float tensor, got {x.dtype}")
    return widened(x)


@operator("Relu")
def relu(x: Array) -> Array:
    """max(x, 0); integers, too."""
    return np.maximum(x, np.zeros((), x.dtype))


@operator("LeakyRelu")
def leaky_relu(x: Array, *, alpha: float = 0.01) -> Array:
    """x, or alpha * x where negative."""
    wide = _wide(x)
    return np.where(wide < 0, wide * wide.dtype.type(alpha), wide).astype(x.dtype, copy=False)


@operator("PRelu")
def prelu(x: Array, slope: Array) -> Array:
    """x, or slope * x where negative; slope broadcasts to x."""
    require(broadcast_shape(x, slope) == x.shape, f"slope {slope.shape} does not fit {x.shape}")
    return np.where(x < 0, x * slope.astype(x.dtype), x).astype(x.dtype, copy=False)


@operator("ThresholdedRelu")
def thresholded_relu(x: Array, *, alpha: float = 1.0) -> Array:
    """x where above alpha, else 0."""
    return np.where(_wide(x) > alpha, x, np.zeros((), x.dtype))


@operator("Elu")
def elu(x: Array, *, alpha: float = 1.0) -> Array:
    """x, or alpha * (exp(x) - 1) where negative."""
    wide = _wide(x)
    negative = wide.dtype.type(alpha) * np.expm1(np.minimum(wide, 0))
    return np.where(wide < 0, negative, wide).astype(x.dtype, copy=False)


@operator("Celu")
def celu(x: Array, *, alpha: float = 1.0) -> Array:
    """max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))."""
    wide = _wide(x)
    scale = wide.dtype.type(alpha)
    y = np.maximum(wide, 0) + np.minimum(0, scale * np.expm1(wide / scale))
    return y.astype(x.dtype, copy=False)


@operator("Selu")
def selu(
    x: Array, *, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875
) -> Array:
    """gamma * x, or gamma * alpha * (exp(x) - 1) where not positive."""
    wide = _wide(x)
    negative = wide.dtype.type(alpha) * np.expm1(np.minimum(wide, 0))
    y = wide.dtype.type(gamma) * np.where(wide > 0, wide, negative)
    return y.astype(x.dtype, copy=False)


@operator("Sigmoid")
def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    return logistic(_wide(x)).astype(x.dtype, copy=False)


def logistic(x: Array) -> Array:
    """The sigmoid with exponents of negative numbers only, so that nothing overflows."""
    power = np.exp(-np.abs(x))
    one = x.dtype.type(1)
    return np.asarray(np.where(x >= 0, one, power) / (one + power))


@operator("Swish")
def swish(x: Array, *, alpha: float = 1.0) -> Array:
    """x * sigmoid(alpha * x)."""
    wide = _wide(x)
    return (wide * logistic(wide * wide.dtype.type(alpha))).astype(x.dtype, copy=False)


@operator("HardSigmoid")
def hard_sigmoid(x: Array, *, alpha: float = 0.2, beta: float = 0.5) -> Array:
    """alpha * x + beta, clamped to [0, 1]."""
    wide = _wide(x)
    y = np.clip(wide * wide.dtype.type(alpha) + wide.dtype.type(beta), 0, 1)
    return y.astype(x.dtype, copy=False)


@operator("HardSwish")
def hard_swish(x: Array) -> Array:
    """x * clamp(x / 6 + 1/2, 0, 1)."""
    wide = _wide(x)
    gate = np.clip(wide * wide.dtype.type(1 / 6) + wide.dtype.type(0.5), 0, 1)
    return (wide * gate).astype(x.dtype, copy=False)


@operator("Softplus")
def softplus(x: Array) -> Array:
    """log(1 + exp(x))."""
    wide = _wide(x)
    return np.logaddexp(wide, wide.dtype.type(0)).astype(x.dtype, copy=False)


@operator("Softsign")
def softsign(x: Array) -> Array:
    """x / (1 + |x|)."""
    wide = _wide(x)
    return (wide / (1 + np.abs(wide))).astype(x.dtype, copy=False)


@operator("Mish")
def mish(x: Array) -> Array:
    """x * tanh(softplus(x))."""
    wide = _wide(x)
    return (wide * np.tanh(np.logaddexp(wide, wide.dtype.type(0)))).astype(x.dtype, copy=False)


@operator("Gelu")
def gelu(x: Array, *, approximate: str = "none") -> Array:
    """x * Phi(x), Phi the normal distribution function; or its approximation by tanh."""
    wide = _wide(x)
    if one_of(approximate, ("none", "tanh"), "approximate") == "tanh":
        root = wide.dtype.type(math.sqrt(2 / math.pi))
        phi = 1 + np.tanh(root * (wide + wide.dtype.type(0.044715) * wide * wide * wide))
    else:
        phi = 1 + error_function(wide * wide.dtype.type(math.sqrt(0.5)))
    return (wide.dtype.type(0.5) * wide * phi).astype(x.dtype, copy=False)


@operator("Erf")
def erf(x: Array) -> Array:
    """The error function."""
    return error_function(widened(x)).astype(x.dtype, copy=False)


def error_function(x: Array) -> Array:
    """math.erf of every element, in double precision, rounded to x's type."""
    values = np.fromiter(map(math.erf, x.reshape(-1).tolist()), np.float64, x.size)
    return values.astype(x.dtype).reshape(x.shape)


@operator("Clip")
def clip(
    x: Array,
    low: Array | None = None,
    high: Array | None = None,
    *,
    min: float | None = None,  # opset 6 to 10: attributes
    max: float | None = None,
    opset: int,
) -> Array:
    """x limited to [low, high]; where low exceeds high, everything becomes high."""
    if opset >= 11:
        require(min is None and max is None, "min and max are inputs from opset 11 on")
    else:
        require(low is None and high is None, "min and max are attributes before opset 11")
        low = None if min is None else np.asarray(min).astype(x.dtype)
        high = None if max is None else np.asarray(max).astype(x.dtype)
    y = x
    for bound, name, limit in ((low, "min", np.maximum), (high, "max", np.minimum)):
        if bound is not None:
            scalar(bound, name)
            require(bound.dtype == x.dtype, f"{name}: expected {x.dtype}, got {bound.dtype}")
            y = limit(y, bound.reshape(()))
    return np.asarray(y)
