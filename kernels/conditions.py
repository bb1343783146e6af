"""Why a spec cannot run on a kernel: each returns the reason, or "" where it can.

Conditions only select kernels. What the numeric contract refuses is refused at load, for every
backend alike (`sparing.lower`).
"""

from __future__ import annotations

import numpy as np

from ..ops.fused_spec import ConvF32, ConvS8, DynamicConv, GemmS8, Spec
from .sums import count_weights

WINOGRAD_CHANNELS = 16  # of float32: the widest vector


def always(spec: Spec) -> str:
    return ""


def is_depthwise(spec: ConvS8 | ConvF32 | DynamicConv) -> bool:
    """Whether every output channel reads one input channel of its own."""
    outputs, per_group = spec.weight.shape[:2]
    return spec.groups == outputs and per_group == 1


def depthwise(spec: ConvS8 | DynamicConv) -> str:
    return "" if is_depthwise(spec) else "not depthwise"


def grouped_s8(spec: ConvS8) -> str:
    """Groups of 4, 8 or 16 channels that stay as many; sixteen channels are whole groups."""
    outputs, width = spec.weight.shape[:2]
    if width not in (4, 8, 16) or spec.groups * width != outputs or outputs < 16:
        return "not groups of 4, 8 or 16 channels that stay as many"
    return ""


def one_group(spec: DynamicConv) -> str:
    return "" if spec.groups == 1 else "grouped"


def csr_s8(spec: ConvS8 | GemmS8) -> str:
    return "" if spec.weight.dtype == np.int8 else "weights wider than int8"


def pointwise_csr_s8(spec: ConvS8) -> str:
    if spec.window.kernel != (1, 1) or spec.window.pads != (0, 0, 0, 0):
        return "not 1x1 without padding"
    return csr_s8(spec)


def block_s8(spec: ConvS8) -> str:
    if spec.weight.dtype != np.int8:
        return "weights wider than int8"
    return "" if spec.weight.shape[1] % 4 == 0 else "channels of a group are not a multiple of four"


def winograd_s8(spec: ConvS8 | DynamicConv) -> str:
    """The Winograd kernels return sums modulo 2^26 (csrc/winograd_s8/winograd_s8.h), so all that
    an output channel can reach must lie in [-2^25, 2^25). Padding holds the zero point."""
    window = spec.window
    if window.kernel != (3, 3) or window.strides != (1, 1) or window.dilations != (1, 1):
        return "not 3x3 with stride 1 and dilation 1"
    if spec.groups != 1:
        return "grouped"
    if spec.weight.dtype != np.int8:
        return "weights wider than int8"
    counts = count_weights(spec.weight)
    largest = max(spec.x_max, spec.x_zero_point) if isinstance(spec, ConvS8) else 255
    fits = largest * counts.most < 2**25 and largest * counts.least >= -(2**25)
    return "" if fits else "sums too large"


def winograd_f32(spec: ConvF32) -> str:
    """The transforms take whole vectors of channels."""
    window = spec.window
    if window.kernel != (3, 3) or window.strides != (1, 1) or window.dilations != (1, 1):
        return "not 3x3 with stride 1 and dilation 1"
    if spec.groups != 1:
        return "grouped"
    return "" if spec.weight.shape[1] >= WINOGRAD_CHANNELS else "few input channels"
