"""Memory for weights and activations: few large pieces instead of many small ones.

The first touch of a page takes longer than filling it, and a model's weights have thousands of
pages; so large pieces ask for huge pages, and a plan's packed weights share a few of them.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from .step import Array

ALIGNMENT = 64  # of all blocks: a cache line
HUGE_PAGE = 2**21
LARGE = HUGE_PAGE // 2  # from here on a piece may take whole huge pages
POPULATED = 2**16  # from here on a piece gets its pages at once, in two thirds of the time


def empty(nbytes: int, used: int | None = None) -> Array:
    """Uninitialised uint8 memory that begins on a 64-byte boundary. used: bytes that will be
    touched, about; None for all."""
    pool = _current.pool
    return _fresh(nbytes, used) if pool is None else pool.take(nbytes)


def shrunk(block: Array, nbytes: int) -> Array:
    """The first bytes of a block from `empty`, in no more memory than they need; the block must not
    be used any more."""
    pool = _current.pool
    if pool is not None and pool.give_back(block, nbytes):
        return block[:nbytes]
    copy = _fresh(nbytes)
    copy[...] = block[:nbytes]
    return copy


@contextmanager
def pooled(used: int, spare: int) -> Iterator[None]:
    """Within it this thread's `empty` blocks lie in common pieces, each of which is let go with the
    last of its blocks. used: bytes of all blocks, at least; spare: what a piece has beyond that."""
    before, _current.pool = _current.pool, _Pool(used, spare)
    try:
        yield
    finally:
        _current.pool = before


def _fresh(nbytes: int, used: int | None = None) -> Array:
    if used is None and POPULATED <= nbytes < LARGE and hasattr(mmap, "MAP_POPULATE"):
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
        return np.frombuffer(mmap.mmap(-1, nbytes, flags=flags), np.uint8)
    if nbytes < LARGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        raw = np.empty(nbytes + ALIGNMENT, np.uint8)
        start = -raw.__array_interface__["data"][0] % ALIGNMENT
        return raw[start : start + nbytes]
    whole = -(-nbytes // HUGE_PAGE) * HUGE_PAGE  # such mappings begin where huge pages may
    pages = mmap.mmap(-1, whole, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    huge = round((nbytes if used is None else used) / HUGE_PAGE) * HUGE_PAGE
    if huge:
        pages.madvise(mmap.MADV_HUGEPAGE, 0, huge)
    return np.frombuffer(pages, np.uint8, nbytes)


class _Pool:
    """Blocks one after the other in a piece, then in another piece; large ones by themselves."""

    def __init__(self, used: int, spare: int) -> None:
        self._used, self._size = used, used + spare
        self._piece = np.empty(0, np.uint8)
        self._last = self._piece  # the block that was taken last
        self._begin = self._end = 0  # where it lies

    def take(self, nbytes: int) -> Array:
        if self._end + nbytes > len(self._piece):
            if 2 * nbytes > self._size:
                return _fresh(nbytes)
            self._piece, self._end = _fresh(self._size, self._used), 0
        begin = self._begin = self._end
        self._end = begin + _rounded(nbytes)
        block = self._last = self._piece[begin : begin + nbytes]
        return block

    def give_back(self, block: Array, nbytes: int) -> bool:
        """All but the first bytes; False where the block is not the last one of the piece."""
        if block is not self._last:
            return False
        self._end = self._begin + _rounded(nbytes)
        return True


def _rounded(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


class _Current(threading.local):
    pool: _Pool | None = None


_current = _Current()
