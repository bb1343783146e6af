"""A model as training sees it: which constants learn, and how integer weights are written back.

Dequantized constants stand there as plain float weights. Those of quantized layers are quantized
again at each step while training, and at the end by the rules of `quantize`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .. import ops
from ..errors import ModelError
from ..fold import fold_constants, remove_no_ops
from ..model import Array, Model, Node, Tensor
from ..quantized import activation_parameters, quantize_scalar
from .layers import stored
from .opset import raise_opset
from .parameters import Quantizer, quantize_layer

# A layer that reads real numbers (only its weights are quantized) bounds no integer accumulator.
_NOT_QUANTIZED = Quantizer(np.float32(1), 0, 0, 0)
_CLAMPS = frozenset({"Clip", "Relu"})


@dataclass(frozen=True, slots=True)
class IntegerLayer:
    """A layer with int8 weights: node of the QDQ graph, and what `quantize_layer` wants to know.

    weight, bias: the DequantizeLinear nodes behind the integers; bias is None where it is float or
    absent. axis: of the output channels in the weight.
    """

    node: Node
    weight: Node
    bias: Node | None
    axis: int
    bits: int
    scale: Array
    x: Quantizer
    y_scale: np.float32


@dataclass(frozen=True, slots=True)
class TrainingForm:
    """source: the model that gets the trained values. graph: the same without dequantized
    constants, which are float weights under the names of their values.

    weights: names of layers' weights; others: of biases and BatchNorm's scale and shift;
    statistics: of BatchNorm's means and variances. integers: by name of the weight. quantizers: by
    name of a QuantizeLinear's output.
    """

    source: Model
    graph: Model
    weights: tuple[str, ...]
    others: tuple[str, ...]
    statistics: tuple[str, ...]
    integers: Mapping[str, IntegerLayer]
    quantizers: Mapping[str, Quantizer]


def training_form(model: Model) -> TrainingForm:
    """Layers are Conv, Gemm and MatMul with constant float32 or int8 weights.

    Quantized layers of other forms stay as they are: weights with zero points, shared ones, or
    scales along another axis than the output channels.
    Raises ModelError for activations that are quantized otherwise than per tensor to 8 bits.
    """
    source = fold_constants(raise_opset(remove_no_ops(model)))
    graph, dequantizers = _without_dequantized(source)
    weights: dict[str, None] = {}
    others: dict[str, None] = {}
    statistics: dict[str, None] = {}
    integers = {}
    for node in graph.nodes:
        constants = [n for n in node.inputs[1:] if n in graph.weights]
        if node.op_type == "BatchNormalization" and len(constants) == 4:
            others |= dict.fromkeys(constants[:2])
            statistics |= dict.fromkeys(constants[2:])
        if node.op_type not in ("Conv", "Gemm", "MatMul") or node.inputs[1] not in constants:
            continue
        if any(graph.weights[name].dtype != np.float32 for name in constants):
            continue
        if dequantizers.keys() & constants:
            layer = _integer_layer(source, node, dequantizers)
            if layer is None:
                continue
            integers[constants[0]] = layer
        weights[constants[0]] = None
        others |= dict.fromkeys(constants[1:])
    return TrainingForm(
        source,
        graph,
        tuple(weights),
        tuple(others),
        tuple(statistics),
        integers,
        _activation_quantizers(graph),
    )


def _without_dequantized(model: Model) -> tuple[Model, dict[str, Node]]:
    """Dequantized constants as weights, and the nodes that stood there by output."""
    weights, found = dict(model.weights), {}
    for node in model.nodes:
        if node.op_type == "DequantizeLinear" and all(n in model.weights for n in node.inputs if n):
            arguments = [model.weights[n].numpy() if n else None for n in node.inputs]
            (array,) = ops.run(node, arguments, model.opset)
            weights[node.outputs[0]] = Tensor(array)
            found[node.outputs[0]] = node
    kept = tuple(node for node in model.nodes if node.outputs[0] not in found)
    return model.replace(nodes=kept, weights=weights), found


def _integer_layer(
    model: Model, node: Node, dequantizers: Mapping[str, Node]
) -> IntegerLayer | None:
    """The layer's quantization; None where `quantize_layer` could not write it back."""
    bias_name = node.inputs[2] if len(node.inputs) > 2 else ""
    weight, bias = dequantizers.get(node.inputs[1]), dequantizers.get(bias_name)
    if weight is None or not _alone(model, weight) or (bias and not _alone(model, bias)):
        return None
    values = model.weights[weight.inputs[0]].numpy()
    scale = model.weights[weight.inputs[1]].numpy()
    axis = 0 if node.op_type == "Conv" or node.attributes.get("transB", 0) else 1
    along = weight.attributes.get("axis", 1)
    per_channel = scale.shape == (values.shape[axis],)
    fits = (
        values.dtype == np.int8
        and scale.dtype == np.float32
        and (node.op_type != "MatMul" or values.ndim == 2)
        and (scale.shape in ((), (1,)) or (per_channel and along in (axis, axis - values.ndim)))
    )
    if bias is not None:
        parts = [model.weights[name] for name in bias.inputs[:2]]
        fits = fits and parts[0].dtype == np.int32 and parts[1].dtype == np.float32
        fits = fits and parts[1].numpy().size == scale.size
    if not fits:
        return None
    largest = int(np.abs(values.astype(np.int16)).max(initial=0))
    bits = next((b for b in range(4, 8) if 2 ** (b - 1) - 1 >= largest), 8)
    return IntegerLayer(
        node,
        weight,
        bias,
        axis,
        bits,
        scale if per_channel else scale.reshape(()),
        _input_quantizer(model, node),
        _next_scale(model, node),
    )


