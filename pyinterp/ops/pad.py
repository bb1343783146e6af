"""Pad."""

from __future__ import annotations

import numpy as np

from ..errors import ModelError
from .checks import axes_of, integers, one_of, require, scalar, size_checked
from .registry import Array, Ints, operator


@operator("Pad")
def pad(
    x: Array,
    pads_input: Array | None = None,
    constant_value: Array | None = None,
    axes_input: Array | None = None,
    *,
    mode: str = "constant",
    pads: Ints | None = None,  # before opset 11
    value: float | None = None,
    opset: int,
) -> Array:
    """Add (or, where negative, cut) entries at both ends of the axes.

    pads: begins of all axes, then ends. Modes: constant, edge, reflect, wrap.
    """
    one_of(mode, ("constant", "edge", "reflect", "wrap"), "mode")
    if opset >= 11:
        require(pads is None and value is None, "pads and value are inputs from opset 11 on")
        pads = None if pads_input is None else integers(pads_input, "pads")
    else:
        require(pads_input is None, "pads is an attribute before opset 11")
        constant_value = None if value is None else np.asarray(value).astype(x.dtype)
    axes = tuple(range(x.ndim))
    if axes_input is not None:
        axes = axes_of(integers(axes_input, "axes"), x.ndim)
    if pads is None or len(pads) != 2 * len(axes):
        raise ModelError(f"pads: expected {2 * len(axes)} values, got {pads}")
    widths = [(0, 0)] * x.ndim
    for i, axis in enumerate(axes):
        widths[axis] = (pads[i], pads[len(axes) + i])
    size_checked((n + b + e for n, (b, e) in zip(x.shape, widths, strict=True)), x.dtype)
    size_checked(
        (n + max(b, 0) + max(e, 0) for n, (b, e) in zip(x.shape, widths, strict=True)), x.dtype
    )
    fill = np.zeros((), x.dtype)
    if constant_value is not None:
        scalar(constant_value, "constant_value")
        fill = constant_value.reshape(()).astype(x.dtype)
    for axis, (begin, end) in enumerate(widths):
        if begin or end:
            x = _pad_axis(x, axis, begin, end, mode, fill)
    return x


def _pad_axis(x: Array, axis: int, begin: int, end: int, mode: str, fill: Array) -> Array:
    """One axis: each entry of the result names the entry of x that it repeats."""
    length = x.shape[axis]
    source = np.arange(-begin, length + end)
    inside = (source >= 0) & (source < length)
    require(
        mode == "constant" or length > 0 or not source.size, f"axis {axis} of {x.shape} is empty"
    )
    if mode == "wrap":
        source %= max(length, 1)
    elif mode == "reflect":
        period = max(2 * length - 2, 1)
        source = np.abs((source + length - 1) % period - (length - 1))
    else:
        source = np.clip(source, 0, max(length - 1, 0))
    if mode == "constant" and length == 0:
        shape = list(x.shape)
        shape[axis] = source.size
        return np.full(shape, fill)
    y = np.take(x, source, axis=axis)
    if mode == "constant":
        outside = [slice(None)] * x.ndim
        outside[axis] = ~inside
        y[tuple(outside)] = fill
    return y
