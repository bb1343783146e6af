"""Weights of depthwise convolutions in the memory order that the C kernels read.

csrc/depthwise_s8/depthwise_s8.h describes it from the other side.
"""

from __future__ import annotations

import numpy as np

from .grouped import round_up
from .native import aligned
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


def lane_order(nr: int, width: int) -> Array:
    """The channel of a chunk that each lane of a vector of nr holds.

    Narrow chunks repeat, a pixel each. Interleaving bytes within 128-bit lanes takes the first four
    channels of every 16 first; kernels of 16 channels interleave nothing.
    """
    lanes = np.arange(nr)
    if nr > FEWEST:
        lanes = lanes.reshape(-1, 4, 4).transpose(1, 0, 2).reshape(-1)
    return lanes % width


def pack_depthwise(weight: Array, rows: int, nr: int, k_group: int, stride_h: int) -> Array:
    """Flat [chunks, rows, kernel_w, groups, nr, k_group].

    weight: integer [C, kernel_h, kernel_w]. rows: output_rows(...). Of output row r the taps stand
    r * stride_h rows below those of the first, between zeros.
    """
    channels, kernel_h, kernel_w = weight.shape
    padded_h = round_up(kernel_h, k_group)
    padded = np.zeros((rows, max(channels, FEWEST), padded_h, kernel_w), weight.dtype)
    for r in range(rows):
        padded[r, :channels, r * stride_h : r * stride_h + kernel_h] = weight
    chunks = find_chunks(channels, nr)
    order = np.stack([first + lane_order(nr, width) for first, width in chunks])
    taken = padded[:, order].reshape(rows, len(chunks), nr, -1, k_group, kernel_w)
    return aligned(taken.transpose(1, 0, 5, 3, 2, 4).reshape(-1))


def pairs_fit(packed: Array, x_max: int) -> bool:
    """Whether the products of two neighbours in a group, with activations of up to x_max, always
    add up to an int16: the kernels in quads add them so."""
    pairs = packed.reshape(-1, 2).astype(np.int32)
    high = np.maximum(pairs, 0).sum(1).max(initial=0)
    low = np.minimum(pairs, 0).sum(1).min(initial=0)
    return bool(high * x_max <= 32767 and low * x_max >= -32768)
