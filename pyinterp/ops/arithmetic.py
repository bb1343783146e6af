"""Add, Sub, Mul, Div, Pow, Mod, Min, Max, Sum, Mean: element by element, with broadcasting.

Both inputs have one type, which is the result's; integers wrap as in C.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np

from .checks import broadcast_shape, require, same_dtype
from .element_types import is_float, is_integer, widened
from .registry import Array, operator


def _binary(function: Callable[[Array, Array], Array], a: Array, b: Array) -> Array:
    dtype = same_dtype(a, b)
    broadcast_shape(a, b)
    return np.asarray(function(widened(a), widened(b))).astype(dtype, copy=False)


@operator("Add")
def add(a: Array, b: Array) -> Array:
    return _binary(np.add, a, b)


@operator("Sub")
def sub(a: Array, b: Array) -> Array:
    return _binary(np.subtract, a, b)


@operator("Mul")
def mul(a: Array, b: Array) -> Array:
    return _binary(np.multiply, a, b)


@operator("Div")
def div(a: Array, b: Array) -> Array:
    """a / b; integers truncate towards zero, as in C."""
    return _binary(np.divide if is_float(a.dtype) else _truncated, a, b)


def _truncated(a: Array, b: Array) -> Array:
    require(bool(np.all(b != 0)), "integer division by zero")
    quotient = np.floor_divide(a, b)
    if a.dtype.kind == "i":
        inexact = quotient * b != a
        quotient = quotient + (inexact & ((a < 0) != (b < 0))).astype(a.dtype)
    return quotient


@operator("Mod")
def mod(a: Array, b: Array, *, fmod: int = 0) -> Array:
    """The remainder with the sign of b; with fmod, of a."""
    require(is_float(a.dtype) or bool(np.all(b != 0)), "integer division by zero")
    return _binary(np.fmod if fmod else np.mod, a, b)


@operator("Pow")
def power(x: Array, exponent: Array) -> Array:
    """x ** exponent, in x's type; the exponent may have another."""
    broadcast_shape(x, exponent)
    require(x.dtype != np.bool_ and exponent.dtype != np.bool_, "expected numbers, got bool")
    base, up = widened(x), widened(exponent)
    if is_integer(x.dtype) and up.dtype.kind in "iu":
        require(not bool(np.any(up < 0)), "integers take exponents of 0 or more")
        return np.power(base, up.astype(np.int64)).astype(x.dtype)
    if is_float(base.dtype) and up.dtype != base.dtype:
        up = up.astype(base.dtype)
    return np.asarray(np.power(base, up)).astype(x.dtype, copy=False)


def _over(function: Callable[[Array, Array], Array], inputs: tuple[Array, ...]) -> Array:
    require(bool(inputs), "expected at least one input, got none")
    same_dtype(*inputs)
    broadcast_shape(*inputs)
    return np.asarray(reduce(function, inputs))


@operator("Min")
def minimum(*inputs: Array) -> Array:
    return _over(np.minimum, inputs)


@operator("Max")
def maximum(*inputs: Array) -> Array:
    return _over(np.maximum, inputs)


@operator("Sum")
def total(*inputs: Array) -> Array:
    return _over(np.add, inputs)


@operator("Mean")
def mean(*inputs: Array) -> Array:
    return (_over(np.add, inputs) / len(inputs)).astype(inputs[0].dtype, copy=False)
