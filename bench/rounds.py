"""Interleaved timing: contestants take turns, so that whatever disturbs the machine hits all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from time import perf_counter, sleep

import numpy as np

SETTLE = 0.05  # seconds of rest before a turn, in contests of several threads

TURN = 0.02  # seconds a turn lasts at least: long enough to see caches in their steady state


def _nothing() -> None:
    pass


@dataclass(slots=True, eq=False)
class Contestant:
    """run(i): the work to time, on the i-th sample input. enter: called before each turn, untimed.

    seconds: what each timed run took, filled in by `interleave`.
    """

    run: Callable[[int], object]
    enter: Callable[[], None] = _nothing
    seconds: list[float] = field(default_factory=list)


def interleave(
    contestants: Sequence[Contestant],
    budget: float,
    least: int = 3,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    settle: float = 0.0,
) -> None:
    """Time every contestant for `budget` seconds, and at least `least` times, in turns.

    A turn begins with one untimed run, then times as many as fit into TURN, at least one. Where one
    run takes longer than a turn, all but the first one are timed. The order is shuffled each round
    (seeded), so that nobody always follows the same neighbour. progress(1) is called once for each
    contestant that is done. settle: seconds to rest before each turn; threads of other engines go
    on spinning for some hundredths of a second after their last run, on the cores of the next.
    """
    rng = np.random.default_rng(seed)
    left = list(contestants)
    spent = {id(contestant): 0.0 for contestant in left}
    while left:
        for i in rng.permutation(len(left)):
            sleep(settle)
            spent[id(left[i])] += _turn(left[i])
        done = [c for c in left if len(c.seconds) >= least and spent[id(c)] >= budget]
        left = [c for c in left if c not in done]
        if progress is not None and done:
            progress(len(done))


def _turn(contestant: Contestant) -> float:
    contestant.enter()
    seconds = contestant.seconds
    begin = perf_counter()
    if not seconds or seconds[-1] < TURN:
        contestant.run(len(seconds))
    end, first = perf_counter() + TURN, True
    while first or perf_counter() < end:
        start = perf_counter()
        contestant.run(len(seconds))
        seconds.append(perf_counter() - start)
        first = False
    return perf_counter() - begin


@contextmanager
def blas_threads(threads: int) -> Iterator[bool]:
    """NumPy's BLAS uses this many threads in the block; False where threadpoolctl is missing."""
    if find_spec("threadpoolctl") is None:
        yield False
        return
    from threadpoolctl import threadpool_limits

    with threadpool_limits(threads, user_api="blas"):
        yield True
