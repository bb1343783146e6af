"""Functions of one tensor, element by element: Exp, Sqrt, Neg, Abs, Floor and so on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .checks import require
from .element_types import is_float, widened
from .registry import Array, operator

_ANY: dict[str, Callable[[Array], Array]] = {
    "Abs": np.abs,
    "Neg": np.negative,
    "Sign": np.sign,
    "Identity": lambda x: x,
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
        require(not floats_only or is_float(x.dtype), f"expected a float tensor, got {x.dtype}")
        return np.asarray(function(widened(x))).astype(x.dtype, copy=False)

    operator(name)(apply)


for _name, _function in _ANY.items():
    _register(_name, _function, floats_only=False)
for _name, _function in _FLOAT.items():
    _register(_name, _function, floats_only=True)


@operator("IsNaN")
def is_nan(x: Array) -> Array:
    return np.isnan(widened(x))


@operator("IsInf")
def is_inf(x: Array, *, detect_negative: int = 1, detect_positive: int = 1) -> Array:
    wide = widened(x)
    found = np.isinf(wide)
    return found & (((wide < 0) & bool(detect_negative)) | ((wide > 0) & bool(detect_positive)))
