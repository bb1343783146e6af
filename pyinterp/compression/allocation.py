"""How many groups of weights each layer loses, so that all together reach the sparsity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..model import Node
from .granularity import F64, Granularity, smallest

SCOPES = ("global", "layer", "erdos_renyi", "loss")


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A weight to prune. name: of the weight. node: the first layer that reads it.

    shape: [O, I, kernel...], whatever the node's own form. own: a sparsity given for this layer
    alone.
    """

    name: str
    node: Node
    shape: tuple[int, ...]
    own: float | None = None

    @property
    def groups(self) -> int:
        """Of the convolution; 1 for matrices."""
        return int(self.node.attributes.get("group", 1))  # type: ignore[arg-type]

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


def shares_alone(targets: list[Target], sparsity: float, scope: str) -> dict[str, float]:
    """Name of a weight -> its sparsity, of those whose sparsity others have no part in."""
    alone = {t.name: t.own for t in targets if t.own is not None}
    rest = [t for t in targets if t.own is None]
    if scope == "layer":
        alone |= {t.name: sparsity for t in rest}
    elif scope == "erdos_renyi":
        alone |= erdos_renyi(rest, sparsity)
    return alone


def erdos_renyi(targets: list[Target], sparsity: float) -> dict[str, float]:
    """Sparsities with densities in proportion to `(O + I + KH + KW) / (O I KH KW)`.

    Large layers lose more. Layers that would have a density above 1 stay dense. Source: Evci et
    al., 2020, arXiv:1911.11134, section 3 (Erdos-Renyi-Kernel).
    """
    raw = {t.name: sum(t.shape) / t.size for t in targets}
    dense: set[str] = set()
    while True:
        rest = [t for t in targets if t.name not in dense]
        kept = (1 - sparsity) * sum(t.size for t in targets)
        kept -= sum(t.size for t in targets if t.name in dense)
        factor = kept / max(1e-300, sum(raw[t.name] * t.size for t in rest))
        above = {t.name for t in rest if factor * raw[t.name] > 1}
        if not above:
            break
        dense |= above
    return {t.name: 0.0 if t.name in dense else 1 - max(0.0, factor) * raw[t.name] for t in targets}


def removed_groups(
    targets: list[Target],
    granularity: Granularity,
    values: Mapping[str, F64],
    alone: Mapping[str, float],
    sparsity: float,
) -> dict[str, int]:
    """Name of a weight -> the number of groups that it loses.

    values: what each weight is worth, by name; those without a sparsity of their own are ranked
    together, and `round(sparsity * groups)` of them go.
    """
    scores = {
        t.name: granularity.scores(values[t.name], granularity.groups(t.shape, t.groups))
        for t in targets
    }
    counts = {name: round(share * scores[name].size) for name, share in alone.items()}
    ranked = [name for name in scores if name not in alone]
    if ranked:
        together = np.concatenate([scores[name] for name in ranked])
        owner = np.repeat(np.arange(len(ranked)), [scores[name].size for name in ranked])
        gone = smallest(together, round(sparsity * together.size))
        lost = np.bincount(owner[gone], minlength=len(ranked))
        counts |= {name: int(count) for name, count in zip(ranked, lost, strict=True)}
    return counts


def trial_sparsities(sparsity: float) -> list[float]:
    """Sparsities to measure a layer's loss at: around the one of all layers together, in equal
    ratios of what is kept, and 1.
    """
    kept = [(1 - sparsity) * 2 ** (step / 2) for step in range(3, -5, -1)]
    return [1 - share for share in kept if 0 < share < 1] + [1.0]


def least_loss(
    sizes: Mapping[str, int],
    removed: Mapping[str, list[int]],
    losses: Mapping[str, list[float]],
    total: int,
) -> dict[str, int]:
    """Groups that each layer loses, `total` in all, so that the sum of the losses is least.

    sizes: groups of each layer, by name. removed, losses: points measured of each layer, in
    ascending order of removed. Between the points of the lower convex hull a loss is taken to be
    linear, which makes it optimal to spend on the flattest pieces first.
    """
    pieces: list[tuple[float, int, str, int]] = []  # slope, place in the layer, layer, groups
    for name in sizes:
        points = _hull([(0, 0.0), *zip(removed[name], losses[name], strict=True)])
        for place, ((n, a), (m, b)) in enumerate(pairwise(points)):
            pieces.append(((b - a) / (m - n), place, name, m - n))
    counts, left = dict.fromkeys(sizes, 0), total
    order = {name: place for place, name in enumerate(sizes)}
    for _, _, name, groups in sorted(pieces, key=lambda p: (p[0], order[p[2]], p[1])):
        taken = min(groups, left)
        counts[name] += taken
        left -= taken
    return counts


def _hull(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """The lower convex hull of points in ascending order of their first coordinate."""
    hull: list[tuple[int, float]] = []
    for n, loss in points:
        if hull and n == hull[-1][0]:
            continue
        while len(hull) > 1:
            (a, low), (b, high) = hull[-2:]
            if (high - low) * (n - b) < (loss - high) * (b - a):
                break
            hull.pop()
        hull.append((n, loss))
    return hull
