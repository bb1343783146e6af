"""How a sparse convolution lays pixels in lanes (csrc/sparing.h: sp_csr_lanes).

A non-zero weight multiplies one input pixel for every output pixel. With the input copied to
padded planes, one for each phase of the stride, these pixels are neighbours: the tap (i, j) of
output (row, column) stands `i * row_width + j` lanes after it. Outputs of all rows then form one
run of lanes, with a few useless lanes between rows.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ..ops.fused_spec import Window
from ..records import record
from .step import SLAB

WIDTH = 64  # lanes of a block
PASS_LANES = 512  # small images are joined until a pass has so many lanes
GATHER_USES = 6  # non-zeros a channel from which a 1x1 convolution's copy pays

Source: TypeAlias = Literal["in place", "gathered", "planes"]


@record(frozen=True, slots=True)
class Lanes:
    """See sp_csr_lanes. total: lanes of a full pass."""

    source: Source
    images: int
    row_width: int
    image_lanes: int
    phases: tuple[int, int]
    phase_lanes: int
    channel_lanes: int
    total: int


@record(frozen=True, slots=True)
class _Axis:
    """One spatial axis of the planes: positions from one output row (or image) to the next, the
    planes it needs, and how far past an output's own position a tap may reach."""

    step: int
    phases: int
    reach: int


def _axis(size: int, out: int, kernel: int, stride: int, dilation: int, pad: int) -> _Axis:
    extent = (kernel - 1) * dilation
    reach = extent // stride
    needed = out + reach
    # padding after one row serves as the padding before the next one
    before, after = pad // stride, max(0, needed - -(-(pad + size) // stride))
    return _Axis(max(out, needed - min(before, after)), min(stride, extent + 1), reach)


@lru_cache(maxsize=256)  # costs and packing ask the same again and again
def plan_lanes(
    window: Window,
    shape: tuple[int, ...],
    nonzeros: int,
    element_bytes: int,
    nhwc: bool = False,
) -> Lanes:
    """shape: [N, C, H, W] of the input. nonzeros: how many the weight has. nhwc: order of a 1x1
    convolution's input."""
    batch, channels, height, width = shape
    out_h, out_w = window.output_size(height, width)
    if window.kernel == (1, 1) and window.pads == (0, 0, 0, 0):
        pixels = out_h * out_w
        once = nonzeros < GATHER_USES * channels
        if window.strides == (1, 1) and pixels >= WIDTH and once and not nhwc:
            return Lanes("in place", 1, out_w, pixels, (1, 1), 0, pixels, pixels)
        total = batch * pixels
        return Lanes("gathered", batch, out_w, pixels, (1, 1), 0, WIDTH, total)
    axes = [
        _axis(size, out, *rest)
        for size, out, *rest in zip(
            (height, width),
            (out_h, out_w),
            window.kernel,
            window.strides,
            window.dilations,
            window.pads[:2],
            strict=True,
        )
    ]
    row_width, image_lanes = axes[1].step, axes[0].step * axes[1].step
    images = min(batch, max(1, PASS_LANES // image_lanes))
    total = (images - 1) * image_lanes + (out_h - 1) * row_width + out_w
    # blocks may read to their full width, and every tap reaches further
    phase_lanes = -(-total // WIDTH) * WIDTH + axes[0].reach * row_width + axes[1].reach
    phases = (axes[0].phases, axes[1].phases)
    # an odd number of cache lines from channel to channel spreads them over all sets of a cache
    line = 64 // element_bytes
    lines = -(-phase_lanes * phases[0] * phases[1] // line)
    channel_lanes = (lines | 1) * line
    return Lanes(
        "planes", images, row_width, image_lanes, phases, phase_lanes, channel_lanes, total
    )


def tap_offsets(lanes: Lanes, window: Window) -> npt.NDArray[np.int64]:
    """Lanes from an output to each tap, [kh, kw], in the same channel's planes."""
    rows, columns = (np.arange(k) * d for k, d in zip(window.kernel, window.dilations, strict=True))
    stride_h, stride_w = window.strides
    phase = (rows % stride_h)[:, None] * lanes.phases[1] + columns % stride_w
    position = (rows // stride_h)[:, None] * lanes.row_width + columns // stride_w
    result: npt.NDArray[np.int64] = phase * lanes.phase_lanes + position
    return result


SLAB_L1_BYTES = 32 * 1024  # of the input: what else is used passes by
MIN_STEPS = 12  # non-zeros of a segment, below which loading and storing its sums costs more


def slab_channels(shape: tuple[int, ...], groups: int, nonzeros: int) -> int:
    """Input channels of a segment of float32 weights [O, C / groups, kh, kw]: their lanes fit L1,
    unless segments get too short."""
    channels, taps = shape[1] * groups, shape[2] * shape[3]
    per_channel = nonzeros / max(1, shape[0] * shape[1])
    fits_l1 = max(1, SLAB_L1_BYTES // (4 * taps * SLAB))
    most = max(fits_l1, math.ceil(MIN_STEPS / max(per_channel, 1e-6)))
    return math.ceil(channels / math.ceil(channels / most))
