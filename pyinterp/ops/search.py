"""Operators that look for values or pick them one by one: ArgMax, ArgMin, TopK, GatherElements,
GatherND, Hardmax.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .checks import axis_of, require, scalar, size_checked
from .registry import Array, operator


def _position(
    find: Callable[..., Any], x: Array, axis: int, keepdims: int, select_last_index: int
) -> Array:
    at = axis_of(axis, x.ndim)
    require(x.shape[at] > 0, f"expected a non-empty axis {at}, got {x.shape}")
    if select_last_index:
        found = x.shape[at] - 1 - find(np.flip(x, at), axis=at)
    else:
        found = find(x, axis=at)
    return np.asarray(np.expand_dims(found, at) if keepdims else found).astype(np.int64)


@operator("ArgMax")
def arg_max(x: Array, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Array:
    """int64 positions of the largest values along `axis`; the first (or last) of equals."""
    return _position(np.argmax, x, axis, keepdims, select_last_index)


@operator("ArgMin")
def arg_min(x: Array, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Array:
    """int64 positions of the smallest values along `axis`; the first (or last) of equals."""
    return _position(np.argmin, x, axis, keepdims, select_last_index)


@operator("Hardmax")
def hardmax(x: Array, *, axis: int | None = None, opset: int) -> Array:
    """1 at the first maximum along `axis`, else 0; before opset 13 over all axes from `axis` on."""
    at = axis_of((-1 if opset >= 13 else 1) if axis is None else axis, x.ndim)
    flat = x if opset >= 13 else x.reshape(*x.shape[:at], math.prod(x.shape[at:]))
    y = np.zeros(flat.shape, x.dtype)
    if x.size:
        np.put_along_axis(y, np.expand_dims(flat.argmax(axis=at), at), 1, axis=at)
    return y.reshape(x.shape)


@operator("TopK")
def top_k(
    x: Array, k: Array, *, axis: int = -1, largest: int = 1, sorted: int = 1
) -> tuple[Array, Array]:
    """The k largest (smallest) values along `axis`, in order, and their int64 positions.

    Of equal values the one with the lower position comes first.
    """
    require(k.dtype.kind == "i", f"k: expected an integer, got {k.dtype}")
    at, count = axis_of(axis, x.ndim), int(scalar(k, "k"))
    require(0 <= count <= x.shape[at], f"k: expected 0 to {x.shape[at]}, got {count}")
    if largest:  # sorted backwards, so that a stable ascending sort serves both
        order = x.shape[at] - 1 - np.flip(np.argsort(np.flip(x, at), axis=at, kind="stable"), at)
    else:
        order = np.argsort(x, axis=at, kind="stable")
    picked = np.take(order, np.arange(count), axis=at).astype(np.int64)
    return np.take_along_axis(x, picked, axis=at), picked


@operator("GatherElements")
def gather_elements(x: Array, indices: Array, *, axis: int = 0) -> Array:
    """y[i][j] = x[indices[i][j]][j] for axis 0, and likewise for the others."""
    at = axis_of(axis, x.ndim)
    require(
        indices.ndim == x.ndim and indices.dtype.kind == "i",
        f"indices: expected integers of {x.ndim} axes, got {indices.dtype} {indices.shape}",
    )
    length = x.shape[at]
    require(
        all(n <= m for i, (n, m) in enumerate(zip(indices.shape, x.shape, strict=True)) if i != at),
        f"indices: {indices.shape} exceed {x.shape} beside axis {at}",
    )
    require(
        bool(np.all((indices >= -length) & (indices < length))),
        f"indices: expected {-length} to {length - 1}",
    )
    inside = tuple(slice(None) if i == at else slice(n) for i, n in enumerate(indices.shape))
    return np.take_along_axis(x[inside], indices, axis=at)


@operator("GatherND")
def gather_nd(x: Array, indices: Array, *, batch_dims: int = 0) -> Array:
    """indices [..., k] name slices x[i0, ..., i(k-1)] behind `batch_dims` common axes."""
    require(
        indices.dtype.kind == "i" and 0 <= batch_dims < min(indices.ndim, x.ndim),
        f"{indices.dtype} indices {indices.shape}, {batch_dims} batch axes: do not fit {x.shape}",
    )
    depth, batch = indices.shape[-1], x.shape[:batch_dims]
    require(
        1 <= depth <= x.ndim - batch_dims and indices.shape[:batch_dims] == batch,
        f"indices {indices.shape}, {batch_dims} batch axes: do not fit {x.shape}",
    )
    bounds = np.asarray(x.shape[batch_dims : batch_dims + depth])
    require(bool(np.all((indices >= -bounds) & (indices < bounds))), f"indices exceed {x.shape}")
    size_checked((*indices.shape[:-1], *x.shape[batch_dims + depth :]), x.dtype)
    spread = indices.ndim - 1 - batch_dims
    lead = tuple(
        np.arange(n).reshape(-1, *(1,) * (batch_dims - i - 1 + spread)) for i, n in enumerate(batch)
    )
    return x[lead + tuple(np.moveaxis(indices, -1, 0))]
