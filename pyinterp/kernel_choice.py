"""Choose a kernel and a layout for every operation, together: the cheapest sum of steps and of the
layout changes between them.

Layouts are a label on every operation, and a change costs where two neighbours differ. The labels
are improved one operation at a time from several starts until nothing gets cheaper (iterated
conditional modes; Besag 1986). On the chains with short side branches that CNNs are, that finds
the cheapest path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np

from .cost import Costs
from .kernels.registry import Backend, Kernel, candidates
from .kernels.step import WORD, ArraySpec, Layout
from .lowered import Lowered, Operation, ReferenceOp, View


@dataclass(frozen=True, slots=True)
class Option:
    """One way to run an operation. kernel: None for views and reference operators."""

    kernel: Kernel | None
    layout: Layout
    seconds: float

    @property
    def name(self) -> str:
        return "reference" if self.kernel is None else f"{self.kernel.name} ({self.layout})"


FIXED = (Option(None, "nchw", 0.0),)


@dataclass(slots=True)
class Edge:
    """A value between two operations (-1: the model's input or output, always nchw)."""

    producer: int
    consumer: int
    seconds: Mapping[tuple[Layout, Layout], float]  # of changing its layout; 0 where not listed


@dataclass(slots=True)
class _Problem:
    options: list[Sequence[Option]]
    edges: list[list[Edge]] = field(default_factory=list)  # of each operation, both directions


def layouts_of(spec: ArraySpec) -> tuple[Layout, ...]:
    """The layouts in which a value's bytes differ; the others are the same as nchw."""
    if len(spec.shape) != 4:
        return ("nchw",)
    channels, pixels = spec.shape[1], spec.shape[2] * spec.shape[3]
    found: list[Layout] = ["nchw"]
    if channels > 1 and pixels > 1:
        found.append("nhwc")
    if spec.dtype == np.uint8 and (channels % WORD or pixels > 1):
        found.append("nc4hw4")
    return tuple(found)


def choose(
    lowered: Lowered, backend: Backend, costs: Costs, formats: Sequence[str] | None = None
) -> tuple[list[Option], list[Sequence[Option]]]:
    """The chosen option of each operation, and all that were considered.

    formats: weight formats to choose among where a layer has several; None for all.
    """
    options = [options_of(op, lowered.values, backend, costs, formats) for op in lowered.operations]
    problem = _Problem(options, _edges(lowered, costs))
    # the best dense plan is a start, too: what comes out is never dearer than it
    dense = _Problem([_dense(row) for row in options], problem.edges)
    results = [_cheapest(problem), _improve(problem, _cheapest(dense))]
    return min(results, key=lambda chosen: _total(problem, chosen)), options


def _dense(row: Sequence[Option]) -> Sequence[Option]:
    formats = ("", "dense_s8", "dense_s16", "dense_f32")
    return [o for o in row if o.kernel is None or o.kernel.weight_format in formats] or row


def options_of(
    operation: Operation,
    values: Mapping[str, ArraySpec],
    backend: Backend,
    costs: Costs,
    formats: Sequence[str] | None = None,
) -> Sequence[Option]:
    """Every way to run an operation, with its cost."""
    work = operation.work
    if isinstance(work, (View, ReferenceOp)):
        return FIXED
    shapes = [values[name].shape for name in operation.inputs]
    kernels = list(candidates(work, backend)) or list(candidates(work, "numpy"))
    wanted = [k for k in kernels if formats is None or k.weight_format in formats]
    return [
        Option(kernel, layout, costs.step(kernel, work, shapes, layout))
        for kernel in wanted or kernels
        for layout in kernel.layouts
    ]


def _edges(lowered: Lowered, costs: Costs) -> list[list[Edge]]:
    made = {name: i for i, op in enumerate(lowered.operations) for name in op.outputs}
    found: list[list[Edge]] = [[] for _ in lowered.operations]

    def add(name: str, consumer: int) -> None:
        spec = lowered.values[name]
        layouts = layouts_of(spec)
        if len(layouts) == 1:
            return
        seconds = {
            (before, after): costs.transpose(spec, before, after)
            for before, after in permutations(layouts, 2)
        }
        others: tuple[Layout, ...] = ("nhwc", "nc4hw4")
        for same in others:  # a layout of the same bytes as nchw costs as much
            if same not in layouts:
                seconds |= {(same, b): s for (a, b), s in seconds.items() if a == "nchw"}
                seconds |= {(a, same): s for (a, b), s in seconds.items() if b == "nchw"}
        edge = Edge(made.get(name, -1), consumer, seconds)
        for end in {edge.producer, consumer} - {-1}:
            found[end].append(edge)

    for i, operation in enumerate(lowered.operations):
        for name in operation.inputs:
            add(name, i)
    for name in lowered.outputs:
        if name in made:
            add(name, -1)
    return found


def _edge_cost(edge: Edge, layouts: Sequence[Layout], changed: int, layout: Layout) -> float:
    before, after = (
        "nchw" if end < 0 else layout if end == changed else layouts[end]
        for end in (edge.producer, edge.consumer)
    )
    return edge.seconds.get((before, after), 0.0)


def _cheapest(problem: _Problem) -> list[Option]:
    starts: tuple[Callable[[Option], float], ...] = (
        lambda o: o.seconds,
        lambda o: o.seconds + (o.layout != "nhwc"),
        lambda o: o.seconds + (o.layout != "nchw"),
        lambda o: o.seconds + (o.layout != "nc4hw4"),
    )
    results = [
        _improve(problem, [min(row, key=start) for row in problem.options]) for start in starts
    ]
    return min(results, key=lambda chosen: _total(problem, chosen))


def _improve(problem: _Problem, chosen: list[Option]) -> list[Option]:
    layouts = [option.layout for option in chosen]

    def cost(i: int, option: Option) -> float:
        around = (_edge_cost(edge, layouts, i, option.layout) for edge in problem.edges[i])
        return option.seconds + sum(around)

    changed = True
    while changed:
        changed = False
        for i in (*range(len(chosen)), *reversed(range(len(chosen)))):
            best = min(problem.options[i], key=lambda option, i=i: cost(i, option))  # type: ignore[misc]
            if cost(i, best) < cost(i, chosen[i]):
                chosen[i], layouts[i], changed = best, best.layout, True
    return chosen


def _total(problem: _Problem, chosen: Sequence[Option]) -> float:
    layouts = [option.layout for option in chosen]
    total = sum(option.seconds for option in chosen)
    for i, edges in enumerate(problem.edges):
        # an edge stands in the lists of both its ends: count it at its consumer, or, for an output
        # of the model, at its producer
        own = (e for e in edges if e.consumer == i or e.consumer == -1)
        total += sum(_edge_cost(edge, layouts, -2, "nchw") for edge in own)
    return total
