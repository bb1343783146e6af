"""Runs a plan: native steps together in one C call, the others one by one from Python.

Any number of threads may run one executor: each run borrows memory of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .explain import Explanation, explain_plan, step_facts
from .kernels import memory
from .kernels.step import Array, Step
from .plan import Place, Plan, PlannedStep

if TYPE_CHECKING:
    from .kernels.native import Program


@dataclass(slots=True)
class _Memory:
    """What one run needs besides its inputs and outputs.

    pointers, scratch: for C, where the arena, inputs and outputs lie (of inputs and outputs, those
    of the run), and scratch memory; else None. keep: the array behind `scratch`.
    """

    arena: Array
    pointers: Any = None
    scratch: Any = None
    keep: Array | None = None


@dataclass(slots=True)
class Segment:
    """Neighbouring steps that run together. program: None where Python runs the single step."""

    steps: Sequence[PlannedStep]
    program: Program | None


def _view(place: Place, blocks: Sequence[Array]) -> Array:
    block = blocks[place.slot].reshape(-1).view(np.uint8)
    part = block[place.offset : place.offset + place.spec.nbytes]
    return part.view(place.spec.dtype).reshape(place.spec.shape)


class Executor:
    def __init__(self, plan: Plan) -> None:
        self.segments = _segments(plan)
        scratch = [s.program.scratch_bytes for s in self.segments if s.program is not None]
        self.scratch_bytes = max(scratch, default=0)
        self._facts = step_facts(plan)
        self.plan = plan.without_weights()
        if plan.backend == "c":
            from .kernels.native import point_to

            self._point_to = point_to
        self._free: list[_Memory] = []  # append and pop are atomic
        values, self._constants = plan.lowered.values, plan.lowered.constants
        made = [values[name] for name in plan.lowered.outputs if name not in self._constants]
        self._made = [(spec.shape, spec.dtype) for spec in made]

    @cached_property
    def explanation(self) -> Explanation:
        return explain_plan(self.plan, self._facts, self.scratch_bytes)

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """inputs: C-contiguous, in the plan's order, shapes and dtypes. Returns the outputs."""
        return self._run(inputs, self._run_segment)

    def profile(self, inputs: Sequence[Array]) -> list[float]:
        """Run once; the seconds that each of the plan's steps took."""
        seconds: list[float] = []
        self._run(inputs, lambda *run: seconds.extend(_timed_segment(*run)))
        return seconds

    def _run(
        self,
        inputs: Sequence[Array],
        run: Callable[[Plan, Segment, Sequence[Array], _Memory], None],
    ) -> list[Array]:
        made = [np.empty(shape, dtype) for shape, dtype in self._made]
        memory = self._borrow(inputs, made)
        blocks = [memory.arena, *inputs, *made]
        try:
            for segment in self.segments:
                run(self.plan, segment, blocks, memory)
            for i, key in self.plan.copies.items():
                made[i][...] = _view(self.plan.places[key], blocks)
        finally:
            self._free.append(memory)
        if not self._constants:
            return made
        rest, constants = iter(made), self._constants
        return [
            constants[n].copy() if n in constants else next(rest) for n in self.plan.lowered.outputs
        ]

    def _borrow(self, inputs: Sequence[Array], made: Sequence[Array]) -> _Memory:
        """Memory for a run with these inputs and outputs."""
        try:
            memory = self._free.pop()
        except IndexError:
            return self._new_memory(inputs, made)
        if memory.pointers is not None:
            self._point_to(memory.pointers, 1, inputs)
            self._point_to(memory.pointers, 1 + len(inputs), made)
        return memory

    def _new_memory(self, inputs: Sequence[Array], made: Sequence[Array]) -> _Memory:
        if self.plan.backend != "c":
            return _Memory(np.empty(self.plan.arena.nbytes, np.uint8))
        from .kernels import native

        arena = memory.empty(self.plan.arena.nbytes)
        scratch = memory.empty(self.scratch_bytes, self.scratch_bytes // 2)
        pointers = native.block_pointers([arena, *inputs, *made])
        return _Memory(arena, pointers, native.pointer(scratch), scratch)

    @staticmethod
    def _run_segment(
        plan: Plan, segment: Segment, blocks: Sequence[Array], memory: _Memory
    ) -> None:
        if segment.program is not None:
            segment.program.run(memory.pointers, memory.scratch)
            return
        _run_in_python(plan, segment.steps[0], blocks)


def _run_in_python(plan: Plan, planned: PlannedStep, blocks: Sequence[Array]) -> None:
    inputs = [_view(plan.places[key], blocks) for key in planned.inputs]
    outputs = [_view(plan.places[key], blocks) for key in planned.outputs]
    if isinstance(planned.step, Step):
        # a value of one pixel or one channel has one key, whichever layout a step has it in
        specs = planned.step.inputs
        shaped = [a.reshape(spec.shape) for a, spec in zip(inputs, specs, strict=True)]
        planned.step.execute(shaped, outputs[0].reshape(planned.step.output.shape))
    else:
        planned.step.execute(inputs, outputs)


def _timed_segment(
    plan: Plan, segment: Segment, blocks: Sequence[Array], memory: _Memory
) -> list[float]:
    if segment.program is not None:
        return segment.program.run_timed(memory.pointers, memory.scratch)
    from time import perf_counter

    start = perf_counter()
    _run_in_python(plan, segment.steps[0], blocks)
    return [perf_counter() - start]


def _segments(plan: Plan) -> list[Segment]:
    if plan.backend != "c":
        return [Segment((planned,), None) for planned in plan.steps]
    from .kernels.native import NativeStep

    found: list[Segment] = []
    run: list[PlannedStep] = []
    for planned in plan.steps:
        if isinstance(planned.step, NativeStep):
            run.append(planned)
            continue
        if run:
            found.append(_native_segment(plan, run))
            run = []
        found.append(Segment((planned,), None))
    if run:
        found.append(_native_segment(plan, run))
    return found


def _native_segment(plan: Plan, run: Sequence[PlannedStep]) -> Segment:
    from .kernels.native import NativeStep, Program

    steps = [planned.step for planned in run if isinstance(planned.step, NativeStep)]
    places = [plan.places[key] for planned in run for key in (*planned.inputs, *planned.outputs)]
    return Segment(tuple(run), Program(steps, [(place.slot, place.offset) for place in places]))
