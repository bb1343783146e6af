"""Choose a kernel and a layout for every operation, together: the cheapest sum of steps and of the
layout changes between them.

Layouts are a label on every operation, and a change costs where two neighbours differ. The labels
are improved one operation at a time from several starts until nothing gets cheaper (iterated
conditional modes; Besag 1986). On the chains with short side branches that CNNs are, that finds
the cheapest path.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from .cost import Costs, sparsity
from .cost_sparse import SPARSE_FORMATS
from .kernels.conditions import is_depthwise
from .kernels.grouped import COLUMN_GROUP
from .kernels.registry import Backend, Kernel, candidates
from .kernels.step import LAYOUTS, WORD, ArraySpec, Layout
from .lowered import Lowered, Operation, ReferenceOp, View
from .ops.fused_spec import ConvF32, ConvS8, GemmS8, Spec
from .quantized import FLOAT32, UINT8
from .records import record


@record(frozen=True, slots=True)
class Option:
    """One way to run an operation. kernel: None for views and reference operators."""

    kernel: Kernel | None
    layout: Layout
    seconds: float

    @property
    def name(self) -> str:
        return "reference" if self.kernel is None else f"{self.kernel.name} ({self.layout})"

    @property
    def is_sparse(self) -> bool:
        return self.kernel is not None and self.kernel.weight_format in SPARSE_FORMATS


FIXED = (Option(None, "nchw", 0.0),)
_seconds = attrgetter("seconds")

# Sparse kernels pay from about half of the weights being zero: not below this share, where dense
# ones compute whole groups of output channels, and sums long enough to be worth their start.
FEWEST_ZEROS = 0.25
FULL_COLUMNS, FULL_SUM = COLUMN_GROUP, 64


@record(frozen=True, slots=True)
class _Value:
    """A value between operations (-1: outside of the model, always nchw).

    same: for each layout the one of layouts_of() with the same bytes. seconds: of changing one of
    those to another. most: that changes can cost, whatever layouts its operations have.
    """

    producer: int
    consumers: tuple[int, ...]
    same: Mapping[Layout, Layout]
    seconds: Mapping[tuple[Layout, Layout], float]
    most: float

    def cost(self, layouts: Sequence[Layout]) -> float:
        """Of the layout changes between these operations, whose last one is outside. However many
        want the same layout, it is made once.
        """
        made = self.same[layouts[self.producer]]
        if len(self.consumers) == 1:  # nearly always
            layout = self.same[layouts[self.consumers[0]]]
            return 0.0 if layout == made else self.seconds[made, layout]
        wanted = {self.same[layouts[consumer]] for consumer in self.consumers}
        wanted.discard(made)
        return sum([self.seconds[made, layout] for layout in wanted]) if wanted else 0.0


@dataclass(slots=True)
class _Problem:
    """around: for each operation the values that it reads and makes. neighbours: operations that
    share one with it."""

    options: list[Sequence[Option]]
    values: Sequence[_Value]
    around: Sequence[Sequence[_Value]]
    neighbours: Sequence[set[int]]

    @property
    def open(self) -> Sequence[int]:
        """Operations that have several options."""
        return [i for i, row in enumerate(self.options) if len(row) > 1]


def layouts_of(spec: ArraySpec) -> tuple[Layout, ...]:
    """The layouts in which a value's bytes differ; the others are the same as nchw."""
    if len(spec.shape) != 4:
        return ("nchw",)
    channels, pixels = spec.shape[1], spec.shape[2] * spec.shape[3]
    found: list[Layout] = ["nchw"]
    if channels > 1 and pixels > 1:
        found.append("nhwc")
    if spec.dtype == UINT8 and (channels % WORD or pixels > 1):
        found.append("nc4hw4")
    if spec.dtype == FLOAT32:
        found.append("slab")
    return tuple(found)


def choose(
    lowered: Lowered, backend: Backend, costs: Costs, formats: Sequence[str] | None = None
) -> tuple[list[Option], list[Sequence[Option]]]:
    """The chosen option of each operation, and all that were considered.

    formats: weight formats to choose among where a layer has several; None for all.
    """
    options = [options_of(op, lowered.values, backend, costs, formats) for op in lowered.operations]
    wanted = _wanted_layouts(options)
    options = [[o for o in row if o.layout in wanted] if len(row) > 1 else row for row in options]
    settled = [_common_layout(row) for row in options]
    values = list(_values(lowered, costs, wanted, settled))
    around: list[list[_Value]] = [[] for _ in options]
    for value in values:
        for i in {value.producer, *value.consumers} - {-1}:
            around[i].append(value)
    neighbours = [{i for v in near for i in (v.producer, *v.consumers)} - {-1} for near in around]
    limits = [sum([value.most for value in near]) for near in around]
    hopeful = [_hopeful(row, limit) for row, limit in zip(options, limits, strict=True)]
    problem = _Problem(hopeful, values, around, neighbours)
    results = [_cheapest(problem)]
    sparse = {i for i, row in enumerate(hopeful) for option in row if option.is_sparse}
    if sparse:  # the best dense plan is a start, too: what comes out is never dearer than it
        dense = [*hopeful]
        for i in sparse:
            dense[i] = _hopeful(_dense(options[i]), limits[i])
        results.append(_improve(problem, _cheapest(replace(problem, options=dense))))
    return min(results, key=lambda chosen: _total(problem, chosen)), options


