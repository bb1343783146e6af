"""The Pareto front of a search, as a table."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ...console import print_table
from ...model import Model
from ..recipe import Recipe
from .costs import Target
from .space import Configuration
from .verify import Verified


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a search came to.

    model, score, cost: of the result. recipe: that made it; None for the model as it stands.
    baseline, float_cost: of the model as it stands. verified: all configurations that were
    applied, from dear to cheap, with every layer in plain integers (`integers`) among them. Costs
    are seconds of one image as planned, or bytes of weights in the file.
    """

    model: Model
    recipe: Recipe | None
    score: float
    cost: float
    target: Target
    max_drop: float
    baseline: float
    float_cost: float
    integers: Verified
    verified: tuple[Verified, ...]
    best: Verified | None


def front_table(found: Found) -> tuple[list[str], list[list[str]]]:
    """Columns and rows; the result is marked."""
    cost = ">expected µs" if found.target == "latency" else ">weight bytes"
    columns = ["", "layers", cost, ">of float", ">loss", ">score", ">drop", "holds"]
    as_it_stands = ["" if found.best else "result", "float", *_costs(found, found.float_cost)]
    rows = [[*as_it_stands, "0", f"{found.baseline:.4f}", "0.0000", "yes"]]
    for verified in found.verified:
        mark = "result" if verified is found.best else ""
        if verified is found.integers:
            mark = f"{mark} (int8)".strip()
        rows.append(
            [
                mark,
                described(verified.point.configuration),
                *_costs(found, verified.cost),
                f"{verified.point.loss:.3g}",
                f"{verified.score:.4f}",
                f"{verified.drop:.4f}",
                "yes" if verified.holds else "no",
            ]
        )
    return columns, rows


def print_front(found: Found) -> None:
    """On stdout; with rich where it is installed."""
    title = f"Pareto front: {found.target}, drop of at most {found.max_drop:g}"
    print_table(*front_table(found), title)


def described(configuration: Configuration) -> str:
    """E.g. "8 int8, 2 int4; 7 pruned 30-88 % (element)"."""
    choices = configuration.choices.values()
    widths = Counter(choice.weight_bits or 32 for choice in choices)
    text = ", ".join(
        f"{count} {'float' if bits == 32 else f'int{bits}'}"
        for bits, count in sorted(widths.items(), reverse=True)
    )
    shares = [choice.sparsity for choice in choices if choice.sparsity]
    if not shares:
        return text
    low, high = min(shares), max(shares)
    span = f"{100 * low:.0f}" if low == high else f"{100 * low:.0f}-{100 * high:.0f}"
    return f"{text}; {len(shares)} pruned {span} % ({configuration.granularity})"


def _costs(found: Found, cost: float) -> list[str]:
    text = f"{cost * 1e6:,.1f}" if found.target == "latency" else f"{cost:,.0f}"
    return [text, f"{cost / found.float_cost:.1%}"]
