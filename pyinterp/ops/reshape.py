"""Operators that change the shape and keep the values: Reshape, Flatten, Transpose and so on."""

from __future__ import annotations

import math

import numpy as np

from ..errors import ModelError
from .checks import axes_of, integers, one_of, require, size_checked
from .registry import Array, Ints, operator


@operator("Reshape")
def reshape(x: Array, shape: Array, *, allowzero: int = 0) -> Array:
    """0 copies the input's dimension (allowzero: means 0), a single -1 takes what is left."""
    wanted = list(integers(shape, "shape"))
    if not allowzero:
        for i, n in enumerate(wanted):
            if n == 0:
                require(i < x.ndim, f"shape: 0 at {i} copies no axis of {x.shape}")
                wanted[i] = x.shape[i]
    text = f"shape: {tuple(wanted)} does not fit {x.shape}"
    require(all(n >= -1 for n in wanted) and wanted.count(-1) <= 1, text)
    if -1 in wanted:
        known = math.prod(n for n in wanted if n != -1)
        require(known > 0 and x.size % known == 0, text)
        wanted[wanted.index(-1)] = x.size // known
    require(math.prod(wanted) == x.size, text)
    size_checked(wanted, x.dtype)
    return x.reshape(wanted)


@operator("Flatten")
def flatten(x: Array, *, axis: int = 1) -> Array:
    """[d0..., d(axis)...] -> [product before axis, product from axis on]."""
    require(-x.ndim <= axis <= x.ndim, f"axis: expected {-x.ndim} to {x.ndim}, got {axis}")
    at = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:at]), math.prod(x.shape[at:]))


@operator("Transpose")
def transpose(x: Array, *, perm: Ints | None = None) -> Array:
    """Axes in the order of perm, reversed by default."""
    if perm is None:
        return x.transpose()
    require(sorted(perm) == list(range(x.ndim)), f"perm: {perm} does not fit {x.shape}")
    return x.transpose(perm)


def _axes(as_input: Array | None, as_attribute: Ints | None, opset: int) -> Ints | None:
    """axes: an attribute before opset 13, an input from there on."""
    if opset >= 13:
        require(as_attribute is None, "axes is an input from opset 13 on")
        return None if as_input is None else integers(as_input, "axes")
    require(as_input is None, "axes is an attribute before opset 13")
    return as_attribute


@operator("Squeeze")
def squeeze(
    x: Array, axes_input: Array | None = None, *, axes: Ints | None = None, opset: int
) -> Array:
    """Remove the given axes, which must be 1; by default all that are."""
    wanted = _axes(axes_input, axes, opset)
    if wanted is None:
        return x.squeeze()
    over = axes_of(wanted, x.ndim)
    require(all(x.shape[a] == 1 for a in over), f"axes: {over} of {x.shape} are not all 1")
    return x.squeeze(over)


@operator("Unsqueeze")
def unsqueeze(
    x: Array, axes_input: Array | None = None, *, axes: Ints | None = None, opset: int
) -> Array:
    """Insert axes of 1 at the given positions of the result."""
    wanted = _axes(axes_input, axes, opset)
    if wanted is None:
        raise ModelError("axes are missing")
    require(x.ndim + len(wanted) <= 64, f"expected at most 64 axes, got {x.ndim + len(wanted)}")
    return np.expand_dims(x, axes_of(wanted, x.ndim + len(wanted)))


@operator("Expand")
def expand(x: Array, shape: Array) -> Array:
    """Broadcast x and an array of `shape` against each other."""
    wanted = integers(shape, "shape")
    try:
        result = np.broadcast_shapes(x.shape, size_checked(wanted, x.dtype))
    except ValueError:
        raise ModelError(f"shape: {wanted} does not broadcast with {x.shape}") from None
    return np.broadcast_to(x, size_checked(result, x.dtype))


@operator("DepthToSpace")
def depth_to_space(x: Array, *, blocksize: int, mode: str = "DCR") -> Array:
    """[N, C, H, W] -> [N, C / b^2, H b, W b]."""
    b = blocksize
    one_of(mode, ("DCR", "CRD"), "mode")
    require(
        x.ndim == 4 and b >= 1 and x.shape[1] % (b * b) == 0,
        f"blocksize: {b} does not fit {x.shape}",
    )
    n, c, h, w = x.shape
    if mode == "DCR":
        parts = x.reshape(n, b, b, c // (b * b), h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        parts = x.reshape(n, c // (b * b), b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
    return parts.reshape(n, c // (b * b), h * b, w * b)


@operator("SpaceToDepth")
def space_to_depth(x: Array, *, blocksize: int, mode: str = "DCR") -> Array:
    """[N, C, H, W] -> [N, C b^2, H / b, W / b]."""
    b = blocksize
    one_of(mode, ("DCR", "CRD"), "mode")
    require(
        x.ndim == 4 and b >= 1 and x.shape[2] % b == 0 and x.shape[3] % b == 0,
        f"blocksize: {b} does not fit {x.shape}",
    )
    n, c, h, w = x.shape
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    parts = x.reshape(n, c, h // b, b, w // b, b).transpose(order)
    return parts.reshape(n, c * b * b, h // b, w // b)
