"""Place the values of a plan in one block of memory, reusing space after a value's last use."""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping
from typing import Generic, TypeVar

from .records import record

ALIGNMENT = 64

Key = TypeVar("Key")


@record(frozen=True, slots=True)
class Interval:
    """A value's size, and the first and last step that need it."""

    nbytes: int
    first: int
    last: int


@record(frozen=True, slots=True)
class Layout(Generic[Key]):
    """offsets: byte offset of each value. nbytes: size of the block. live_peak: the largest sum of
    values that are alive at once, below which no placement can go."""

    offsets: Mapping[Key, int]
    nbytes: int
    live_peak: int


def _rounded(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def place(intervals: Mapping[Key, Interval]) -> Layout[Key]:
    """Largest values first, each at the lowest offset free during its whole life.

    (Greedy by size: Pisarchyk and Lee, Efficient memory management for deep neural net inference,
    2020, arXiv:2001.03288.)
    """
    placed: list[tuple[int, int, int, int]] = []  # offset, end, first and last step; by offset
    offsets: dict[Key, int] = {}
    for key in sorted(intervals, key=lambda k: (-intervals[k].nbytes, intervals[k].first)):
        interval = intervals[key]
        offset, nbytes = 0, _rounded(interval.nbytes)
        for start, end, first, last in placed:
            if interval.first <= last and first <= interval.last:
                if offset + nbytes <= start:
                    break
                if end > offset:
                    offset = end
        offsets[key] = offset
        insort(placed, (offset, offset + nbytes, interval.first, interval.last))
    nbytes = max([end for _, end, _, _ in placed], default=0)
    return Layout(offsets, nbytes, _live_peak(intervals))


def _live_peak(intervals: Mapping[Key, Interval]) -> int:
    changes: dict[int, int] = {}
    for interval in intervals.values():
        nbytes = _rounded(interval.nbytes)
        changes[interval.first] = changes.get(interval.first, 0) + nbytes
        changes[interval.last + 1] = changes.get(interval.last + 1, 0) - nbytes
    alive = peak = 0
    for step in sorted(changes):
        alive += changes[step]
        peak = max(peak, alive)
    return peak
