"""Blocks of memory: aligned, apart from each other, in common pieces where a plan is made."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from sparing.kernels import memory
from sparing.kernels.step import Array

SIZES = (0, 1, 64, 100, 4096, 2**20 - 1, 2**20, 3 * 2**20 + 5)


def address(block: Array) -> int:
    return int(block.ctypes.data)


def check(blocks: list[Array], sizes: tuple[int, ...]) -> None:
    """All are aligned, as long as asked for, writable and apart."""
    for number, (block, size) in enumerate(zip(blocks, sizes, strict=True)):
        assert len(block) == size
        assert size == 0 or address(block) % memory.ALIGNMENT == 0
        block[...] = number
    assert all((block == number).all() for number, block in enumerate(blocks))


def test_blocks_are_aligned_and_apart() -> None:
    check([memory.empty(size) for size in SIZES], SIZES)


@pytest.mark.parametrize(("used", "spare"), [(0, 0), (100, 0), (2**16, 2**16), (2**22, 2**20)])
def test_pooled_blocks_are_aligned_and_apart(used: int, spare: int) -> None:
    sizes = SIZES * 3
    with memory.pooled(used, spare):
        blocks = [memory.empty(size) for size in sizes]
    check(blocks, sizes)


def test_what_a_block_does_not_need_goes_to_the_next() -> None:
    with memory.pooled(2**16, 0):
        first = memory.empty(1000)
        first[:100] = 7
        kept = memory.shrunk(first, 100)
        second, third = memory.empty(64), memory.empty(64)
        assert address(second) == address(kept) + 128
        apart = memory.shrunk(second, 10)  # not the last one
    check([kept, apart, third], (100, 10, 64))


def test_shrunk_keeps_the_first_bytes() -> None:
    for size in (1000, 2**21):
        block = memory.empty(size)
        block[...] = np.arange(size) % 251
        kept = memory.shrunk(block, 300)
        assert np.array_equal(kept, np.arange(300) % 251) and address(kept) % memory.ALIGNMENT == 0


def test_a_pool_is_its_threads_own_and_ends() -> None:
    found: list[Array] = []
    with memory.pooled(2**12, 0):
        inside = memory.empty(64)
        with memory.pooled(2**12, 0):
            nested = memory.empty(64)
        thread = threading.Thread(target=lambda: found.append(memory.empty(64)))
        thread.start()
        thread.join()
        following = memory.empty(64)
    assert address(following) == address(inside) + 64
    after = memory.empty(64)
    assert len({address(b) for b in (inside, nested, found[0], following, after)}) == 5
    assert after.base is not following.base
