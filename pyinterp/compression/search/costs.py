"""What each choice for a layer costs: seconds on this machine, or bytes in the file.

Costs come from stand-ins, models quantized and pruned in the quickest way to a given sparsity and
width: what a layer costs depends on how many zeros it has, hardly on which. `tune` measures their
kernels where no earlier call has, and keeps that in its file of costs; all is planned by that file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeAlias

from ...cost import Costs, saved_costs
from ...formats.container_tensors import encode
from ...kernel_choice import Option, choose, layouts_of, options_of
from ...kernels.registry import KERNELS, Backend, candidates
from ...kernels.step import ArraySpec, Layout
from ...lower import lower
from ...lowered import Lowered, View
from ...model import Model, Tensor
from ...ops.fused_spec import Dequantize, OutputRange, Quantize
from ...tuning import tune
from ..calibrate import Feeds
from ..prune import prune
from ..quantize import quantize
from .space import FLOAT, Choice, Configuration, Space

Target: TypeAlias = Literal["latency", "size"]
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
Standing: TypeAlias = tuple[str, Choice]  # a granularity, and what is done to every layer

_KERNEL_FORMATS = {"element": "csr", "1x4": "block"}  # granularity -> how its weight formats begin


class CostModel(Protocol):
    """Costs in seconds or bytes. Nothing may be asked about a choice that was not prepared."""

    def prepare(self, granularity: str, choice: Choice) -> None:
        """Make a stand-in with this choice for every layer, and measure it."""

    def layer(self, label: str, granularity: str, choice: Choice, alone: bool) -> float:
        """Of one layer. alone: its neighbours are dense, and may keep values in another layout."""

    def predicted(self, configuration: Configuration) -> float:
        """Of the whole network, before the configuration is applied to it."""

    def actual(self, model: Model) -> float:
        """Of a whole network."""


def default_granularities(target: Target, backend: Backend) -> tuple[str, ...]:
    """Those that a target gains by: files store zeros wherever they are, kernels know patterns."""
    if target == "size":
        return ("element",)
    formats = [kernel.weight_format for kernel in KERNELS if kernel.backend == backend]
    known = [g for g, begin in _KERNEL_FORMATS.items() if any(f.startswith(begin) for f in formats)]
    return tuple(known) or ("element",)


@dataclass(frozen=True, slots=True)
class StandIns:
    """images: feeds that activation ranges are taken from; any do."""

    model: Model
    space: Space
    images: Sequence[Feeds]

    def make(self, granularity: str, choice: Choice) -> Model:
        """This choice for every layer, but that those which cannot be pruned stay dense."""
        model, space = self.model, self.space
        if choice.sparsity:
            fixed = [re.escape(label) for label in space.layers if label not in space.prunable]
            model = prune(model, choice.sparsity, granularity, scope="layer", ignored=fixed)
        if choice.weight_bits is None:
            return model
        return quantize(
            model,
            self.images,
            weight_bits=choice.weight_bits,
            activation_bits=space.activation_bits,
            method="minmax",
            rounding="nearest",
            bias_correction=False,
        )


class Latency:
    """Seconds of one image, as plans add them up."""

    def __init__(self, stand_ins: StandIns, backend: Backend, threads: int, shapes: Shapes) -> None:
        self._stand_ins, self._backend, self._threads = stand_ins, backend, threads
        self._shapes = shapes
        self._lowered: dict[Standing, Lowered] = {}
        self._costs = Costs()

    def prepare(self, granularity: str, choice: Choice) -> None:
        model = self._stand_ins.make(granularity, choice)
        self._lowered[_standing(granularity, choice)] = self._measured(model)

    def layer(self, label: str, granularity: str, choice: Choice, alone: bool) -> float:
        """The fastest kernel; a float layer also changes the type of what goes in and out."""
        lowered = self._lowered[_standing(granularity, choice)]
        operation = lowered.operations[_places(lowered, label)[label]]
        into, out = (lowered.values[n] for n in (operation.inputs[0], operation.outputs[0]))
        seconds = min(
            option.seconds + self._layout_changes(option, into, out) * alone
            for option in options_of(operation, lowered.values, self._backend, self._costs)
        )
        if choice == FLOAT:
            seconds += self._conversion(Dequantize(1.0, 0), into)
            seconds += self._conversion(Quantize(1.0, OutputRange(0)), out)
        return seconds

    def predicted(self, configuration: Configuration) -> float:
        """As planned, layout changes and all, but for those next to float layers."""
        granularity, choices = configuration.granularity, configuration.choices
        integer = max((c for c in choices.values() if c != FLOAT), key=_care, default=FLOAT)
        base = self._lowered[_standing(granularity, integer)]
        operations, converted = list(base.operations), 0.0
        for label, place in _places(base, *choices).items() if integer != FLOAT else ():
            if choices[label] == FLOAT:
                converted += self.layer(label, granularity, FLOAT, False)
                converted -= self.layer(label, granularity, integer, False)
                continue
            other = self._lowered[_standing(granularity, choices[label])]
            work = other.operations[_places(other, label)[label]].work
            operations[place] = replace(operations[place], work=work)
        lowered = replace(base, operations=tuple(operations))
        return planned_seconds(lowered, self._backend, self._costs) + converted

    def actual(self, model: Model) -> float:
        return planned_seconds(self._measured(model), self._backend, self._costs)

    def _measured(self, model: Model) -> Lowered:
        tune(model, self._shapes, self._backend, self._threads)
        self._costs = saved_costs(self._backend, self._threads)
        return lower(model, self._shapes)

    def _layout_changes(self, option: Option, into: ArraySpec, out: ArraySpec) -> float:
        before, after = _layout(into, "nhwc"), _layout(into, option.layout)
        seconds = self._costs.transpose(into, before, after) if before != after else 0.0
        before, after = _layout(out, option.layout), _layout(out, "nhwc")
        return seconds + (self._costs.transpose(out, before, after) if before != after else 0.0)

    def _conversion(self, spec: Quantize | Dequantize, value: ArraySpec) -> float:
        # estimated: what stand-ins do not measure may be measured later, and nothing may change
        return min(
            Costs().step(kernel, spec, [value.shape], layout)
            for kernel in candidates(spec, self._backend)
            for layout in kernel.layouts
        )


def planned_seconds(lowered: Lowered, backend: Backend, costs: Costs) -> float:
    """What a plan is expected to take: its steps, and each change of a value's layout once."""
    chosen, _ = choose(lowered, backend, costs)
    values = lowered.values
    made = {name: _layout(values[name], "nchw") for name in lowered.inputs}
    wanted: dict[tuple[str, Layout], None] = {}
    for operation, option in zip(lowered.operations, chosen, strict=True):
        for name in operation.inputs:
            wanted[name, _layout(values[name], option.layout)] = None
        for name in operation.outputs:
            if name in values:
                made[name] = _layout(values[name], option.layout)
    for name in lowered.outputs:
        if name in made:
            wanted[name, "nchw"] = None
    changes = [
        costs.transpose(values[name], made[name], layout)
        for name, layout in wanted
        if made[name] != layout
    ]
    return sum(option.seconds for option in chosen) + sum(changes)


