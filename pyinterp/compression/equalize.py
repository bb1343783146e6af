"""Cross-layer equalization: move scale between layers so that few channels set a tensor's range.

Where a layer's output goes to one other layer through operators that commute with positive factors,
channel i may be divided by s_i in the first layer and multiplied by s_i in the second: the network
computes the same, and with s_i = sqrt(r1_i / r2_i), r being the largest weight of the channel in
either layer, both channels end up with the same range. No data is needed. Source: Nagel et al.,
2019, arXiv:1906.04721, section 4.1. Clips with bounds other than 0 (ReLU6) do not commute: layers
with one between them are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..fold_linear import fresh_name
from ..model import Array, Model, Node, Tensor
from .layers import is_layer

F64 = npt.NDArray[np.float64]

# f(s * x) = s * f(x) for s > 0, channel by channel
_COMMUTING = frozenset(
    {"AveragePool", "Flatten", "GlobalAveragePool", "GlobalMaxPool", "LeakyRelu", "MaxPool", "Relu"}
)
MAX_SWEEPS = 20
CONVERGED = 1e-3  # largest change of a factor at which sweeps over the pairs end


@dataclass(frozen=True, slots=True)
class Pair:
    """Two layers of which only the second reads what the first gives."""

    first: Node
    second: Node


def equalize(model: Model) -> Model:
    """The same function with weights that are easier to quantize; the model itself where no pair
    of layers allows it. BatchNorm has to be folded.
    """
    pairs = list(equalizable(model))
    if not pairs:
        return model
    layers = {node.label: node for pair in pairs for node in (pair.first, pair.second)}
    weight = {k: _array(model, n.inputs[1]).astype(np.float64) for k, n in layers.items()}
    bias = {
        k: _array(model, n.inputs[2]).astype(np.float64)
        for k, n in layers.items()
        if any(n.inputs[2:])
    }
    for _ in range(MAX_SWEEPS):
        change = 0.0
        for pair in pairs:
            one, two = pair.first.label, pair.second.label
            readers = _by_channel(pair.second, weight[two], weight[one].shape[0])
            factor = _factor(weight[one], readers)
            weight[one] /= factor.reshape(-1, *(1,) * (weight[one].ndim - 1))
            if one in bias:
                bias[one] /= factor
            readers *= factor.reshape(readers.shape[0], 1, -1, 1)
            change = max(change, float(np.abs(factor - 1).max()))
        if change < CONVERGED:
            break
    return _with_weights(model, layers, weight, bias)


def equalizable(model: Model) -> Iterator[Pair]:
    """Pairs of layers with nothing but commuting operators between them, in graph order."""
    readers, outputs = model.consumers(), {info.name for info in model.outputs}
    for node in model.nodes:
        if not is_layer(model, node) or node.op_type == "MatMul":
            continue
        value = node.outputs[0]
        while value not in outputs and len(readers.get(value, [])) == 1:
            reader = readers[value][0]
            if is_layer(model, reader) and reader.op_type != "MatMul":
                if reader.inputs[0] == value and _channels_match(model, node, reader):
                    yield Pair(node, reader)
                break
            commutes = reader.op_type in _COMMUTING and reader.attributes.get("axis", 1) == 1
            if reader.domain or not commutes or any(reader.outputs[1:]):
                break
            value = reader.outputs[0]


def _array(model: Model, name: str) -> Array:
    return model.weights[name].numpy()


def _channels_match(model: Model, first: Node, second: Node) -> bool:
    channels = model.weights[first.inputs[1]].shape[0]
    shape = model.weights[second.inputs[1]].shape
    if second.op_type == "Conv":
        groups = int(second.attributes.get("group", 1))  # type: ignore[arg-type]
        return first.op_type == "Conv" and shape[1] * groups == channels
    return shape[1] % channels == 0  # a Gemm, behind Flatten perhaps: pixels of a channel adjoin


def _by_channel(second: Node, weight: F64, channels: int) -> F64:
    """A view [groups, outputs of a group, inputs of a group, the rest] of a layer's weights.

    channels: inputs in all; a Gemm reads several values of each where it flattens images.
    """
    groups = int(second.attributes.get("group", 1))  # type: ignore[arg-type]
    return weight.reshape(groups, weight.shape[0] // groups, channels // groups, -1)


def _factor(first: F64, second: F64) -> F64:
    """What the first layer's channels are divided by, [channels]; 1 for channels of zeros."""
    one = np.abs(first).reshape(first.shape[0], -1).max(axis=1)
    two = np.abs(second).max(axis=(1, 3)).reshape(-1)
    both = (one > 0) & (two > 0)
    return np.sqrt(np.where(both, one, 1.0) / np.where(both, two, 1.0))


def _with_weights(
    model: Model, layers: dict[str, Node], weight: dict[str, F64], bias: dict[str, F64]
) -> Model:
    """The model with new weights, under new names, since others may read the old ones."""
    weights, changed = dict(model.weights), {}
    for label, node in layers.items():
        inputs = list(node.inputs)
        for place, values in ((1, weight), (2, bias)):
            if label in values:
                name = fresh_name(f"{node.inputs[place]}/equalized", weights)
                weights[name] = Tensor(values[label].astype(np.float32))
                inputs[place] = name
        changed[label] = replace(node, inputs=tuple(inputs))
    nodes = tuple(changed.get(node.label, node) for node in model.nodes)
    read = {name for node in nodes for name in node.inputs} | {o.name for o in model.outputs}
    kept = {name: tensor for name, tensor in weights.items() if name in read}
    return model.replace(nodes=nodes, weights=kept)