def _wanted_layouts(options: Sequence[Sequence[Option]]) -> Collection[Layout]:
    """The common ones, and those that a layer with weights can take: the other operators take more,
    but only to stand between such layers."""
    common: set[Layout] = {"nchw", "nhwc"}
    return common.union(
        [
            option.layout
            for row in options
            for option in row
            if option.kernel is not None and option.kernel.weight_format
        ]
    )


def _common_layout(row: Sequence[Option]) -> Layout | None:
    """The layout of all options; None where they differ."""
    first = row[0].layout
    return first if all([option.layout == first for option in row]) else None


def _hopeful(row: Sequence[Option], limit: float) -> Sequence[Option]:
    """The cheapest option of each layout, without those that another one undercuts by more than the
    `limit`: all that changes of layout around the operation can cost."""
    if len(row) == 1:
        return row
    best: dict[Layout, Option] = {}
    for option in row:
        known = best.get(option.layout)
        if known is None or option.seconds < known.seconds:
            best[option.layout] = option
    limit += min([option.seconds for option in best.values()])
    return [option for option in best.values() if option.seconds <= limit]


def _dense(row: Sequence[Option]) -> Sequence[Option]:
    if len(row) == 1:
        return row
    return [option for option in row if not option.is_sparse] or row


def _sparse_may_pay(work: Spec) -> bool:
    """Whether sparse kernels are looked at: not for weights with few zeros of layers that fill the
    dense kernels, which are some times as fast there."""
    if not isinstance(work, (ConvS8, ConvF32, GemmS8)) or sparsity(work) >= FEWEST_ZEROS:
        return True
    if isinstance(work, GemmS8):
        return work.weight.shape[0] < FULL_COLUMNS
    channels = len(work.weight)
    if is_depthwise(work):
        return channels < FULL_COLUMNS
    return channels < FULL_COLUMNS * work.groups or work.weight[0].size < FULL_SUM


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
    if formats is None:
        pays = _sparse_may_pay(work)
        wanted = [k for k in kernels if pays or k.weight_format not in SPARSE_FORMATS]
    else:
        wanted = [k for k in kernels if k.weight_format in formats]
    output = values[operation.outputs[0]].shape
    return [
        Option(kernel, layout, seconds)
        for kernel in wanted or kernels
        for layout, seconds in costs.each_layout(kernel, work, shapes, output).items()
    ]


def _values(
    lowered: Lowered,
    costs: Costs,
    wanted: Collection[Layout],
    settled: Sequence[Layout | None],
) -> Iterator[_Value]:
    """Those whose changes of layout depend on what is chosen. settled: the layout of operations
    that have only one."""
    made = {name: i for i, op in enumerate(lowered.operations) for name in op.outputs}
    read: dict[str, list[int]] = {}
    for i, op in enumerate(lowered.operations):
        for name in dict.fromkeys(op.inputs):
            read.setdefault(name, []).append(i)
    for name, spec in lowered.values.items():
        consumers = read.get(name, [])
        if name in lowered.outputs:
            consumers.append(-1)
        producer = made.get(name, -1)
        if all([i < 0 or settled[i] for i in (producer, *consumers)]):
            continue
        layouts = [layout for layout in layouts_of(spec) if layout in wanted]
        if len(layouts) == 1 or not consumers:
            continue
        seconds = costs.each_transpose(spec, layouts)
        each = max(seconds.values())
        yield _Value(
            producer,
            tuple(consumers),
            {layout: layout if layout in layouts else "nchw" for layout in LAYOUTS},
            seconds,
            each * min(len(consumers), len(layouts) - 1),
        )


def _cheapest(problem: _Problem) -> list[Option]:
    """The best of what becomes of several starts: the cheapest options, and for each layout those
    that have it, before all others."""
    rows = {i: {o.layout: o for o in problem.options[i]} for i in problem.open}
    cheapest = {i: min(row.values(), key=_seconds) for i, row in rows.items()}
    different: dict[tuple[int, ...], list[Option]] = {}
    for layout in (None, "nhwc", "nchw", "nc4hw4", "slab"):
        first = [row[0] for row in problem.options]
        for i, row in rows.items():
            first[i] = row.get(layout, cheapest[i]) if layout else cheapest[i]
        different.setdefault(tuple(map(id, first)), first)
    results = [_improve(problem, first) for first in different.values()]
    return min(results, key=lambda chosen: _total(problem, chosen))


def _improve(problem: _Problem, chosen: list[Option]) -> list[Option]:
    layouts: list[Layout] = [*[option.layout for option in chosen], "nchw"]

    def around(i: int, layout: Layout) -> float:
        layouts[i] = layout
        seconds = 0.0
        for value in problem.around[i]:
            seconds += value.cost(layouts)
        return seconds

    rows = problem.open
    waiting = set(rows)
    while waiting:
        for i in (*rows, *reversed(rows)):
            if i not in waiting:  # nothing near it changed since it was looked at
                continue
            before = best = chosen[i]
            least = before.seconds + around(i, before.layout)
            for option in problem.options[i]:
                if option is before:
                    continue
                total = option.seconds + around(i, option.layout)
                if total < least:
                    best, least = option, total
            chosen[i] = best
            layouts[i] = chosen[i].layout
            if layouts[i] != before.layout:
                waiting |= problem.neighbours[i].intersection(rows)
            waiting.discard(i)
    return chosen


def _total(problem: _Problem, chosen: Sequence[Option]) -> float:
    layouts: list[Layout] = [*[option.layout for option in chosen], "nchw"]
    changes = sum([value.cost(layouts) for value in problem.values])
    return changes + sum([option.seconds for option in chosen])
