"""Explain a plan: layer by layer, which kernel runs, why, and what it is expected to cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from .cost import macs_of_output, sparsity
from .integer_product import GroupedProductStep, IntegerProductStep
from .kernel_choice import Option
from .lowered import ReferenceOp, View
from .plan import LAYERS, Plan, PlannedStep
from .records import record


@record(frozen=True, slots=True)
class ExplainedStep:
    """candidates: name and expected milliseconds of every kernel that was considered."""

    label: str
    operator: str
    kernel: str
    detail: str
    layout: str
    output_shape: tuple[int, ...]
    macs: int
    sparsity: float
    weight_bytes: int
    milliseconds: float
    candidates: tuple[tuple[str, float], ...]
    note: str


@record(frozen=True, slots=True)
class Explanation:
    """str() gives a table; `to_dict` what --json prints. milliseconds: expected of all steps."""

    backend: str
    threads: int
    steps: tuple[ExplainedStep, ...]
    milliseconds: float
    weight_bytes: int
    arena_bytes: int
    live_peak_bytes: int
    scratch_bytes: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return "\n".join(_lines(self))


@record(frozen=True, slots=True)
class StepFacts:
    """What an explanation takes from a step's operation, which plans in use let go."""

    operator: str
    is_reference: bool
    macs: int
    sparsity: float


_LAYOUT_CHANGE = StepFacts("Transpose", False, 0, 0.0)


def step_facts(plan: Plan) -> list[StepFacts]:
    """Of each step. plan: with its operations."""
    return [_facts(plan, planned) for planned in plan.steps]


def _facts(plan: Plan, planned: PlannedStep) -> StepFacts:
    if planned.operation < 0:
        return _LAYOUT_CHANGE
    work = plan.lowered.operations[planned.operation].work
    if isinstance(work, ReferenceOp):
        return StepFacts(work.node.op_type, True, 0, 0.0)
    assert not isinstance(work, View)  # views are no steps
    if not isinstance(work, LAYERS):
        return StepFacts(type(work).__name__, False, 0, 0.0)
    shape = plan.lowered.values[planned.outputs[0][0]].shape
    return StepFacts(type(work).__name__, False, macs_of_output(work, shape), sparsity(work))


def explain_plan(plan: Plan, facts: Sequence[StepFacts], scratch_bytes: int) -> Explanation:
    """facts: of each of the plan's steps."""
    steps = tuple(
        _explain_step(plan, planned, known)
        for planned, known in zip(plan.steps, facts, strict=True)
    )
    return Explanation(
        plan.backend,
        plan.threads,
        steps,
        plan.seconds * 1e3,
        plan.weight_bytes,
        plan.arena.nbytes,
        plan.arena.live_peak,
        scratch_bytes,
    )


def _explain_step(plan: Plan, planned: PlannedStep, facts: StepFacts) -> ExplainedStep:
    name, layout = planned.outputs[0]
    kernel, note = "transpose", "layout change"
    considered: Sequence[Option] = ()
    if planned.operation >= 0:
        option, considered = plan.chosen[planned.operation], plan.options[planned.operation]
        kernel = _kernel(planned, option)
        note = _note(plan, planned, facts, option, considered)
    return ExplainedStep(
        label=planned.label,
        operator=facts.operator,
        kernel=kernel,
        detail=planned.step.detail,
        layout=layout,
        output_shape=plan.lowered.values[name].shape,
        macs=facts.macs,
        sparsity=facts.sparsity,
        weight_bytes=planned.step.weight_bytes,
        milliseconds=planned.seconds * 1e3,
        candidates=tuple((o.name, o.seconds * 1e3) for o in considered),
        note=note,
    )


def _kernel(planned: PlannedStep, option: Option) -> str:
    if isinstance(planned.step, (IntegerProductStep, GroupedProductStep)):
        return planned.step.kernel
    return "reference" if option.kernel is None else option.kernel.name


def _note(
    plan: Plan,
    planned: PlannedStep,
    facts: StepFacts,
    option: Option,
    considered: Sequence[Option],
) -> str:
    noted = plan.lowered.notes.get(planned.label, "")
    if noted:
        return noted
    if isinstance(planned.step, (IntegerProductStep, GroupedProductStep)):
        return planned.step.note
    if facts.is_reference:
        return "no kernel for this operator: its reference runs"
    others = [o for o in considered if o is not option]
    if not others:
        return "the only kernel"
    costs = ", ".join(f"{o.name} {o.seconds * 1e3:.4f} ms" for o in others)
    if option.seconds <= min(o.seconds for o in others):
        return f"cheapest; others: {costs}"
    return f"cheapest together with the layout changes around it; others: {costs}"


def _lines(explanation: Explanation) -> Iterator[str]:
    header = ("layer", "operator", "kernel", "output", "MMAC", "zeros", "weights", "ms", "why")
    rows = [header]
    for step in explanation.steps:
        kernel = step.kernel if not step.detail else f"{step.kernel} [{step.detail}]"
        rows.append(
            (
                step.label,
                step.operator,
                kernel,
                "x".join(map(str, step.output_shape)) + f" {step.layout}",
                f"{step.macs / 1e6:.2f}" if step.macs else "",
                f"{step.sparsity:.0%}" if step.macs else "",
                f"{step.weight_bytes}" if step.weight_bytes else "",
                f"{step.milliseconds:.4f}",
                step.note,
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield (
        f"backend {explanation.backend}, {explanation.threads} threads; expected "
        f"{explanation.milliseconds:.3f} ms; packed weights "
        f"{explanation.weight_bytes} bytes, arena {explanation.arena_bytes} bytes (live values "
        f"peak at {explanation.live_peak_bytes}), scratch {explanation.scratch_bytes} bytes"
    )
