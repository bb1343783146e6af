"""Constants and facts about tensors: Constant, ConstantOfShape, Shape, Size, Range."""

from __future__ import annotations

import numpy as np

from .checks import integers, require, same_dtype, scalar, size_checked
from .registry import Array, Floats, Ints, Strings, operator


@operator("Constant")
def constant(
    *,
    value: Array | None = None,
    value_float: float | None = None,
    value_floats: Floats | None = None,
    value_int: int | None = None,
    value_ints: Ints | None = None,
    value_string: str | None = None,
    value_strings: Strings | None = None,
) -> Array:
    """The one attribute that is given, as a tensor."""
    forms = (
        value,
        None if value_float is None else np.asarray(value_float, np.float32),
        None if value_floats is None else np.asarray(value_floats, np.float32),
        None if value_int is None else np.asarray(value_int, np.int64),
        None if value_ints is None else np.asarray(value_ints, np.int64),
        None if value_string is None else np.asarray(value_string, np.object_),
        None if value_strings is None else np.asarray(value_strings, np.object_),
    )
    given = [form for form in forms if form is not None]
    require(len(given) == 1, f"expected exactly one value, got {len(given)}")
    return given[0]


@operator("ConstantOfShape")
def constant_of_shape(shape: Array, *, value: Array | None = None) -> Array:
    """A tensor of one repeated value, float32 0 by default."""
    fill = np.zeros(1, np.float32) if value is None else value
    require(fill.size == 1, f"value: expected one element, got shape {fill.shape}")
    return np.full(size_checked(integers(shape, "shape"), fill.dtype), fill.reshape(()))


@operator("Shape")
def shape(x: Array, *, start: int = 0, end: int | None = None) -> Array:
    """The dimensions from start to end as int64; both are clamped as in a Python slice."""
    return np.asarray(x.shape[start:end], np.int64)


@operator("Size")
def size(x: Array) -> Array:
    """The number of elements, a scalar int64."""
    return np.asarray(x.size, np.int64)


@operator("Range")
def range_(start: Array, limit: Array, delta: Array) -> Array:
    """start, start + delta, ... before limit."""
    dtype = same_dtype(start, limit, delta)
    first, last, step = (
        scalar(v, n) for v, n in ((start, "start"), (limit, "limit"), (delta, "delta"))
    )
    require(step != 0, "delta: expected a number other than 0")
    count = max(0, int(np.ceil((last - first) / step)))
    size_checked((count,), np.dtype(np.int64))
    return (first + np.arange(count) * step).astype(dtype)
