"""Joins the non-zeros of sparse rows to pairs, and pairs or blocks to windows, that int16 provably
holds.

vpmaddubsw computes a * x + b * y in int16 and saturates; a window of S pairs is then added in
int16. With activations in [0, x_max] nothing can leave int16 if x_max times the sum of a window's
positive weights, and of its negative ones, is at most 32767: a pair is a window of one. A positive
weight with a negative one always fits, so these are joined first. A 1x4 block is two pairs, each
with int16 sums of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
I64 = npt.NDArray[np.int64]

# Time of the AVX2 kernel for a pair, and for ending a window (measured; only their ratio counts).
PAIR_COST, WINDOW_COST = 52, 22
MAX_WINDOW = 4

# The same for blocks and their windows.
BLOCK_COST, BLOCK_WINDOW_COST = 10, 9
BLOCK_WINDOWS = (2, 4)


@dataclass(frozen=True, slots=True)
class Pairing:
    """slot: of each non-zero in its segment, two a pair. steps: pairs of each segment, windows
    filled up with empty pairs. window: pairs a window. (Or blocks for pairs, with one slot each.)
    """

    slot: I64
    steps: I64
    window: int


def pair_up(value: Array, segment: I64, count: I64, x_max: int) -> Pairing:
    """value: int8, not zero, sorted by segment. count: non-zeros of each segment."""
    limit = 32767 // max(x_max, 1)
    slot, pairs = _pairs(value, segment, count, limit)
    pair_start = np.cumsum(pairs) - pairs
    pair_segment = np.repeat(np.arange(len(pairs)), pairs)
    pair_of = pair_start[segment] + slot // 2
    wide = value.astype(np.int64)
    signs = (np.maximum(wide, 0), np.maximum(-wide, 0))
    sums = np.stack([np.bincount(pair_of, s, len(pair_segment)) for s in signs]).astype(np.int64)

    window, windows, place = 1, pairs, np.arange(len(pair_segment)) - pair_start[pair_segment]
    best = float(pairs.sum()) * (PAIR_COST + WINDOW_COST)
    for size in range(2, MAX_WINDOW + 1):
        found, at = _windows(sums, pair_segment, pairs, size, limit)
        cost = float(found.sum()) * (size * PAIR_COST + WINDOW_COST)
        if cost < best:
            best, window, windows, place = cost, size, found, at
    return Pairing(2 * place[pair_of] + slot % 2, windows * window, window)


def block_sums(blocks: Array) -> I64:
    """What of a block goes into one int16 sum: positive and negative weights of its first pair and
    of its second. blocks: int8 [n, 4]; result: int64 [4, n]."""
    wide = blocks.astype(np.int64).reshape(-1, 2, 2)
    return np.concatenate([np.maximum(s * wide, 0).sum(axis=2).T for s in (1, -1)])


def window_up(blocks: Array, segment: I64, count: I64, x_max: int) -> Pairing:
    """Windows of blocks. blocks: int8 [n, 4], sorted by segment, of which each fits int16 alone.
    count: blocks of each segment."""
    limit = 32767 // max(x_max, 1)
    sums = block_sums(blocks)
    place = np.arange(len(blocks)) - (np.cumsum(count) - count)[segment]
    best, result = float(len(blocks)) * (BLOCK_COST + BLOCK_WINDOW_COST), Pairing(place, count, 1)
    for size in BLOCK_WINDOWS:
        found, at = _windows(sums, segment, count, size, limit)
        cost = float(found.sum()) * (size * BLOCK_COST + BLOCK_WINDOW_COST)
        if cost < best:
            best, result = cost, Pairing(at, found * size, size)
    return result


def _pairs(value: Array, segment: I64, count: I64, limit: int) -> tuple[I64, I64]:
    """slot: 2 * pair + place of each non-zero in its segment; pairs: of each segment."""
    segments = len(count)
    size = np.abs(value.astype(np.int64))
    negative = (value < 0).astype(np.int64)
    group = 2 * segment + negative
    in_group = np.bincount(group, minlength=2 * segments)
    opposite = np.minimum(in_group[::2], in_group[1::2])  # pairs of opposite signs

    # the smallest ones of the larger group are left over: these can be joined most easily
    group_start = np.cumsum(in_group) - in_group
    by_size = np.lexsort((-size, group))
    rank = np.empty(len(value), np.int64)
    rank[by_size] = np.arange(len(value)) - group_start[group[by_size]]
    left = rank >= opposite[segment]

    slot = np.empty(len(value), np.int64)
    joined = np.flatnonzero(~left)
    by_group = joined[np.argsort(group[joined], kind="stable")]
    group_joined = np.repeat(opposite, 2)
    start = np.cumsum(group_joined) - group_joined
    number = np.arange(len(by_group)) - start[group[by_group]]
    slot[by_group] = 2 * number + negative[by_group]

    rest = by_size[left[by_size]]  # by segment, then by falling size
    rest_slot, rest_pairs = _pair_same_sign(size[rest], segment[rest], segments, limit)
    slot[rest] = 2 * opposite[segment[rest]] + rest_slot
    return slot, opposite + rest_pairs


def _pair_same_sign(size: I64, segment: I64, segments: int, limit: int) -> tuple[I64, I64]:
    """Join the largest with the smallest while their sum is within the limit, in all segments at
    once. size: falling within a segment. Returns the slot of each, and pairs of each segment."""
    count = np.bincount(segment, minlength=segments)
    first = np.cumsum(count) - count
    last = first + count - 1
    slot = np.zeros(len(size), np.int64)
    pairs = np.zeros(segments, np.int64)
    active = np.flatnonzero(count)
    while len(active):
        large, small = first[active], last[active]
        slot[large] = 2 * pairs[active]
        fits = (large < small) & (size[large] + size[small] <= limit)
        slot[small[fits]] = 2 * pairs[active[fits]] + 1
        last[active[fits]] -= 1
        first[active] += 1
        pairs[active] += 1
        active = active[first[active] <= last[active]]
    return slot, pairs


def _windows(sums: I64, segment: I64, pairs: I64, size: int, limit: int) -> tuple[I64, I64]:
    """Windows of each segment, and each pair's place (window * size + position in it).

    sums: [kinds, pairs], what each pair adds to sums of which none may pass the limit.
    Pairs are dealt to windows by falling size, back and forth, so that sums come out alike; a
    segment whose windows break the limit gets more of them.
    """
    start = np.cumsum(pairs) - pairs
    order = np.lexsort((-sums.max(axis=0), segment))
    owner = segment[order]
    rank = np.arange(len(order)) - start[owner]
    windows = -(-pairs // size)
    while True:
        per = windows[owner]
        turn, at = np.divmod(rank, np.maximum(per, 1))
        at = np.where(turn % 2 == 0, at, per - 1 - at)
        window = start[owner] + at  # never more windows than pairs
        worst = np.max([np.bincount(window, s[order], len(order)) for s in sums], axis=0)
        failed = np.unique(owner[worst[window] > limit])
        if not len(failed):
            break
        windows[failed] = np.minimum(pairs[failed], windows[failed] + windows[failed] // 16 + 1)
    place = np.empty(len(order), np.int64)
    place[order] = at * size + turn
    return windows, place
