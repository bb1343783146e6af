"""Functions of one tensor, element by element: Exp, Sqrt, Neg, Abs, Floor and so on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .checks import require
from .element_types import is_float, is_integer, widened
from .registry import Array, operator

_NUMBERS: dict[str, Callable[[Array], Array]] = {
    "Abs": np.abs,
    "Neg": np.negative,
    "Sign": np.sign,
}
_FLOAT: dict[str, Callable[[Array], Array]] = {
    "Acos": np.arccos,
    "Acosh": np.arccosh,
    "Asin": np.arcsin,
    "Asinh": np.arcsinh,
    "Atan": np.arctan,
    "Atanh": np.arctanh,
    "Ceil": np.ceil,
    "Cos": np.cos,
    "Cosh": np.cosh,
    "Exp": np.exp,
    "Floor": np.floor,
    "Log": np.log,
    "Reciprocal": np.reciprocal,
    "Round": np.rint,  # half to even, as ONNX says
    "Sin": np.sin,
    "Sinh": np.sinh,
    "Sqrt": np.sqrt,
    "Tan": np.tan,
    "Tanh": np.tanh,
}


def _register(name: str, function: Callable[[Array], Array], floats_only: bool) -> None:
    def apply(x: Array) -> Array:
        number = is_float(x.dtype) or (is_integer(x.dtype) and not floats_only)
        kind = "float" if floats_only else "number"
        require(number, f"expected a {kind} tensor, got {x.dtype}")
        return np.asarray(function(widened(x))).astype(x.dtype, copy=False)

    operator(name)(apply)


for _name, _function in _NUMBERS.items():
    _register(_name, _function, floats_only=False)
for _name, _function in _FLOAT.items():
    _register(_name, _function, floats_only=True)


@operator("Identity")
def identity(x: Array) -> Array:
    return x


@operator("IsNaN")
def is_nan(x: Array) -> Array:
    return np.isnan(widened(x))


@operator("IsInf")
def is_inf(x: Array, *, detect_negative: int = 1, detect_positive: int = 1) -> Array:
    wide = widened(x)
    found = np.isinf(wide)
    return found & (((wide < 0) & bool(detect_negative)) | ((wide > 0) & bool(detect_positive)))
