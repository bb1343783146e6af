"""Comparisons, logic and selection, with broadcasting: Equal, Less, And, Not, Where and so on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .checks import broadcast_shape, require, same_dtype
from .registry import Array, operator

_COMPARISONS: dict[str, Callable[[Array, Array], Array]] = {
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
}
_LOGIC: dict[str, Callable[[Array, Array], Array]] = {
    "And": np.logical_and,
    "Or": np.logical_or,
    "Xor": np.logical_xor,
}


def _register(name: str, function: Callable[[Array, Array], Array], logic: bool) -> None:
    def apply(a: Array, b: Array) -> Array:
        dtype = same_dtype(a, b)
        require(not logic or dtype == np.bool_, f"expected bool tensors, got {dtype}")
        broadcast_shape(a, b)
        return np.asarray(function(a, b))

    operator(name)(apply)


for _name, _function in _COMPARISONS.items():
    _register(_name, _function, logic=False)
for _name, _function in _LOGIC.items():
    _register(_name, _function, logic=True)


@operator("Not")
def logical_not(x: Array) -> Array:
    require(x.dtype == np.bool_, f"expected a bool tensor, got {x.dtype}")
    return np.logical_not(x)


@operator("Where")
def where(condition: Array, x: Array, y: Array) -> Array:
    """x where the condition holds, else y."""
    require(condition.dtype == np.bool_, f"condition: expected bool, got {condition.dtype}")
    same_dtype(x, y)
    broadcast_shape(condition, x, y)
    return np.where(condition, x, y)
