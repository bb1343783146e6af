"""What a model consists of: its layers, their multiply-accumulates, parameters and zeros."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .cost import macs
from .errors import InputError
from .lower import lower
from .lowered import Operation, ReferenceOp, View
from .model import Array, Model


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer with weights, after BatchNorm is folded.

    precision: element type of its weights, e.g. "int8". weights, zeros: without the bias.
    parameters: with it.
    """

    label: str
    operator: str
    precision: str
    output_shape: tuple[int, ...]
    macs: int
    weights: int
    zeros: int
    parameters: int

    @property
    def sparsity(self) -> float:
        return self.zeros / self.weights if self.weights else 0.0

    @property
    def nonzero_macs(self) -> int:
        """Multiply-accumulates with weights other than zero."""
        return round(self.macs * (1 - self.sparsity))


@dataclass(frozen=True, slots=True)
class Summary:
    """quantized: how many of the layers compute in integers. stored_bytes: weights as kept in the
    model (sparse where that is smaller), scales and biases included."""

    layers: tuple[Layer, ...]
    stored_bytes: int

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def nonzero_macs(self) -> int:
        return sum(layer.nonzero_macs for layer in self.layers)

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def sparsity(self) -> float:
        """Fraction of all layers' weights that are zero."""
        weights = sum(layer.weights for layer in self.layers)
        return sum(layer.zeros for layer in self.layers) / weights if weights else 0.0

    @property
    def quantized(self) -> int:
        return sum(layer.precision.startswith("int") for layer in self.layers)


def default_shapes(model: Model, batch: int = 1) -> dict[str, tuple[int, ...]]:
    """Input shapes with `batch` for a first dimension that is free, and 1 for any other."""
    return {
        info.name: tuple(
            d if isinstance(d, int) else batch if axis == 0 else 1
            for axis, d in enumerate(info.shape or ())
        )
        for info in model.inputs
    }


def wanted_shapes(
    model: Model, batch: int = 1, given: Sequence[tuple[str, tuple[int, ...]]] = ()
) -> dict[str, tuple[int, ...]]:
    """Input shapes: the given ones (of the only input under the name ""), else the model's own with
    `batch` for a first dimension that is free.

    Raises InputError where a name is not of an input, or another dimension is free.
    """
    names = [info.name for info in model.inputs]
    chosen = {}
    for name, shape in given:
        if name not in names and (name or len(names) != 1):
            raise InputError(
                f"shape {name or 'x'.join(map(str, shape))!r}: expected NAME=SHAPE with one of the "
                f"inputs {', '.join(names)}"
            )
        chosen[name or names[0]] = shape
    for info in model.inputs:
        own = info.shape
        if info.name not in chosen and (
            own is None or any(not isinstance(d, int) for d in own[1:])
        ):
            raise InputError(
                f"input {info} leaves its size open: give a shape, as in --shape "
                f"{info.name}=1x3x224x224"
            )
    return {**default_shapes(model, batch), **chosen}


def summarize(model: Model, shapes: Mapping[str, Sequence[int]] | None = None) -> Summary:
    """The layers of a model for inputs of the given shapes (None: a batch of one).

    Raises what loading a model into a session raises, where it cannot run.
    """
    wanted = default_shapes(model) if shapes is None else shapes
    lowered = lower(model, {name: tuple(shape) for name, shape in wanted.items()})
    layers = []
    for operation in lowered.operations:
        parts = _weights(operation)
        if parts is None:
            continue
        weight, parameters = parts
        work = operation.work
        assert not isinstance(work, View)
        inputs = [lowered.values[name].shape for name in operation.inputs]
        layers.append(
            Layer(
                operation.label,
                work.node.op_type if isinstance(work, ReferenceOp) else type(work).__name__,
                str(weight.dtype),
                lowered.values[operation.outputs[0]].shape,
                0 if isinstance(work, ReferenceOp) else macs(work, inputs),
                weight.size,
                int(weight.size - np.count_nonzero(weight)),
                parameters,
            )
        )
    return Summary(tuple(layers), sum(tensor.nbytes for tensor in model.weights.values()))


def _weights(operation: Operation) -> tuple[Array, int] | None:
    """The weight of an operation and the number of all its parameters, or None without any."""
    work = operation.work
    if isinstance(work, ReferenceOp):
        weight = work.constants.get(1)
        if work.node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or weight is None:
            return None
        return weight, sum(array.size for array in work.constants.values())
    found: Array | None = getattr(work, "weight", None)
    if found is None:
        return None
    bias: Array = work.bias  # type: ignore[union-attr]
    return found, found.size + bias.size
