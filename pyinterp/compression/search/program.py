"""The least sum of losses within a budget of cost, for every budget at once.

A dynamic program over layers and discretised cost (SPDY: Frantar and Alistarh, 2022,
arXiv:2201.13096, section 3.2; the problem is the multiple-choice knapsack).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

BUCKETS = 4096  # of cost, between the least and the most that all layers together can take

I64 = npt.NDArray[np.int64]


def front(
    costs: Sequence[Sequence[float]], losses: Sequence[Sequence[float]]
) -> Iterator[tuple[int, ...]]:
    """The choices (an index for each layer) of least loss for rising budgets, each once.

    costs, losses: of each layer, of each of its choices; a choice of infinite loss is never taken.
    Costs are rounded up to whole buckets, so that no result exceeds the budget that it is meant
    for.
    """
    spread = sum(max(row) - min(row) for row in costs)
    weights = [_buckets(np.asarray(row, np.float64), spread / BUCKETS) for row in costs]
    most = int(sum(w.max() for w in weights))
    best = np.zeros(most + 1)
    picks: list[I64] = []
    for weight, loss in zip(weights, losses, strict=True):
        reached = np.full((len(loss), most + 1), np.inf)
        for choice, (w, value) in enumerate(zip(weight, loss, strict=True)):
            reached[choice, w:] = best[: most + 1 - w] + value
        picks.append(reached.argmin(axis=0))  # of equal ones the first: the most careful
        best = reached.min(axis=0)
    possible = np.flatnonzero(np.isfinite(best))
    yield from dict.fromkeys(map(tuple, _followed_back(weights, picks, possible).tolist()))


def _buckets(costs: npt.NDArray[np.float64], size: float) -> I64:
    """Of each choice, beyond what the cheapest one takes."""
    beyond = costs - costs.min()
    if size == 0:
        return np.zeros(len(costs), np.int64)
    # 1e-9: what dividing by the bucket may round away must not take another one
    return np.ceil(beyond / size - 1e-9).astype(np.int64)


def _followed_back(weights: Sequence[I64], picks: Sequence[I64], budgets: I64) -> I64:
    """[budgets, layers]: the choices that the best sum of each budget was made of."""
    left = budgets
    chosen = []
    for weight, pick in zip(reversed(weights), reversed(picks), strict=True):
        chosen.append(pick[left])
        left = left - weight[chosen[-1]]
    return np.stack(chosen[::-1], axis=1)