def _alone(model: Model, dequantizer: Node) -> bool:
    """Whether one layer alone reads these integers, and they have no zero point."""
    readers = model.consumers()
    zero = dequantizer.inputs[2] if len(dequantizer.inputs) > 2 else ""
    return (
        len(readers[dequantizer.outputs[0]]) == len(readers[dequantizer.inputs[0]]) == 1
        and "block_size" not in dequantizer.attributes
        and (not zero or not model.weights[zero].numpy().any())
    )


def _input_quantizer(model: Model, layer: Node) -> Quantizer:
    producers = model.producers()
    node = producers.get(layer.inputs[0])
    if node is None or node.op_type != "DequantizeLinear":
        return _NOT_QUANTIZED
    before = producers.get(node.inputs[0])
    full = _quantizer(model, node)
    clip = producers.get(before.inputs[0]) if before is not None else None
    if clip is None or clip.op_type != "Clip":
        return full
    parameters = activation_parameters(node, lambda name: _constant(model, name))
    assert parameters is not None  # or _quantizer would have raised
    bounds = [_constant(model, name) for name in clip.inputs[1:]] + [None, None]
    lo, hi = (
        default if bound is None else quantize_scalar(float(bound.reshape(())), parameters)
        for bound, default in zip(bounds, (full.lo, full.hi), strict=False)
    )
    return Quantizer(full.scale, full.zero_point, lo, max(lo, hi))


def _next_scale(model: Model, layer: Node) -> np.float32:
    """Scale of the first quantizer behind the layer and its clamps; 1 where its output is float."""
    readers = model.consumers()
    following = readers.get(layer.outputs[0], [])
    while len(following) == 1 and following[0].op_type in _CLAMPS:
        following = readers.get(following[0].outputs[0], [])
    for node in following:
        if node.op_type == "QuantizeLinear":
            return _quantizer(model, node).scale
    return np.float32(1)


def _constant(model: Model, name: str) -> Array | None:
    return model.weights[name].numpy() if name in model.weights else None


def _quantizer(model: Model, node: Node) -> Quantizer:
    """Of a QuantizeLinear or DequantizeLinear on an activation, over all of its integer type."""
    parameters = activation_parameters(node, lambda name: _constant(model, name))
    if parameters is None:
        raise ModelError(
            f"{node.op_type} {node.label!r}: expected one constant float32 scale and an 8-bit type"
        )
    lo, hi = (-128, 127) if parameters.signed else (0, 255)
    return Quantizer(np.float32(parameters.scale), parameters.zero_point, lo, hi)


def _activation_quantizers(graph: Model) -> dict[str, Quantizer]:
    """By output of QuantizeLinear, each read back by DequantizeLinear with the same parameters."""
    quantizers = {
        n.outputs[0]: _quantizer(graph, n) for n in graph.nodes if n.op_type == "QuantizeLinear"
    }
    for node in graph.nodes:
        backward = node.op_type == "DequantizeLinear"
        for name in node.inputs[:1] if backward else node.inputs:
            written = quantizers.get(name)
            if (backward and written is None) or (
                written is not None and (not backward or _quantizer(graph, node) != written)
            ):
                raise ModelError(
                    f"{node.op_type} {node.label!r}: expected every QuantizeLinear to be read by "
                    f"DequantizeLinear with the same scale and zero point, {name!r} is not"
                )
    return quantizers


def with_trained(
    form: TrainingForm, trained: Mapping[str, Array], scales: Mapping[str, Array]
) -> Model:
    """The source model with trained values; integers by the rules of `quantize_layer`.

    trained: float32 arrays by name, one for each of weights, others and statistics. scales: of the
    weights of integer layers, by name.
    Raises QuantizationError where the numeric contract cannot hold.
    """
    weights = dict(form.source.weights)
    rewritten: set[str] = set()
    for name, layer in form.integers.items():
        bias_name = layer.bias.outputs[0] if layer.bias is not None else ""
        integers = quantize_layer(
            np.moveaxis(trained[name], layer.axis, 0),
            trained[bias_name] if bias_name else None,
            layer.x,
            layer.y_scale,
            layer.bits,
            layer.scale.ndim == 1,
            layer.node.label,
            scales[name],
        )
        values = np.ascontiguousarray(np.moveaxis(integers.weight, 0, layer.axis))
        _set(weights, layer.weight, stored(values), integers.weight_scale)
        if layer.bias is not None:
            _set(weights, layer.bias, Tensor(integers.bias), integers.bias_scale)
        rewritten |= {name, bias_name}
    for name in (*form.weights, *form.others, *form.statistics):
        if name not in rewritten:
            weights[name] = stored(trained[name])
    return form.source.replace(weights=weights)


def _set(weights: dict[str, Tensor], node: Node, values: Tensor, scale: Array) -> None:
    weights[node.inputs[0]] = values
    weights[node.inputs[1]] = Tensor(scale.reshape(weights[node.inputs[1]].shape))
