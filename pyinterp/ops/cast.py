"""Cast and CastLike."""

from __future__ import annotations

from typing import Any

import numpy as np

from .checks import one_of
from .element_types import dtype_of, integer_range, is_float, is_integer, require_supported, widened
from .registry import Array, operator


@operator("Cast")
def cast(x: Array, *, to: int, saturate: int = 1, round_mode: str = "up") -> Array:
    """x as element type `to` (saturate and round_mode concern float8 only)."""
    one_of(round_mode, ("up", "down", "nearest"), "round_mode")
    return converted(x, dtype_of(to))


@operator("CastLike")
def cast_like(x: Array, target: Array, *, saturate: int = 1, round_mode: str = "up") -> Array:
    """x in target's element type."""
    one_of(round_mode, ("up", "down", "nearest"), "round_mode")
    return converted(x, target.dtype)


def converted(x: Array, dtype: np.dtype[Any]) -> Array:
    """Floats become integers by truncation. What does not fit is left open by ONNX: it keeps the
    low bits, on every CPU alike (a plain NumPy conversion would differ between them).
    """
    require_supported(x.dtype)
    require_supported(dtype)
    if not (is_float(x.dtype) and is_integer(dtype)):
        return x.astype(dtype, copy=False)
    wide = np.trunc(widened(x).astype(np.float64))
    low, high = integer_range(dtype)
    if dtype.itemsize == 8:
        inside = (wide >= float(low)) & (wide < float(high))
        return np.where(inside, wide, 0.0).astype(dtype)
    inside = np.abs(wide) < 2.0**62
    return np.where(inside, wide, 0.0).astype(np.int64).astype(dtype)
