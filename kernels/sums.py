"""Sums of the weights of each output channel: what folding and proofs about accumulators need."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .step import Array

I64 = npt.NDArray[np.int64]
BLOCK = 2**16  # weights summed at a time in int32: 2^16 times an int16 still fits


def channel_sums(weight: Array) -> I64:
    """The sum of the weights of each output channel, [O]. weight: int8 or int16 [O, ...]."""
    rows = weight.reshape(len(weight), -1)
    sums = np.zeros(len(rows), np.int64)
    for start in range(0, rows.shape[1], BLOCK):
        # einsum adds up widened rows some times faster than sum(dtype=) does
        sums += np.einsum("ij->i", rows[:, start : start + BLOCK].astype(np.int32))
    return sums


def reach(weight: Array, low: int, high: int) -> tuple[I64, I64]:
    """The least and the largest `sum x w` of each output channel over all x in [low, high], [O]."""
    positive = channel_sums(np.maximum(weight, 0))
    negative = channel_sums(weight) - positive
    return low * positive + high * negative, high * positive + low * negative


def fold_zero_point(bias: Array, weight: Array, x_zero_point: int) -> Array:
    """`bias - x_zp * sum(w)` of each output channel, modulo 2^32: int32 [O].

    Kernels then sum x * w, with padded taps that hold x_zp.
    """
    folded = bias.astype(np.int64) - x_zero_point * channel_sums(weight)
    return folded.astype(np.uint32).view(np.int32)
