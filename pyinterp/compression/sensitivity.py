"""How much the network's answers suffer from each layer's pruning, measured one layer at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..evaluation import log_probabilities
from ..model import Array, Model
from .layerwise import LayerRepair, observed_moments, passed_on, repaired_layer
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
    class scores [N, classes], else squared errors in units of the output's mean square.
    """
    outputs = [info.name for info in model.outputs]
    found = stages(model, trials.keys())
    measured: dict[str, list[float]] = {}
    current, opened = sampled(images), []
    try:
        for number, stage in enumerate(found):
            opened.append(current)
            wanted = answers(Runner(model, stage.starts, outputs), current)
            for node in stage.nodes:
                if node.label in trials:
                    first = trials[node.label][0]
                    moments = observed_moments(model, model, stage, node, first, current, current)
                    measured[node.label] = []
                    for repair in trials[node.label]:
                        changed = repaired_layer(model, node, repair, moments)
                        got = answers(Runner(changed, stage.starts, outputs), current)
                        mean = sum(map(distance, wanted, got)) / len(wanted)
                        measured[node.label].append(mean)
                    if on_layer is not None:
                        on_layer(node.label)
            if number + 1 < len(found):
                current = passed_on(model, stage, found[number + 1].starts, current)
    finally:
        for spool in (*opened, current):
            spool.close()
    return measured


def sampled(images: Spool) -> Spool:
    """At most MEASURED of the rows."""
    count = min(MEASURED, len(images))
    chosen = {i * len(images) // count for i in range(count)}
    sample = Spool()
    for number, feeds in enumerate(images):
        if number in chosen:
            sample.append(feeds)
    return sample


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
