"""Where the demo runs its models, and how it checks what comes out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from .cost import saved_costs
from .kernels.reference import from_nchw, to_nchw
from .kernels.registry import Backend, available_backends
from .kernels.step import Layout, Step
from .lower import lower
from .lowered import Operation, ReferenceOp, View
from .model import Array, Model
from .ops import fused, run
from .ops.fused_spec import ConvF32
from .ops.winograd_bound import exact_and_bound
from .plan import make_plan
from .session import Session


@dataclass(frozen=True, slots=True)
class Target:
    """A backend, for C with one of the instruction sets that this CPU runs ("" otherwise)."""

    backend: Backend
    isa: str = ""

    @property
    def name(self) -> str:
        return f"{self.backend} {self.isa}".rstrip()

    def enter(self) -> None:
        """Have the C kernels use this instruction set from now on."""
        if self.isa:
            from .kernels import native

            native.force_isa(self.isa)


@dataclass(frozen=True, slots=True)
class Check:
    text: str
    passed: bool


def available_targets() -> list[Target]:
    """All that this machine can run: the reference first, then Numba, then C, best set first."""
    found = [Target(backend) for backend in reversed(available_backends()) if backend != "c"]
    if "c" in available_backends():
        from .kernels import native

        found += [Target("c", isa) for isa in native.isas()]
    return found


@contextmanager
def same_isa_afterwards() -> Iterator[None]:
    """The C kernels' instruction set is again what it was before the block."""
    if "c" not in available_backends():
        yield
        return
    from .kernels import native

    before = native.isa()
    try:
        yield
    finally:
        native.force_isa(before)


def is_integer(session: Session, shapes: Mapping[str, Sequence[int]] | None = None) -> bool:
    """Whether every layer computes in integers, so that the outputs must be the same bits."""
    return all(step.operator != "ConvF32" for step in session.explain(shapes).steps)


def check_float(model: Model, target: Target, feeds: Mapping[str, Array]) -> Check:
    """Hold every float layer of the plan against the contract's bound, on the reference's inputs.

    Layer by layer, because the bound is one of a single sum: |kernel - float64 reference| is at
    most gamma(K + 2) (sum |x| |w| + |b|), or what `winograd_bound` computes for that kernel.
    """
    lowered = lower(model, {name: array.shape for name, array in feeds.items()})
    plan = make_plan(lowered, target.backend, 1, saved_costs(target.backend, 1))
    steps = {planned.operation: planned.step for planned in plan.steps}
    values = dict(feeds)
    worst, layers = 0.0, 0
    for i, operation in enumerate(lowered.operations):
        inputs = [values[name] for name in operation.inputs]
        if isinstance(operation.work, ConvF32):
            step, chosen = steps[i], plan.chosen[i]
            assert isinstance(step, Step)
            operator = chosen.kernel.operator if chosen.kernel else ""
            error = _error(operation.work, step, operator, chosen.layout, inputs)
            worst, layers = max(worst, error), layers + 1
        for name, array in zip(operation.outputs, _reference(operation, inputs), strict=False):
            values[name] = array
    if worst > 1:
        return Check(f"{worst:.2g} times the bound", False)
    return Check("within bound" if layers else "no float layers", bool(layers))


def _error(
    spec: ConvF32, step: Step, operator: str, layout: Layout, inputs: Sequence[Array]
) -> float:
    """The largest error of a step, in units of its bound; infinite where a value is not finite."""
    output = np.empty(step.output.shape, step.output.dtype)
    step.run([np.ascontiguousarray(from_nchw(x, layout)) for x in inputs], output)
    exact, bound = exact_and_bound(operator, spec, *inputs)
    got = to_nchw(output, layout, exact.shape)
    error = np.abs(got - exact) / np.maximum(bound, np.finfo(np.float64).tiny)
    return float(error.max()) if np.isfinite(error).all() else float("inf")


def _reference(operation: Operation, inputs: Sequence[Array]) -> Sequence[Array]:
    work = operation.work
    if isinstance(work, View):
        flat = inputs[0] if work.dtype is None else inputs[0].view(work.dtype)
        return [flat.reshape(work.shape)]
    if isinstance(work, ReferenceOp):
        rest = iter(inputs)
        arguments = [
            None if not name else work.constants[i] if i in work.constants else next(rest)
            for i, name in enumerate(work.node.inputs)
        ]
        return run(work.node, arguments, work.opset)
    return [fused.run(work, inputs)]
