"""A plan: the steps of a lowered model on this machine, their kernels, and where values lie.

Weights are packed while the plan is made, and only the packed form is kept. A value is known by its
name and its layout; views share the place of what they view.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from . import ops
from .arena import Interval, place
from .arena import Layout as ArenaLayout
from .cost import Costs
from .errors import ModelError
from .integer_product import GroupedProductStep, IntegerProductStep, integer_product
from .kernel_choice import Option, choose, layouts_of
from .kernels import memory
from .kernels.reference import TransposeStep
from .kernels.registry import Backend
from .kernels.step import Array, ArraySpec, Layout, Step, in_layout
from .lowered import Lowered, Operation, ReferenceOp, View
from .ops.fused_spec import ConvF32, ConvS8, DynamicConv, GemmS8
from .records import record

LAYERS = (ConvS8, GemmS8, ConvF32, DynamicConv)
PARAMETER_BYTES = 2**15  # of a small model: what its kernels keep besides packed weights

Key = tuple[str, Layout]  # a value in one layout


class ReferenceOpStep:
    """A step that runs an ONNX operator's reference; it may have several outputs."""

    detail = "NumPy reference"
    weight_bytes = 0

    def __init__(self, work: ReferenceOp) -> None:
        # copies, since the arrays of a model may be parts of one block, its whole file
        constants = {i: array.copy() for i, array in work.constants.items()}
        self._work = replace(work, constants=constants)
        self.weight_bytes = sum(array.nbytes for array in constants.values())

    def execute(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
        rest = iter(inputs)
        node, constants = self._work.node, self._work.constants
        arguments = [
            None if not name else constants[i] if i in constants else next(rest)
            for i, name in enumerate(node.inputs)
        ]
        results = ops.run(node, arguments, self._work.opset)
        for output, result in zip(outputs, results, strict=False):
            if output.shape != result.shape or output.dtype != result.dtype:
                raise ModelError(
                    f"{node.op_type} {node.label!r}: expected {output.dtype}{list(output.shape)}, "
                    f"got {result.dtype}{list(result.shape)}: its shape depends on values"
                )
            output[...] = result


PythonStep: TypeAlias = ReferenceOpStep | IntegerProductStep | GroupedProductStep


@record(frozen=True, slots=True)
class PlannedStep:
    """operation: index into Lowered.operations, or -1 for a change of layout. seconds: expected."""

    label: str
    step: Step | PythonStep
    inputs: tuple[Key, ...]
    outputs: tuple[Key, ...]
    operation: int
    seconds: float


@record(frozen=True, slots=True)
class Place:
    """slot 0 is the arena; then come the model's inputs, then its outputs."""

    slot: int
    offset: int
    spec: ArraySpec


@record(frozen=True, slots=True, eq=False)
class Plan:
    """copies: outputs that are another value's bytes, copied at the end: output index -> key."""

    lowered: Lowered
    backend: Backend
    threads: int
    steps: tuple[PlannedStep, ...]
    places: Mapping[Key, Place]
    arena: ArenaLayout[Key]
    copies: Mapping[int, Key]
    chosen: Sequence[Option]
    options: Sequence[Sequence[Option]]

    def without_weights(self) -> Plan:
        """What running and explaining need: the packed steps, and the options that there were,
        without the operations that they were made from."""
        return replace(self, lowered=replace(self.lowered, operations=()))

    @property
    def seconds(self) -> float:
        """Expected for one run."""
        return sum(planned.seconds for planned in self.steps)

    @property
    def weight_bytes(self) -> int:
        return sum(planned.step.weight_bytes for planned in self.steps)


def make_plan(
    lowered: Lowered,
    backend: Backend,
    threads: int,
    costs: Costs,
    formats: Sequence[str] | None = None,
) -> Plan:
    """Choose kernels, pack weights, insert layout changes and place every value."""
    chosen, options = choose(lowered, backend, costs, formats)
    weights = [op.work.weight.nbytes for op in lowered.operations if isinstance(op.work, LAYERS)]
    # room for the windows of a last large layer, which need half of it in the end
    with memory.pooled(sum(weights), 2 * max(weights, default=0) + PARAMETER_BYTES):
        return _Planner(lowered, backend, threads, costs, chosen, options).run()


def transpose_step(
    spec: ArraySpec, before: Layout, after: Layout, backend: Backend, threads: int
) -> Step:
    """A step that changes the layout of an activation, given in its logical (NCHW) shape."""
    if backend != "c":
        return TransposeStep(spec.shape, before, after, spec.dtype)
    native = importlib.import_module("sparing.kernels.native_elementwise")
    step: Step = native.transpose(spec.shape, before, after, spec.dtype, threads)
    return step


class _Planner:
    def __init__(
        self,
        lowered: Lowered,
        backend: Backend,
        threads: int,
        costs: Costs,
        chosen: Sequence[Option],
        options: Sequence[Sequence[Option]],
    ) -> None:
        self.lowered, self.backend, self.threads, self.costs = lowered, backend, threads, costs
        self.chosen, self.options = chosen, options
        self.steps: list[PlannedStep] = []
        self.specs: dict[Key, ArraySpec] = {}
        self.layout: dict[str, Layout] = {}  # the layout a value was first made in
        self.root: dict[Key, Key] = {}  # a view's key -> the key whose bytes it shares

    def run(self) -> Plan:
        for name in self.lowered.inputs:
            self._define(name, "nchw")
        for i, operation in enumerate(self.lowered.operations):
            self._add(i, operation)
        finals = [
            self._key(name, "nchw")
            for name in self.lowered.outputs
            if name not in self.lowered.constants
        ]
        fixed, copies = self._fixed_places(finals)
        arena = place(self._intervals(fixed))
        places = dict(fixed)
        for key, offset in arena.offsets.items():
            places[key] = Place(0, offset, self.specs[key])
        for key, root in self.root.items():
            home = places[root]
            places[key] = Place(home.slot, home.offset, self.specs[key])
        return Plan(
            self.lowered,
            self.backend,
            self.threads,
            tuple(self.steps),
            places,
            arena,
            copies,
            self.chosen,
            self.options,
        )

    def _normal(self, name: str, layout: Layout) -> Key:
        if layout == "nchw" or layout in layouts_of(self.lowered.values[name]):
            return name, layout
        return name, "nchw"

    def _define(self, name: str, layout: Layout) -> Key:
        key = self._normal(name, layout)
        spec = self.lowered.values[name]
        self.layout[name] = key[1]
        self.specs[key] = ArraySpec(in_layout(spec.shape, key[1]), spec.dtype)
        return key

    def _key(self, name: str, layout: Layout) -> Key:
        """The value in the wanted layout, changing it where it is not there yet."""
        key = self._normal(name, layout)
        if key not in self.specs:
            made = self.layout[name]
            spec = self.lowered.values[name]
            step = transpose_step(spec, made, layout, self.backend, self.threads)
            self.specs[key] = step.output
            seconds = self.costs.transpose(spec, made, layout)
            ends = ((name, made),), (key,)
            self.steps.append(PlannedStep(f"{name} to {layout}", step, *ends, -1, seconds))
        return key

    def _add(self, i: int, operation: Operation) -> None:
        option = self.chosen[i]
        inputs = tuple([self._key(name, option.layout) for name in operation.inputs])
        work = operation.work
        if isinstance(work, View):
            key = self._define(operation.outputs[0], "nchw")
            self.root[key] = self.root.get(inputs[0], inputs[0])
            return
        named = [name for name in operation.outputs if name in self.lowered.values]
        outputs = tuple([self._define(name, option.layout) for name in named])
        step: Step | PythonStep
        if isinstance(work, ReferenceOp):
            product = integer_product(
                work, self.lowered.values, operation.inputs, self.backend, self.threads
            )
            step = product or ReferenceOpStep(work)
        else:
            assert option.kernel is not None
            shapes = [self.lowered.values[name].shape for name in operation.inputs]
            step = option.kernel.prepare(work, shapes, option.layout, self.threads)
        self.steps.append(PlannedStep(operation.label, step, inputs, outputs, i, option.seconds))

    def _fixed_places(self, finals: Sequence[Key]) -> tuple[dict[Key, Place], dict[int, Key]]:
        """Places of the model's inputs and outputs, and the outputs that have to be copied."""
        fixed: dict[Key, Place] = {}
        for slot, name in enumerate(self.lowered.inputs, start=1):
            key: Key = (name, "nchw")
            fixed[key] = Place(slot, 0, self.specs[key])
        copies: dict[int, Key] = {}
        for i, key in enumerate(finals):
            root = self.root.get(key, key)
            if root in fixed:
                copies[i] = key
            else:
                slot = 1 + len(self.lowered.inputs) + i
                fixed[root] = Place(slot, 0, self.specs[root])
        return fixed, copies

    def _intervals(self, fixed: Mapping[Key, Place]) -> dict[Key, Interval]:
        """Lifetimes of the values that live in the arena."""
        first: dict[Key, int] = {}
        last: dict[Key, int] = {}
        for i, planned in enumerate(self.steps):
            for key in planned.outputs:
                first[key] = last[key] = i
            for key in planned.inputs:
                last[self.root.get(key, key)] = i
        for planned in self.steps:  # a copied output is read after the last step
            for key in planned.outputs:
                if key[0] in self.lowered.outputs:
                    last[key] = len(self.steps)
        return {
            key: Interval(self.specs[key].nbytes, first[key], last[key])
            for key in first
            if key not in fixed
        }
