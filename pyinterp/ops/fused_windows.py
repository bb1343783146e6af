"""Windows over images, NCHW: what convolutions and poolings share."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from .fused_parts import I32, Array, Window


def windows(x: Array, window: Window, fill: float) -> Array:
    """View of all windows, [N, C, H', W', kh, kw], of x [N, C, H, W] padded with `fill`."""
    top, left, bottom, right = window.pads
    out_h, out_w = window.output_size(x.shape[2], x.shape[3])
    extent = [(k - 1) * d + 1 for k, d in zip(window.kernel, window.dilations, strict=True)]
    # ceil_mode windows may reach past the padding
    more_h = max(0, (out_h - 1) * window.strides[0] + extent[0] - (x.shape[2] + top + bottom))
    more_w = max(0, (out_w - 1) * window.strides[1] + extent[1] - (x.shape[3] + left + right))
    border = ((0, 0), (0, 0), (top, bottom + more_h), (left, right + more_w))
    padded = np.pad(x, border, constant_values=x.dtype.type(fill))
    view = sliding_window_view(padded, extent, axis=(2, 3))
    strided = view[:, :, :: window.strides[0], :: window.strides[1]][:, :, :out_h, :out_w]
    result: Array = strided[..., :: window.dilations[0], :: window.dilations[1]]
    return result


def average_pool_counts(window: Window, height: int, width: int, include_pad: bool) -> Array:
    """Divisor of each output, int64 [H', W'].

    Padding counts where `include_pad` says so; what ceil_mode adds past the padding never does.
    """
    if window == Window(window.kernel, window.strides):  # no window reaches past the image
        return np.full(window.output_size(height, width), math.prod(window.kernel), np.int64)
    top, left, bottom, right = window.pads if include_pad else (0, 0, 0, 0)
    ones = np.ones((1, 1, height + top + bottom, width + left + right), np.int64)
    inner = window if not include_pad else replace(window, pads=(0, 0, 0, 0))
    out_h, out_w = window.output_size(height, width)
    return windows(ones, inner, 0).sum(axis=(4, 5))[0, 0, :out_h, :out_w]


def convolve(x: Array, weight: Array, window: Window, groups: int, fill: float) -> Array:
    """Convolution in the dtype of x and weight: [N, O, H', W']."""
    taps = windows(x, window, fill)
    batch, channels, out_h, out_w = taps.shape[:4]
    outputs = weight.shape[0]
    if groups == channels == outputs:  # depthwise: a loop over taps, not over channels
        total = np.zeros((batch, outputs, out_h, out_w), weight.dtype)
        for i, j in np.ndindex(*window.kernel):
            total += taps[..., i, j] * weight[:, 0, i, j][:, None, None]
        return total
    result = np.empty((batch, outputs, out_h, out_w), weight.dtype)
    per_in, per_out = channels // groups, outputs // groups
    for g in range(groups):
        columns = taps[:, g * per_in : (g + 1) * per_in].transpose(0, 2, 3, 1, 4, 5)
        rows = weight[g * per_out : (g + 1) * per_out].reshape(per_out, -1)
        product = columns.reshape(batch * out_h * out_w, rows.shape[1]) @ rows.T
        shaped = product.reshape(batch, out_h, out_w, per_out).transpose(0, 3, 1, 2)
        result[:, g * per_out : (g + 1) * per_out] = shaped
    return result


def wrap_int32(exact: npt.NDArray[np.float64]) -> I32:
    """Integers held in float64, taken modulo 2^32 into int32."""
    return exact.astype(np.int64).astype(np.uint32).view(np.int32)
