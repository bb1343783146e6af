"""Conv and ConvInteger: N-dimensional convolution with groups, as ONNX defines it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .checks import per_channel, require, same_dtype, size_checked
from .element_types import widened
from .registry import Array, Ints, operator
from .window import Window, make_window

# Bytes of unfolded windows at a time: large enough for BLAS, small enough for the caches.
UNFOLD_BYTES = 1 << 24


@operator("Conv")
def conv(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Array:
    """x [N, C, spatial...], w [O, C/group, kernel...], b [O] -> [N, O, output...].

    Computed in the inputs' type; float16 and bfloat16 in float32, rounded once at the end.
    """
    dtype = same_dtype(x, w)
    window = conv_window(x, w, auto_pad, dilations, group, kernel_shape, pads, strides)
    y = convolve(widened(x), widened(w), window, group)
    if b is not None:
        y += per_channel(widened(b), x.ndim, "bias", w.shape[0])
    return y.astype(dtype, copy=False)


@operator("ConvInteger")
def conv_integer(
    x: Array,
    w: Array,
    x_zero_point: Array | None = None,
    w_zero_point: Array | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Array:
    """x u8 or s8, w u8 or s8; zero points scalar, w's also [O] -> int32 [N, O, output...]."""
    window = conv_window(x, w, auto_pad, dilations, group, kernel_shape, pads, strides)
    return convolve_integers(x, w, x_zero_point, w_zero_point, window, group).astype(np.int32)


def conv_window(
    x: Array,
    w: Array,
    auto_pad: str,
    dilations: Ints | None,
    group: int,
    kernel_shape: Ints | None,
    pads: Ints | None,
    strides: Ints | None,
) -> Window:
    """Check shapes of input and weights against each other and resolve the attributes."""
    require(
        x.ndim >= 3 and w.ndim == x.ndim,
        f"expected x [N, C, spatial...] and w [O, C/group, kernel...], got {x.shape}, {w.shape}",
    )
    require(
        group >= 1 and x.shape[1] == w.shape[1] * group and w.shape[0] % group == 0,
        f"weights {w.shape} in {group} groups do not fit {x.shape[1]} input channels",
    )
    require(
        kernel_shape is None or kernel_shape == w.shape[2:],
        f"kernel_shape: expected {w.shape[2:]} as the weights have, got {kernel_shape}",
    )
    return make_window(
        x.shape[2:], w.shape[2:], strides=strides, dilations=dilations, pads=pads, auto_pad=auto_pad
    )


def convolve(x: Array, w: Array, window: Window, group: int) -> Array:
    """The convolution without bias: taps added up where a group has one input channel (depthwise),
    else windows unfolded into columns and multiplied by BLAS.
    """
    shape = size_checked((x.shape[0], w.shape[0], *window.output), x.dtype)
    padded = window.pad(x, 0)
    if w.shape[1] == 1 and group > 1:
        return _by_taps(padded, w, window, group).reshape(shape)
    y = np.empty(shape, x.dtype)
    weights = w.reshape(group, w.shape[0] // group, math.prod(w.shape[1:]))
    inner = math.prod(window.output[1:])
    rows = max(
        1, UNFOLD_BYTES // max(1, math.prod(padded.shape[1:2] + w.shape[2:]) * inner * x.itemsize)
    )
    views = window.view(padded)
    axes = len(window.kernel)
    order = (0, *range(1 + axes, 1 + 2 * axes), *range(1, 1 + axes))  # channel, kernel, output
    for image, result in zip(views, y.reshape(*shape[:3], inner), strict=True):
        for start in range(0, window.output[0], rows):
            part = image[:, start : start + rows]
            columns = part.transpose(order).reshape(group, weights.shape[2], part.shape[1] * inner)
            target = result[:, start : start + rows]
            target[...] = np.matmul(weights, columns).reshape(target.shape)
    return y


def _by_taps(padded: Array, w: Array, window: Window, group: int) -> Array:
    """Depthwise: [N, group, O/group, output...] as a sum over the taps of the kernel."""
    axes = len(window.kernel)
    weights = w.reshape(group, w.shape[0] // group, *window.kernel)
    y = np.zeros((padded.shape[0], *weights.shape[:2], *window.output), padded.dtype)
    for tap in window.taps():
        index: tuple[Any, ...] = (..., *tap)
        weight = weights[index].reshape(*weights.shape[:2], *(1,) * axes)
        y += window.at(padded, tap)[:, :, None] * weight
    return y


def convolve_integers(
    x: Array,
    w: Array,
    x_zero_point: Array | None,
    w_zero_point: Array | None,
    window: Window,
    group: int,
) -> Array:
    """Sums of (x - x_zero_point) * (w - w_zero_point), exact, as int64.

    Padding counts as x_zero_point, so it adds nothing. The products run through float64 BLAS, which
    is exact below 2^53: |x - zp| and |w - zp| are at most 2^8, so up to 2^37 taps.
    """
    left, right = x.astype(np.float64), w.astype(np.float64)
    if x_zero_point is not None:
        require(
            x_zero_point.size == 1, f"x_zero_point: expected one value, got {x_zero_point.shape}"
        )
        left -= x_zero_point.astype(np.float64).reshape(())
    if w_zero_point is not None and w_zero_point.size == 1:
        right -= w_zero_point.astype(np.float64).reshape(())
    elif w_zero_point is not None:
        zero = per_channel(w_zero_point.astype(np.float64), w.ndim, "w_zero_point", w.shape[0])
        right -= zero[:, None]
    return convolve(left, right, window, group).astype(np.int64)
