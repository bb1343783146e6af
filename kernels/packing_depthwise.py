"""Weights of depthwise convolutions in the memory order that the C kernels read.

csrc/depthwise_s8/depthwise_s8.h describes it from the other side.
"""

from __future__ import annotations

import numpy as np

from ._native import ffi, lib
from .grouped import round_up
from .memory import empty
from .native import pointer
from .step import Array

FEWEST = 16  # channels of the narrowest chunk


def find_chunks(channels: int, nr: int) -> list[tuple[int, int]]:
    """First channel and width of every chunk: the widest that are three quarters full."""
    chunks, at = [], 0
    while at < channels:
        width = nr
        while width > FEWEST and (width > channels or 4 * (channels - at) <= 3 * width):
            width //= 2
        first = max(min(at, channels - width), 0)
        chunks.append((first, width))
        at = first + width
    return chunks


def output_rows(kernel_h: int, stride_h: int, dilation_h: int, k_group: int) -> int:
    """Output rows that share the input rows of whole groups."""
    if dilation_h != 1:
        return 1
    return (round_up(kernel_h, k_group) - kernel_h) // stride_h + 1


def pack_depthwise(weight: Array, rows: int, nr: int, k_group: int, stride_h: int) -> Array:
    """Flat [chunks, rows, kernel_w, groups, nr, k_group].

    weight: int8 or int16 [C, kernel_h, kernel_w]. rows: output_rows(...). Of output row r the taps
    stand r * stride_h rows below those of the first, between zeros.
    """
    channels, kernel_h, kernel_w = weight.shape
    vectors = len(find_chunks(channels, nr)) * rows * kernel_w
    count = vectors * nr * round_up(kernel_h, k_group)
    packed = empty(count * weight.itemsize)
    lib.sp_pack_depthwise(
        pointer(np.ascontiguousarray(weight)),
        *(weight.itemsize, channels, kernel_h, kernel_w, rows, stride_h, nr, k_group),
        pointer(packed),
    )
    return packed.view(weight.dtype)


def pairs_fit(weight: Array, rows: int, stride_h: int, x_max: int) -> bool:
    """Whether the products of two neighbours in a group, with activations of up to x_max, always
    add up to an int16: the kernels in quads add them so. weight, rows: as for pack_depthwise, in
    int8."""
    reach = ffi.new("int[2]")
    lib.sp_depthwise_pairs(
        pointer(np.ascontiguousarray(weight), "int8_t *"),
        *(*weight.shape, rows, stride_h, reach, reach + 1),
    )
    return bool(reach[0] * x_max >= -32768 and reach[1] * x_max <= 32767)
