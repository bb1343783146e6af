"""Static int8 quantization: per-channel weights, one scale an activation, integers throughout.

The scheme is Jacob et al., 2018 (arXiv:1712.05877) with scales per output channel (Krishnamoorthi,
2018, arXiv:1806.08342). The result is a standard QDQ graph: real = scale * (q - zero_point).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import InputError
from ..fold import simplify
from ..fold_linear import fresh_name
from ..model import Array, Model, Node, Tensor
from .calibrate import Feeds, Progress, observed_ranges
from .layers import (
    LayerSettings,
    layer_settings,
    matching,
    pattern_list,
    recorded,
    refuse_quantized,
    stored,
)
from .opset import raise_opset
from .parameters import Quantizer, activation_quantizer, quantize_layer, range_clip
from .placement import Placement, place

_STORAGE_HI = 255  # activations are uint8 at every width


@dataclass(frozen=True, slots=True)
class _LayerOptions:
    weight_bits: int
    per_channel: bool


def quantize(
    model: Model,
    calibration: Iterable[Feeds],
    *,
    weight_bits: int = 8,
    activation_bits: int = 8,
    per_channel: bool = True,
    method: str = "minmax",
    percentile: float = 99.99,
    ignored: Iterable[str] = (),
    layers: LayerSettings | None = None,
    progress: Progress | None = None,
) -> Model:
    """A new model with integer weights and activations, as a QDQ graph of opset 13 or newer.

    calibration: feeds `{input: array}` (batch first), read once; their number does not change the
    memory used. weight_bits: 4 to 8, weights in +-(2^(b-1) - 1). activation_bits: 8 ([0, 255]) or 7
    ([0, 127]). method: how ranges are taken from the calibration, "minmax" or "percentile".
    ignored: regular expressions of node names that stay in float (whole names, as they are after
    BatchNorm is folded). layers: per-layer settings `{expression: {"weight_bits": ...,
    "per_channel": ..., "ignored": ...}}`. progress: called with the images of each batch.
    Outputs stay float. Zero weights stay zero, so pruned models are quantized after pruning.
    Raises InputError for arguments and feeds that do not fit, ModelError for a model that is
    quantized already, QuantizationError where the numeric contract cannot hold.
    """
    defaults = _LayerOptions(weight_bits, per_channel)
    _check(defaults, "quantize")
    if activation_bits not in (7, 8):
        raise InputError(f"activation_bits: expected 7 or 8, got {activation_bits!r}")
    refuse_quantized(model, "quantize the float model")
    patterns = pattern_list(ignored, "ignored")
    float_model = simplify(raise_opset(simplify(model)))
    settings = layer_settings(float_model, layers, ("weight_bits", "per_channel"))
    left_out = matching(float_model, patterns, "ignored")
    left_out |= {label for label, given in settings.items() if given.get("ignored")}
    options = {}
    for label, given in settings.items():
        options[label] = replace(defaults, **{k: v for k, v in given.items() if k != "ignored"})
        _check(options[label], f"layers, {label!r}")

    placement = place(float_model, left_out)
    if not placement.layers:
        raise InputError("expected a layer to quantize (Conv, Gemm or MatMul), found none")
    roots = dict.fromkeys(placement.root(name) for name in placement.values)
    ranges = observed_ranges(float_model, calibration, roots, method, percentile, progress)
    quantizers = {
        name: activation_quantizer(*ranges[name], activation_bits, name) for name in roots
    }
    result = _Writer(float_model, placement, quantizers, defaults, options).write()
    arguments: dict[str, Any] = {
        "weight_bits": weight_bits,
        "activation_bits": activation_bits,
        "per_channel": per_channel,
        "method": method,
        **({"percentile": percentile} if method == "percentile" else {}),
        **({"ignored": patterns} if patterns else {}),
        **({"layers": {key: dict(value) for key, value in layers.items()}} if layers else {}),
    }
    return recorded(result, model, "quantize", arguments)


def _check(options: _LayerOptions, where: str) -> None:
    if isinstance(options.weight_bits, bool) or options.weight_bits not in range(4, 9):
        raise InputError(f"{where}: weight_bits: expected 4 to 8, got {options.weight_bits!r}")
    if not isinstance(options.per_channel, bool):
        raise InputError(f"{where}: per_channel: expected true or false")


class _Writer:
    """Rewrites a graph node by node, putting in the quantizers that a placement asks for."""

    def __init__(
        self,
        model: Model,
        placement: Placement,
        quantizers: dict[str, Quantizer],
        defaults: _LayerOptions,
        options: dict[str, _LayerOptions],
    ) -> None:
        self.model, self.placement, self.quantizers = model, placement, quantizers
        self.defaults, self.options = defaults, options
        self.weights = dict(model.weights)
        self.nodes: list[Node] = []
        self.taken = {*model.weights, *model.producers(), *(i.name for i in model.inputs)}
        self.outputs = {info.name for info in model.outputs}
        self.dequantized: dict[str, str] = {}  # value -> what stands for it behind its quantizer
        self.constants: dict[tuple[str, str], str] = {}  # (root, part) -> shared constant

    def write(self) -> Model:
        quantized = set(self.placement.values)
        layers = {node.outputs[0] for node in self.placement.layers}
        for info in self.model.inputs:
            if info.name in quantized:
                self._quantize(info.name, info.name)
        for node in self.model.nodes:
            inputs = [self.dequantized.get(name, name) for name in node.inputs]
            if node.outputs[0] in layers:
                inputs[1:] = self._parameters(node)
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
        return self.model.replace(nodes=tuple(self.nodes), weights=weights)

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

    def _parameters(self, node: Node) -> list[str]:
        """Names of the dequantized weight and bias of a layer, which replace its float ones."""
        options = self.options.get(node.label, self.defaults)
        x = self.quantizers[self.placement.root(node.inputs[0])]
        y = self.quantizers[self.placement.root(self.placement.result(node))]
        weight = self.model.weights[node.inputs[1]].numpy()
        bias: Array | None = None
        if len(node.inputs) > 2 and node.inputs[2]:
            bias = self.model.weights[node.inputs[2]].numpy()
        axis = 1 if node.op_type == "MatMul" else 0  # of the output channels
        layer = quantize_layer(
            np.moveaxis(weight, axis, 0),
            bias,
            x,
            y.scale,
            options.weight_bits,
            options.per_channel,
            node.label,
        )
        values = np.ascontiguousarray(np.moveaxis(layer.weight, 0, axis))
        names = [self._dequantized(node, "weight", stored(values), layer.weight_scale, axis)]
        if bias is not None:
            tensor = Tensor(layer.bias)
            names.append(self._dequantized(node, "bias", tensor, layer.bias_scale, 0))
        return names

    def _dequantized(self, node: Node, part: str, tensor: Tensor, scale: Array, axis: int) -> str:
        label = f"{node.label}/{part}"
        inputs = (
            self._constant(f"{label}/quantized", tensor),
            self._constant(f"{label}/scale", Tensor(scale)),
        )
        attributes = {"axis": axis} if scale.ndim else {}
        return self._node("DequantizeLinear", inputs, f"{label}/dequantized", **attributes)
