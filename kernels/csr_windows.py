"""Joins the non-zeros of sparse rows to pairs, and pairs or blocks to windows, that int16 provably
holds (csrc/packing/csr_windows.c)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..records import record
from ._native import lib
from .native import pointer

Array = npt.NDArray[Any]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

# Time of the AVX2 kernel for a pair, and for ending a window (measured; only their ratio counts).
PAIR_COST, WINDOW_COST = 52, 22
MAX_WINDOW = 4

# The same for blocks and their windows.
BLOCK_COST, BLOCK_WINDOW_COST = 10, 9
BLOCK_WINDOWS = (2, 4)


@record(frozen=True, slots=True)
class Pairing:
    """slot: of each non-zero in its segment, two a pair. steps: pairs of each segment, windows
    filled up with empty pairs. window: pairs a window. (Or blocks for pairs, with one slot each.)
    """

    slot: I32
    steps: I64
    window: int


def pair_up(value: Array, count: I64, x_max: int) -> Pairing:
    """value: int8, not zero, sorted by segment. count: non-zeros of each segment."""
    costs = (PAIR_COST, WINDOW_COST, _mask(range(2, MAX_WINDOW + 1)))
    return _deal(lib.sp_pair_up, value, count, x_max, costs)


def window_up(blocks: Array, count: I64, x_max: int) -> Pairing:
    """Windows of blocks. blocks: int32 [n], words of four weights, sorted by segment, of which each
    fits int16 alone. count: blocks of each segment."""
    costs = (BLOCK_COST, BLOCK_WINDOW_COST, _mask(BLOCK_WINDOWS))
    return _deal(lib.sp_window_blocks, blocks, count, x_max, costs)


def _mask(sizes: Iterable[int]) -> int:
    return sum(1 << size for size in sizes)


def _deal(
    function: Callable[..., int], items: Array, count: I64, x_max: int, costs: tuple[int, int, int]
) -> Pairing:
    items, count = np.ascontiguousarray(items), np.ascontiguousarray(count, np.int64)
    slot, steps = np.empty(len(items), np.int32), np.empty(len(count), np.int64)
    capacity = int(count.max(initial=0))
    scratch = np.empty(10 * capacity, np.int32)
    window = function(
        *(pointer(items, "int8_t *"), pointer(count, "int64_t *"), len(count)),
        *(32767 // max(x_max, 1), costs, pointer(scratch, "int32_t *"), capacity),
        *(pointer(slot, "int32_t *"), pointer(steps, "int64_t *")),
    )
    return Pairing(slot, steps, int(window))
