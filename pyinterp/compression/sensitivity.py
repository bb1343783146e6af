"""How much the network's answers suffer from each layer's pruning, measured one layer at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

import numpy as np

from ..evaluation import log_probabilities
from ..model import Array, Model
from .layerwise import LayerRepair, prior_of, repaired_layer
from .observed import Observed, passed_on
from .spool import Spool
from .submodel import Runner, stages

MEASURED = 32  # images, spread evenly over all: the order of the layers needs no more


def divergences(
    model: Model,
    trials: Mapping[str, Sequence[LayerRepair]],
    images: Spool,
    on_layer: Callable[[str], None] | None = None,
) -> dict[str, list[float]]:
    """Label of a layer -> how far the outputs move when this layer alone is pruned and repaired in
    each of the ways given for it.

    Distances are mean Kullback-Leibler divergences from the original answers where an output is
    class scores [N, classes], else squared errors in units of the output's mean square. Layers are
    repaired by images other than those that are measured: layers of many weights fit the images
    that they are repaired by far better than any others.
    """
    outputs = [info.name for info in model.outputs]
    found = stages(model, trials.keys())
    measured: dict[str, list[float]] = {}
    with ExitStack() as opened:
        fitted, current = map(opened.enter_context, halves(images))
        for number, stage in enumerate(found):
            wanted = answers(Runner(model, stage.starts, outputs), current)
            for node in stage.nodes:
                if node.label in trials:
                    observed = Observed(model, model, stage, node, fitted, fitted)
                    moments = observed.moments(trials[node.label][0].fit)
                    measured[node.label] = []
                    for repair in trials[node.label]:
                        changed = repaired_layer(model, node, repair, moments, prior_of(observed))
                        got = answers(Runner(changed, stage.starts, outputs), current)
                        mean = sum(map(distance, wanted, got)) / len(wanted)
                        measured[node.label].append(mean)
                    if on_layer is not None:
                        on_layer(node.label)
            if number + 1 < len(found):
                starts = {name: name for name in found[number + 1].starts}
                fitted, current = (
                    opened.enter_context(passed_on(model, stage, starts, spool))
                    for spool in (fitted, current)
                )
    return measured


def sampled(images: Spool, most: int = MEASURED) -> Spool:
    """At most so many of the rows."""
    return _rows(images, _spread(min(most, len(images)), len(images)))


def halves(images: Spool) -> tuple[Spool, Spool]:
    """Rows to repair by, and at most MEASURED others to measure on, at most half of all. A single
    row serves for both.
    """
    measured = _spread(min(MEASURED, max(1, len(images) // 2)), len(images))
    rest = set(range(len(images))) - measured
    return _rows(images, rest or measured), _rows(images, measured)


def _spread(count: int, size: int) -> set[int]:
    return {i * size // count for i in range(count)}


def _rows(images: Spool, chosen: set[int]) -> Spool:
    rows = Spool()
    for number, feeds in enumerate(images):
        if number in chosen:
            rows.append(feeds)
    return rows


def answers(runner: Runner, images: Spool) -> list[list[Array]]:
    return [list(runner.run(values).values()) for values in images]


def distance(wanted: list[Array], got: list[Array]) -> float:
    total = 0.0
    for before, after in zip(wanted, got, strict=True):
        if before.ndim == 2 and before.shape[1] > 1:
            p, q = log_probabilities(before), log_probabilities(after)
            terms = np.where(p == -np.inf, 0.0, np.exp(p) * (p - q))
            total += float(terms.sum()) / len(before)
        else:
            wide = before.astype(np.float64)
            square = float(np.square(wide).mean())
            total += float(np.square(wide - after).mean()) / (square if square > 0 else 1.0)
    return total
