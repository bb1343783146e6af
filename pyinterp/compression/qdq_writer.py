"""Write a quantized model: the float graph with quantizers and integer weights put in (QDQ)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from ..fold_linear import fresh_name
from ..model import Array, Model, Node, Tensor
from .layers import stored
from .parameters import QuantizedLayer, Quantizer, StoredLayer, range_clip
from .placement import Placement

Layer: TypeAlias = QuantizedLayer | StoredLayer

_STORAGE_HI = 255  # activations are uint8 at every width


@dataclass(frozen=True, slots=True)
class LayerSite:
    """Where a layer's parts stand in a quantized graph: names of constants and values.

    input: the value it reads, dequantized where it is quantized. bias, bias_scale: "" for a layer
    without a bias; bias_scale also for one whose bias is float. axis: of the output channels in the
    stored weight.
    """

    input: str
    weight: str
    weight_scale: str
    bias: str
    bias_scale: str
    axis: int


@dataclass(frozen=True, slots=True)
class Written:
    """A quantized graph. sites: label of a layer -> its parts. dequantized: value of the float
    graph -> what stands for it behind its quantizer.
    """

    model: Model
    sites: Mapping[str, LayerSite]
    dequantized: Mapping[str, str]

    def with_layers(self, layers: Mapping[str, Layer]) -> Written:
        """The same graph with other integers in some of its layers."""
        weights = dict(self.model.weights)
        for label, layer in layers.items():
            site = self.sites[label]
            weights |= _constants(site, layer)
        return replace(self, model=self.model.replace(weights=weights))


def _constants(site: LayerSite, layer: Layer) -> dict[str, Tensor]:
    values = np.ascontiguousarray(np.moveaxis(layer.weight, 0, site.axis))
    constants = {site.weight: stored(values), site.weight_scale: Tensor(layer.weight_scale)}
    if site.bias:
        constants[site.bias] = Tensor(layer.bias)
    if site.bias and isinstance(layer, QuantizedLayer):
        constants[site.bias_scale] = Tensor(layer.bias_scale)
    return constants


def write_quantized(
    model: Model,
    placement: Placement,
    quantizers: Mapping[str, Quantizer],
    layers: Mapping[str, Layer],
) -> Written:
    """quantizers: root value (see `Placement`) -> its quantizer. layers: label -> integers."""
    return _Writer(model, placement, quantizers, layers).write()


class _Writer:
    """Rewrites a graph node by node, putting in the quantizers that a placement asks for."""

    def __init__(
        self,
        model: Model,
        placement: Placement,
        quantizers: Mapping[str, Quantizer],
        layers: Mapping[str, Layer],
    ) -> None:
        self.model, self.placement, self.quantizers = model, placement, quantizers
        self.layers = layers
        self.weights = dict(model.weights)
        self.nodes: list[Node] = []
        self.taken = {*model.weights, *model.producers(), *(i.name for i in model.inputs)}
        self.outputs = {info.name for info in model.outputs}
        self.dequantized: dict[str, str] = {}  # value -> what stands for it behind its quantizer
        self.constants: dict[tuple[str, str], str] = {}  # (root, part) -> shared constant
        self.sites: dict[str, LayerSite] = {}

    def write(self) -> Written:
        quantized = set(self.placement.values)
        layers = {node.outputs[0] for node in self.placement.layers}
        for info in self.model.inputs:
            if info.name in quantized:
                self._quantize(info.name, info.name)
        for node in self.model.nodes:
            inputs = [self.dequantized.get(name, name) for name in node.inputs]
            if node.outputs[0] in layers:
                inputs[1:] = self._parameters(node, inputs[0])
            renamed = {
                o: self._name(f"{o}/float") for o in node.outputs if o in quantized & self.outputs
            }
            outputs = tuple(renamed.get(o, o) for o in node.outputs)
            self.nodes.append(replace(node, inputs=tuple(inputs), outputs=outputs))
            for name, written in zip(node.outputs, outputs, strict=True):
                if name in quantized:
                    self._quantize(name, written)
        used = {name for node in self.nodes for name in node.inputs} | self.outputs
        weights = {name: tensor for name, tensor in self.weights.items() if name in used}
        model = self.model.replace(nodes=tuple(self.nodes), weights=weights)
        return Written(model, self.sites, self.dequantized)

    def _name(self, wanted: str) -> str:
        name = fresh_name(wanted, self.taken)
        self.taken.add(name)
        return name

    def _constant(self, wanted: str, tensor: Tensor) -> str:
        name = self._name(wanted)
        self.weights[name] = tensor
        return name

    def _shared(self, root: str, part: str, value: Any) -> str:
        key = (root, part)
        if key not in self.constants:
            self.constants[key] = self._constant(f"{root}/{part}", Tensor(np.array(value)))
        return self.constants[key]

    def _quantize(self, name: str, written: str) -> None:
        """Clip (for a narrow range), QuantizeLinear, DequantizeLinear behind a value."""
        root = self.placement.root(name)
        q = self.quantizers[root]
        value = written
        if q.hi < _STORAGE_HI:
            low, high = range_clip(q)
            bounds = self._shared(root, "low", low), self._shared(root, "high", high)
            value = self._node("Clip", (value, *bounds), f"{name}/clipped")
        parameters = (
            self._shared(root, "scale", q.scale),
            self._shared(root, "zero_point", np.uint8(q.zero_point)),
        )
        value = self._node("QuantizeLinear", (value, *parameters), f"{name}/quantized")
        target = f"{name}/dequantized" if written == name else name
        self.dequantized[name] = self._node("DequantizeLinear", (value, *parameters), target)

    def _node(self, op_type: str, inputs: tuple[str, ...], output: str, **attributes: int) -> str:
        name = output if output in self.outputs else self._name(output)
        self.nodes.append(Node(op_type, inputs, (name,), attributes, name))
        return name

    def _parameters(self, node: Node, source: str) -> list[str]:
        """Names of the dequantized weight and bias of a layer, which replace its float ones."""
        layer = self.layers[node.label]
        axis = 1 if node.op_type == "MatMul" else 0  # of the output channels
        integers = np.ascontiguousarray(np.moveaxis(layer.weight, 0, axis))
        weight = self._dequantized(node, "weight", stored(integers), layer.weight_scale, axis)
        bias = ("", "", "")
        if len(node.inputs) > 2 and node.inputs[2]:
            values = Tensor(layer.bias)
            if isinstance(layer, QuantizedLayer):
                bias = self._dequantized(node, "bias", values, layer.bias_scale, 0)
            else:
                name = self._constant(f"{node.label}/bias", values)
                bias = (name, "", name)
        self.sites[node.label] = LayerSite(source, *weight[:2], *bias[:2], axis)
        return [weight[2], *([bias[2]] if bias[2] else [])]

    def _dequantized(
        self, node: Node, part: str, tensor: Tensor, scale: Array, axis: int
    ) -> tuple[str, str, str]:
        """Names of the integers, of their scale, and of what they stand for."""
        label = f"{node.label}/{part}"
        inputs = (
            self._constant(f"{label}/quantized", tensor),
            self._constant(f"{label}/scale", Tensor(scale)),
        )
        attributes = {"axis": axis} if scale.ndim else {}
        return *inputs, self._node("DequantizeLinear", inputs, f"{label}/dequantized", **attributes)
