"""How a sparse convolution lays pixels in lanes (csrc/sparing.h: sp_csr_lanes).

A non-zero weight multiplies one input pixel for every output pixel. With the input copied to
padded planes, one for each phase of the stride, these pixels are neighbours: the tap (i, j) of
output (row, column) stands `i * row_width + j` lanes after it. Outputs of all rows then form one
run of lanes, with a few useless lanes between rows.

Where a channel has many non-zeros, each block of lanes gets copies of its own instead, one for each
column of taps: vectors that begin anywhere are read more slowly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ..ops.fused_spec import Window

WIDTH = 64  # lanes of a block of int8
F32_WIDTH = 72  # most lanes of a block of float32: nine vectors, whose sums stay in registers
F32_VECTOR = 8
PASS_LANES = 512  # small images are joined until a pass has so many lanes
GATHER_USES = 6  # non-zeros a channel from which a 1x1 convolution's copy pays

TAP_USES = 40  # non-zeros a channel, for each copied lane a lane, from which copies for taps pay
TAP_PIXELS = 32  # of an output image, so that its one block is full
MOST_PADDING = 1.2  # lanes of aligned rows for those of rows as they are

Source: TypeAlias = Literal["in place", "gathered", "planes", "taps"]


@dataclass(frozen=True, slots=True)
class Lanes:
    """See sp_csr_lanes. total: lanes of a full pass. block: lanes of a whole block."""

    source: Source
    images: int
    row_width: int
    image_lanes: int
    phases: tuple[int, int]
    phase_lanes: int
    channel_lanes: int
    total: int
    block: int


@dataclass(frozen=True, slots=True)
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


def _block(total: int, floats: bool, most: int = F32_WIDTH) -> int:
    """Lanes of a block. Of float32 all blocks are equally wide, so that none is nearly empty."""
    if not floats:
        return WIDTH
    total = max(total, 1)  # an empty batch
    blocks = -(-total // most)
    return -(-total // (blocks * F32_VECTOR)) * F32_VECTOR


@lru_cache(maxsize=256)  # costs and packing ask the same again and again
def plan_lanes(
    window: Window,
    shape: tuple[int, ...],
    nonzeros: int,
    element_bytes: int,
    nhwc: bool = False,
    floats: bool = False,
) -> Lanes:
    """shape: [N, C, H, W] of the input. nonzeros: how many the weight has. nhwc: order of a 1x1
    convolution's input."""
    batch, channels, height, width = shape
    out_h, out_w = window.output_size(height, width)
    if window.kernel == (1, 1) and window.pads == (0, 0, 0, 0):
        pixels = out_h * out_w
        once = nonzeros < GATHER_USES * channels
        if window.strides == (1, 1) and pixels >= WIDTH and once and not nhwc:
            # nothing beyond the image may be read
            block = min(_block(pixels, floats, WIDTH), pixels // F32_VECTOR * F32_VECTOR)
            return Lanes("in place", 1, out_w, pixels, (1, 1), 0, pixels, pixels, block)
        block = _block(batch * pixels, floats, WIDTH)
        return Lanes("gathered", batch, out_w, pixels, (1, 1), 0, block, batch * pixels, block)
    if floats and out_h * out_w >= TAP_PIXELS:
        taps = _taps(window, out_h, out_w)
        if nonzeros * taps.block >= TAP_USES * channels * taps.channel_lanes:
            return taps
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
    block = _block(total, floats)
    phase_lanes = -(-total // block) * block + axes[0].reach * row_width + axes[1].reach
    phases = (axes[0].phases, axes[1].phases)
    # an odd number of cache lines from channel to channel spreads them over all sets of a cache
    line = 64 // element_bytes
    lines = -(-phase_lanes * phases[0] * phases[1] // line)
    channel_lanes = (lines | 1) * line
    return Lanes(
        "planes", images, row_width, image_lanes, phases, phase_lanes, channel_lanes, total, block
    )


def _taps(window: Window, out_h: int, out_w: int) -> Lanes:
    """Each block has a copy of what every column of taps reads, so that lanes of all columns are
    aligned; those of all rows are, too, where rows are whole vectors."""
    aligned = -(-out_w // F32_VECTOR) * F32_VECTOR
    row_width = aligned if aligned <= MOST_PADDING * out_w else out_w
    total = (out_h - 1) * row_width + out_w
    block = _block(total, floats=True)
    extent = (window.kernel[0] - 1) * window.dilations[0]
    strip = -(-(block + extent // window.strides[0] * row_width) // F32_VECTOR) * F32_VECTOR
    copies = (min(window.strides[0], extent + 1), window.kernel[1])
    channel_lanes = copies[0] * copies[1] * strip
    return Lanes(
        "taps", 1, row_width, out_h * row_width, copies, strip, channel_lanes, total, block
    )


def tap_offsets(lanes: Lanes, window: Window) -> npt.NDArray[np.int64]:
    """Lanes from an output to each tap, [kh, kw], in the same channel's planes or copies."""
    rows, columns = (np.arange(k) * d for k, d in zip(window.kernel, window.dilations, strict=True))
    stride_h, stride_w = window.strides
    if lanes.source == "taps":
        columns, stride_w = np.arange(window.kernel[1]), window.kernel[1]
    phase = (rows % stride_h)[:, None] * lanes.phases[1] + columns % stride_w
    position = (rows // stride_h)[:, None] * lanes.row_width + columns // stride_w
    result: npt.NDArray[np.int64] = phase * lanes.phase_lanes + position
    return result
