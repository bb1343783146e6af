"""Operators that put tensors together and take them apart: Concat, Split, Slice, Gather, Tile."""

from __future__ import annotations

import numpy as np

from ..errors import ModelError
from .checks import axes_of, axis_of, integers, require, same_dtype, size_checked
from .registry import Array, Ints, operator


@operator("Concat")
def concat(*inputs: Array, axis: int) -> Array:
    """Inputs one after the other along `axis`."""
    require(bool(inputs), "expected at least one input, got none")
    dtype = same_dtype(*inputs)
    at = axis_of(axis, inputs[0].ndim)
    rest = [x.shape[:at] + x.shape[at + 1 :] for x in inputs]
    require(
        all(x.ndim == inputs[0].ndim for x in inputs) and len(set(rest)) == 1,
        f"expected shapes that differ in axis {at} only, got {[x.shape for x in inputs]}",
    )
    length = sum(x.shape[at] for x in inputs)
    size_checked((*rest[0], length), dtype)
    return np.concatenate(inputs, axis=at)


@operator("Split")
def split(
    x: Array,
    sizes_input: Array | None = None,
    *,
    axis: int = 0,
    num_outputs: int | None = None,
    split: Ints | None = None,  # before opset 13
    opset: int,
    outputs: int,
) -> tuple[Array, ...]:
    """Parts of the given sizes along `axis`, or equal ones (the last may be smaller)."""
    at = axis_of(axis, x.ndim)
    if opset >= 13:
        require(split is None, "split is an input from opset 13 on")
        sizes = None if sizes_input is None else integers(sizes_input, "split")
    else:
        require(sizes_input is None, "split is an attribute before opset 13")
        sizes = split
    if sizes is None:
        count = outputs if num_outputs is None else num_outputs
        require(count == outputs >= 1, f"num_outputs: expected {outputs}, got {count}")
        part = -(-x.shape[at] // count)
        sizes = tuple(max(0, min(part, x.shape[at] - i * part)) for i in range(count))
    require(
        min(sizes, default=-1) >= 0 and sum(sizes) == x.shape[at] and len(sizes) == outputs,
        f"split: {sizes} do not fit axis {at} of {x.shape} and {outputs} outputs",
    )
    return tuple(np.split(x, np.cumsum(sizes)[:-1], axis=at))


@operator("Slice")
def slice_(
    x: Array,
    starts_input: Array | None = None,
    ends_input: Array | None = None,
    axes_input: Array | None = None,
    steps_input: Array | None = None,
    *,
    starts: Ints | None = None,  # before opset 10
    ends: Ints | None = None,
    axes: Ints | None = None,
    opset: int,
) -> Array:
    """x[starts:ends:steps] along the axes, out-of-range positions clamped as in Python."""
    steps: Ints | None = None
    if opset >= 10:
        require(starts is None and ends is None and axes is None, "starts, ends, axes are inputs")
        starts = None if starts_input is None else integers(starts_input, "starts")
        ends = None if ends_input is None else integers(ends_input, "ends")
        axes = None if axes_input is None else integers(axes_input, "axes")
        steps = None if steps_input is None else integers(steps_input, "steps")
    else:
        require(starts_input is None, "starts, ends, axes are attributes before opset 10")
    if starts is None or ends is None:
        raise ModelError("starts or ends are missing")
    over = axes_of(range(len(starts)) if axes is None else axes, x.ndim)
    steps = (1,) * len(starts) if steps is None else steps
    require(
        len(starts) == len(ends) == len(over) == len(steps) and 0 not in steps,
        f"starts {starts}, ends {ends}, axes {over}, steps {steps} do not fit together",
    )
    index = [slice(None)] * x.ndim
    for axis, start, end, step in zip(over, starts, ends, steps, strict=True):
        index[axis] = slice(start, end, step)
    return x[tuple(index)]


@operator("Gather")
def gather(x: Array, indices: Array, *, axis: int = 0) -> Array:
    """Entries of `axis` at the indices (negative ones count from the end)."""
    at = axis_of(axis, x.ndim)
    require(indices.dtype.kind == "i", f"indices: expected integers, got {indices.dtype}")
    length = x.shape[at]
    require(
        bool(np.all((indices >= -length) & (indices < length))),
        f"indices: expected {-length} to {length - 1}",
    )
    size_checked((*x.shape[:at], *indices.shape, *x.shape[at + 1 :]), x.dtype)
    return np.take(x, indices, axis=at)


@operator("Tile")
def tile(x: Array, repeats: Array) -> Array:
    """x repeated along each axis."""
    times = integers(repeats, "repeats")
    require(
        len(times) == x.ndim and min(times, default=0) >= 0,
        f"repeats: expected {x.ndim} counts of 0 or more, got {times}",
    )
    size_checked((n * t for n, t in zip(x.shape, times, strict=True)), x.dtype)
    return np.tile(x, times)
