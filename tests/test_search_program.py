"""The dynamic program of the search against all combinations, and the front that comes of it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sparing.compression.search.front import POINTS, Point, thinned
from sparing.compression.search.program import BUCKETS, front
from sparing.compression.search.space import Configuration
from sparing.compression.search.verify import Verified, back_off

Table = list[list[float]]


def tables(seed: int, layers: int = 5, choices: int = 4) -> tuple[Table, Table]:
    rng = np.random.default_rng(seed)
    costs = rng.uniform(1, 10, (layers, choices)).tolist()
    losses = rng.exponential(1, (layers, choices)).tolist()
    return costs, losses


def total(table: Table, picks: tuple[int, ...]) -> float:
    return sum(row[i] for row, i in zip(table, picks, strict=True))


@pytest.mark.parametrize("seed", range(8))
def test_each_budget_gets_the_least_loss_of_all_combinations(seed: int) -> None:
    costs, losses = tables(seed)
    found = [(total(costs, p), total(losses, p)) for p in front(costs, losses)]
    every = [
        (total(costs, p), total(losses, p))
        for p in itertools.product(*(range(len(row)) for row in costs))
    ]
    # costs are rounded up to whole buckets, one a layer
    slack = len(costs) * sum(max(row) - min(row) for row in costs) / BUCKETS
    for budget in np.linspace(min(c for c, _ in every) + slack, max(c for c, _ in every), 50):
        best = min(loss for cost, loss in found if cost <= budget)
        assert best >= min(loss for cost, loss in every if cost <= budget) - 1e-12
        assert best <= min(loss for cost, loss in every if cost <= budget - slack)


def test_the_cheapest_and_the_least_loss_are_both_found() -> None:
    costs, losses = tables(3)
    found = list(front(costs, losses))
    assert total(costs, found[0]) == pytest.approx(sum(min(row) for row in costs), rel=1e-12)
    assert total(losses, found[-1]) == pytest.approx(sum(min(row) for row in losses), rel=1e-12)
    assert len(set(found)) == len(found)


def test_layers_that_cost_the_same_whatever_is_chosen_take_the_least_loss() -> None:
    assert list(front([[2.0, 2.0], [3.0]], [[0.5, 0.1], [0.0]])) == [(1, 0)]


def test_a_choice_of_infinite_loss_is_never_taken() -> None:
    costs, losses = [[5.0, 1.0], [5.0, 1.0]], [[0.0, np.inf], [0.0, 1.0]]
    assert list(front(costs, losses)) == [(0, 1), (0, 0)]


def points(count: int) -> list[Point]:
    """From dear to cheap, each a thousandth cheaper than the one before."""
    return [Point(Configuration("element", {}), 0.999**i, float(i)) for i in range(count)]


def test_a_long_front_is_thinned_to_both_ends_and_even_ratios() -> None:
    whole = points(1000)
    few = thinned(whole)
    assert POINTS / 2 < len(few) <= POINTS
    assert (few[0], few[-1]) == (whole[0], whole[-1])
    steps = np.diff([point.loss for point in few])  # losses count the steps of the whole front
    assert steps.min() > 0 and steps.max() <= 2 * steps.min()
    assert thinned(whole[:POINTS]) == whole[:POINTS]


@pytest.mark.parametrize("count", [0, 1, 2, 7, 63])
@pytest.mark.parametrize("breaks", [0.0, 0.3, 1.0])
def test_backing_off_finds_where_the_score_breaks(count: int, breaks: float) -> None:
    all_points = points(count)
    last = round(breaks * count) - 1  # the most reckless one that holds
    rounds: list[int] = []

    def verify(asked: list[Point]) -> list[Verified]:
        rounds.append(len(asked))
        return [Verified(p, 0.5, 0.0, p.loss <= last, p.predicted) for p in asked]

    found = back_off(all_points, verify)  # type: ignore[arg-type]
    held = [v.point.loss for v in found if v.holds]
    assert max(held, default=-1) == last
    assert len({v.point.loss for v in found}) == len(found)
    assert len(rounds) <= 3 and max(rounds, default=0) <= 3
