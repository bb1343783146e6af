"""From tables of costs and losses to the configurations worth verifying."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from .costs import CostModel
from .program import front as least_losses
from .space import Choice, Configuration, Space

# A choice costs this much of any that is more careful, at most: less is noise of measuring.
WORTHWHILE = 0.98
POINTS = 63  # to verify among: 3 rounds of 3 find the place between any two of them

Losses: TypeAlias = Callable[[str, str, Choice], float]  # by granularity, label, choice


@dataclass(frozen=True, slots=True)
class Point:
    """A configuration, the cost that is expected of it, and the sum of its layers' losses."""

    configuration: Configuration
    predicted: float
    loss: float


def worthwhile(space: Space, costs: CostModel, granularity: str) -> dict[str, list[Choice]]:
    """Label of a layer -> its choices, float first, but those that do not pay; what `integers` of
    the space takes stays.
    """
    found, plain = {}, space.integers().choices
    for label in space.layers:
        kept: list[tuple[Choice, float]] = []
        for choice in space.choices(label):
            cost = costs.layer(label, granularity, choice, False)
            careful = [price for other, price in kept if _more_careful(other, choice)]
            if not careful or choice == plain[label] or cost <= WORTHWHILE * min(careful):
                kept.append((choice, cost))
        found[label] = [choice for choice, _ in kept]
    return found


def _more_careful(one: Choice, other: Choice) -> bool:
    if one.weight_bits is None:
        return True
    return one.sparsity <= other.sparsity and one.weight_bits >= (other.weight_bits or 0)


def pareto_front(
    tables: Mapping[str, Mapping[str, Sequence[Choice]]], costs: CostModel, losses: Losses
) -> list[Point]:
    """Configurations of which none is better in cost and loss, from the most careful on.

    tables: granularity -> label -> choices. losses: finite for at least one choice of each layer.

    The dynamic program runs on costs of layers as if all neighbours suited each other, and as if
    none did; what counts is the cost of the whole network.
    """
    points: list[Point] = []
    for granularity, table in tables.items():
        for configuration in _candidates(granularity, table, costs, losses):
            loss = sum(losses(granularity, *item) for item in configuration.choices.items())
            points.append(Point(configuration, costs.predicted(configuration), loss))
    return _undominated(points)


def _candidates(
    granularity: str, table: Mapping[str, Sequence[Choice]], costs: CostModel, losses: Losses
) -> Iterator[Configuration]:
    lost = [[losses(granularity, label, c) for c in row] for label, row in table.items()]
    seen: set[tuple[int, ...]] = set()
    for alone in (False, True):
        paid = [
            [costs.layer(label, granularity, choice, alone) for choice in row]
            for label, row in table.items()
        ]
        for picks in _spaced(list(least_losses(paid, lost)), paid):
            if picks not in seen:
                seen.add(picks)
                rows = zip(table.items(), picks, strict=True)
                yield Configuration(granularity, {label: row[i] for (label, row), i in rows})


def _spaced(
    found: Sequence[tuple[int, ...]], costs: Sequence[Sequence[float]]
) -> list[tuple[int, ...]]:
    """At most twice POINTS of them. found: from cheap to dear."""
    totals = [sum(row[i] for row, i in zip(costs, picks, strict=True)) for picks in found]
    return [found[i] for i in _even(totals, 2 * POINTS)]


def _undominated(points: Sequence[Point]) -> list[Point]:
    """From the least loss on, each cheaper than all before it."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (p.loss, p.predicted)):
        if math.isfinite(point.loss) and (not kept or point.predicted < kept[-1].predicted):
            kept.append(point)
    return kept


def thinned(points: Sequence[Point]) -> list[Point]:
    """At most POINTS of a front."""
    dear_last = points[::-1]
    return [dear_last[i] for i in _even([point.predicted for point in dear_last], POINTS)][::-1]


def _even(costs: Sequence[float], count: int) -> list[int]:
    """At most `count` positions in a rising sequence of positive costs, first and last among them,
    in about equal ratios of cost.
    """
    if len(costs) <= count:
        return list(range(len(costs)))
    logs = np.log(costs)
    wanted = np.linspace(logs[0], logs[-1], count)
    return sorted({int(np.abs(logs - value).argmin()) for value in wanted})
