"""How many groups of weights each layer loses, so that all together reach the sparsity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..model import Node
from .granularity import F64, Granularity, smallest

SCOPES = ("global", "layer", "erdos_renyi")


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
