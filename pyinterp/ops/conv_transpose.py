"""ConvTranspose: the gradient of a convolution, also called deconvolution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .checks import one_of, per_channel, require, same_dtype, size_checked
from .element_types import widened
from .registry import Array, Ints, operator
from .window import Window, per_axis


@operator("ConvTranspose")
def conv_transpose(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    output_padding: Ints | None = None,
    output_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Array:
    """x [N, C, spatial...], w [C, O/group, kernel...], b [O] -> [N, O, output...].

    output = stride * (input - 1) + extent of the kernel + output_padding - pads.
    """
    dtype = same_dtype(x, w)
    require(
        x.ndim >= 3 and w.ndim == x.ndim and x.shape[1] == w.shape[0],
        f"expected x [N, C, spatial...] and w [C, O/group, kernel...], got {x.shape}, {w.shape}",
    )
    require(group >= 1 and x.shape[1] % group == 0, f"group: {group} does not fit {x.shape}")
    require(
        kernel_shape is None or kernel_shape == w.shape[2:],
        f"kernel_shape: expected {w.shape[2:]} as the weights have, got {kernel_shape}",
    )
    axes = x.ndim - 2
    strides = per_axis("strides", strides, axes, 1)
    dilations = per_axis("dilations", dilations, axes, 1)
    extra = per_axis("output_padding", output_padding or (0,) * axes, axes, 0)
    full = tuple(
        s * (n - 1) + (k - 1) * d + 1
        for s, n, k, d in zip(strides, x.shape[2:], w.shape[2:], dilations, strict=True)
    )
    begin, output = _cropping(x, full, strides, extra, pads, output_shape, auto_pad)
    window = Window(w.shape[2:], strides, dilations, (0,) * axes, (0,) * axes, tuple(x.shape[2:]))
    y = _scattered(widened(x), widened(w), window, group, full, begin, output)
    if b is not None:
        y += per_channel(widened(b), x.ndim, "bias", y.shape[1])
    return y.astype(dtype, copy=False)


def _cropping(
    x: Array,
    full: Ints,
    strides: Ints,
    extra: Ints,
    pads: Ints | None,
    output_shape: Ints | None,
    auto_pad: str,
) -> tuple[Ints, Ints]:
    """Where the output begins in the full result, and its spatial shape."""
    axes = len(full)
    one_of(auto_pad, ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"), "auto_pad")
    if auto_pad.startswith("SAME") and output_shape is None:
        output_shape = tuple(n * s for n, s in zip(x.shape[2:], strides, strict=True))
    if output_shape is not None:
        output = per_axis("output_shape", output_shape[-axes:], axes, 1)
        totals = [max(0, f + e - o) for f, e, o in zip(full, extra, output, strict=True)]
        begin = tuple(t // 2 if auto_pad == "SAME_UPPER" else t - t // 2 for t in totals)
        return begin, output
    pads = (0,) * (2 * axes) if pads is None or auto_pad == "VALID" else pads
    require(
        len(pads) == 2 * axes and min(pads) >= 0,
        f"pads: expected {2 * axes} values of 0 or more, got {pads}",
    )
    output = tuple(
        f + e - p - q for f, e, p, q in zip(full, extra, pads[:axes], pads[axes:], strict=True)
    )
    require(min(output) >= 1, f"pads {pads} leave nothing of {full}")
    return pads[:axes], output


def _scattered(
    x: Array, w: Array, window: Window, group: int, full: Ints, begin: Ints, output: Ints
) -> Array:
    """Each tap of the kernel adds its product with x where a convolution would have read."""
    n, c = x.shape[:2]
    spatial = tuple(max(f, b + o) for f, b, o in zip(full, begin, output, strict=True))
    channels = w.shape[1] * group
    y = np.zeros(size_checked((n, channels, *spatial), x.dtype), x.dtype)
    columns = x.reshape(n, group, c // group, math.prod(x.shape[2:]))
    weights = w.reshape(group, c // group, w.shape[1], *window.kernel)
    depthwise = c == group and w.shape[1] == 1
    for tap in window.taps():
        index: tuple[Any, ...] = (..., *tap)
        if depthwise:  # a product of each channel with a number needs no BLAS
            products = columns * weights[index]
        else:
            products = np.matmul(weights[index].transpose(0, 2, 1), columns)
        target = window.at(y, tap)
        target += products.reshape(target.shape)
    crop: tuple[Any, ...] = (
        ...,
        *(slice(b, b + o) for b, o in zip(begin, output, strict=True)),
    )
    return y[crop]