def _layout(spec: ArraySpec, layout: Layout) -> Layout:
    """The layout, or nchw where a value's bytes are the same in both."""
    return layout if layout in layouts_of(spec) else "nchw"


class Size:
    """Bytes of the weights as a `.sparing` file stores them."""

    def __init__(self, stand_ins: StandIns) -> None:
        self._stand_ins = stand_ins
        self._layers: dict[Standing, dict[str, float]] = {}
        self._rest = 0.0  # biases, scales and all else, of which no choice makes more or less

    def prepare(self, granularity: str, choice: Choice) -> None:
        model = self._stand_ins.make(granularity, choice)
        layers = self._layers[_standing(granularity, choice)] = self._by_layer(model)
        if not choice.sparsity:
            self._rest = self.actual(model) - sum(layers.values())

    def layer(self, label: str, granularity: str, choice: Choice, alone: bool) -> float:
        return self._layers[_standing(granularity, choice)][label]

    def predicted(self, configuration: Configuration) -> float:
        return self._rest + sum(
            self.layer(label, configuration.granularity, choice, False)
            for label, choice in configuration.choices.items()
        )

    def actual(self, model: Model) -> float:
        return float(stored_bytes(model))

    def _by_layer(self, model: Model) -> dict[str, float]:
        labels, made = set(self._stand_ins.space.layers), model.producers()
        found = {}
        for node in model.nodes:
            if node.label in labels:
                name = node.inputs[1]
                source = name if name in model.weights else made[name].inputs[0]
                found[node.label] = float(_stored_bytes(model.weights[source]))
        return found


def stored_bytes(model: Model) -> int:
    """Of all constants, in the form that a `.sparing` file keeps them in."""
    return sum(_stored_bytes(tensor) for tensor in model.weights.values())


def _stored_bytes(tensor: Tensor) -> int:
    _, arrays = encode(tensor)
    return sum(array.nbytes for array in arrays)


def _standing(granularity: str, choice: Choice) -> Standing:
    return (granularity if choice.sparsity else "", choice)


def _care(choice: Choice) -> tuple[int, float]:
    """Orders choices from reckless to careful."""
    return choice.weight_bits or 0, -choice.sparsity


def _places(lowered: Lowered, *labels: str) -> dict[str, int]:
    """Where each layer's operation stands."""
    wanted = set(labels)
    return {
        operation.label: place
        for place, operation in enumerate(lowered.operations)
        if operation.label in wanted and not isinstance(operation.work, View)
    }
