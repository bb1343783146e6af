"""MaxPool, AveragePool, LpPool and their global forms, over any number of spatial axes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .checks import require, size_checked
from .element_types import integer_range, is_float, widened
from .registry import Array, Ints, operator
from .window import Window, make_window


@operator("MaxPool")
def max_pool(
    x: Array,
    *,
    kernel_shape: Ints,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints | None = None,
    pads: Ints | None = None,
    storage_order: int = 0,
    strides: Ints | None = None,
    outputs: int = 1,
) -> tuple[Array, ...]:
    """x [N, C, spatial...] -> maxima and, where asked for, their int64 positions.

    Positions count in the whole tensor x: row-major, or with storage_order 1 column-major within
    an image. The first of equal values wins.
    """
    window = make_window(
        x.shape[2:],
        kernel_shape,
        strides=strides,
        dilations=dilations,
        pads=pads,
        auto_pad=auto_pad,
        ceil_mode=ceil_mode,
    )
    size_checked((*x.shape[:2], *window.output), x.dtype)
    padded = window.pad(x, _lowest(x.dtype))
    taps = window.taps()
    best = window.at(padded, next(taps)).copy()
    for tap in taps:
        np.maximum(best, window.at(padded, tap), out=best)
    if outputs == 1:
        return (best,)
    return best, _positions(x, padded, best, window, storage_order)


def _lowest(dtype: np.dtype[Any]) -> float:
    return float("-inf") if is_float(dtype) else integer_range(dtype)[0]


def _positions(x: Array, padded: Array, best: Array, window: Window, storage_order: int) -> Array:
    """Where in x each maximum was read first."""
    spatial = x.shape[2:]
    flat = np.arange(math.prod(spatial), dtype=np.int64)
    number = np.full((1, 1, *padded.shape[2:]), -1, np.int64)
    inside = tuple(slice(b, b + n) for b, n in zip(window.before, spatial, strict=True))
    number[0, 0][inside] = flat.reshape(spatial, order="F" if storage_order else "C")
    found = np.full(best.shape, -1, np.int64)
    for tap in window.taps():
        position = window.at(number, tap)
        first = (found < 0) & (position >= 0) & (window.at(padded, tap) == best)
        np.copyto(found, position, where=first)
    images = np.arange(x.shape[0] * x.shape[1], dtype=np.int64) * flat.size
    return found + images.reshape(*x.shape[:2], *(1,) * len(spatial))


@operator("AveragePool")
def average_pool(
    x: Array,
    *,
    kernel_shape: Ints,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Array:
    """x [N, C, spatial...] -> means. Divides by the taps inside the input, or with
    count_include_pad by those inside the input and its declared padding.
    """
    require(is_float(x.dtype), f"expected a float tensor, got {x.dtype}")
    window = make_window(
        x.shape[2:],
        kernel_shape,
        strides=strides,
        dilations=dilations,
        pads=pads,
        auto_pad=auto_pad,
        ceil_mode=ceil_mode,
    )
    size_checked((*x.shape[:2], *window.output), x.dtype)
    padded = window.pad(widened(x), 0)
    total = np.zeros((*x.shape[:2], *window.output), padded.dtype)
    for tap in window.taps():
        total += window.at(padded, tap)
    spatial = x.shape[2:]
    low, high = (0,) * len(spatial), spatial
    if count_include_pad:
        declared = window.after
        if auto_pad == "NOTSET":
            declared = (0,) * len(spatial) if pads is None else pads[len(spatial) :]
        low = tuple(-b for b in window.before)
        high = tuple(n + a for n, a in zip(spatial, declared, strict=True))
    total /= window.counts(low, high).astype(total.dtype)
    return total.astype(x.dtype, copy=False)


@operator("GlobalAveragePool")
def global_average_pool(x: Array) -> Array:
    """x [N, C, spatial...] -> means [N, C, 1, ...]."""
    require(x.ndim >= 2, f"expected [N, C, ...], got {x.shape}")
    wide = widened(x)
    return wide.mean(axis=tuple(range(2, x.ndim)), keepdims=True).astype(x.dtype, copy=False)


@operator("GlobalMaxPool")
def global_max_pool(x: Array) -> Array:
    """x [N, C, spatial...] -> maxima [N, C, 1, ...]."""
    require(x.ndim >= 2, f"expected [N, C, ...], got {x.shape}")
    return np.asarray(x.max(axis=tuple(range(2, x.ndim)), keepdims=True))


@operator("LpPool")
def lp_pool(
    x: Array,
    *,
    kernel_shape: Ints,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints | None = None,
    p: int = 2,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Array:
    """x [N, C, spatial...] -> the p-norm of each window."""
    require(is_float(x.dtype) and p >= 1, f"expected floats and p >= 1, got {x.dtype} and {p}")
    window = make_window(
        x.shape[2:],
        kernel_shape,
        strides=strides,
        dilations=dilations,
        pads=pads,
        auto_pad=auto_pad,
        ceil_mode=ceil_mode,
    )
    size_checked((*x.shape[:2], *window.output), x.dtype)
    powers = window.pad(np.abs(widened(x)) ** p, 0)
    total = np.zeros((*x.shape[:2], *window.output), powers.dtype)
    for tap in window.taps():
        total += window.at(powers, tap)
    return (total ** (1 / p)).astype(x.dtype, copy=False)


@operator("GlobalLpPool")
def global_lp_pool(x: Array, *, p: int = 2) -> Array:
    """x [N, C, spatial...] -> the p-norm of each channel, [N, C, 1, ...]."""
    require(x.ndim >= 2 and p >= 1, f"expected [N, C, ...] and p >= 1, got {x.shape} and {p}")
    axes = tuple(range(2, x.ndim))
    total = (np.abs(widened(x)) ** p).sum(axis=axes, keepdims=True)
    return (total ** (1 / p)).astype(x.dtype, copy=False)
