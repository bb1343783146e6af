"""Windows over images, NCHW: what convolutions and poolings share."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .fused_spec import Array, Window


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
