"""Which configurations keep the score: the front is searched for the place where it breaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .front import Point

TOGETHER = 3  # verifications of a round, whatever the executor: the same are made with any


@dataclass(frozen=True, slots=True, eq=False)
class Verified:
    """A configuration that was applied and evaluated. cost: in seconds or bytes, of what it gave.

    drop: baseline - score. holds: drop <= max_drop.
    """

    point: Point
    score: float
    drop: float
    holds: bool
    cost: float


def back_off(
    front: Sequence[Point], verify: Callable[[Sequence[Point]], Sequence[Verified]]
) -> list[Verified]:
    """All that was verified. front: from careful to reckless.

    Each round tries points between the most reckless one that holds and the next one after it that
    does not, until nothing stands between the two.
    """
    found: list[Verified] = []
    low, high = -1, len(front)
    while high - low > 1:
        places = _between(low, high)
        results = verify([front[i] for i in places])
        found += results
        outcome = dict(zip(places, results, strict=True))
        low = max([low, *(i for i, result in outcome.items() if result.holds)])
        high = min([high, *(i for i, r in outcome.items() if i > low and not r.holds)])
    return found


def _between(low: int, high: int) -> list[int]:
    """TOGETHER places that part the ones in between evenly; all of them if they are fewer."""
    inside = high - low - 1
    if inside <= TOGETHER:
        return list(range(low + 1, high))
    parts = TOGETHER + 1
    return sorted({low + round((high - low) * part / parts) for part in range(1, parts)})
