"""Rewrite operators on integers as DequantizeLinear, the float operator, QuantizeLinear.

QLinearConv and QLinearMatMul are ONNX operators; the others are onnxruntime's (domain
com.microsoft), which its QOperator format uses. The rewrite is their definition, and it leaves
the rest of Sparing one way to meet a quantized layer. Operators that only move values (MaxPool
among them) may stand between quantized ones as they are; they move the floats just as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain

import numpy as np

from .model import Attribute, Model, Node, Tensor

Weights = dict[str, Tensor]
Quantized = tuple[str, str, str]  # names of a tensor, its scale and its zero point

CONTRIB = "com.microsoft"


def expand_qlinear(model: Model) -> Model:
    """The model without operators on integers; the same object where it had none."""
    if model.has(_INTEGER) and any(_rule(node) for node in model.nodes):
        weights = dict(model.weights)
        parts = [rule(node, weights) if (rule := _rule(node)) else [node] for node in model.nodes]
        model = model.replace(nodes=tuple(chain(*parts)), weights=weights)
    return _expand_moves(model)


def _expand_moves(model: Model) -> Model:
    """Moves of quantized values become moves of floats between the same scales."""
    made = {node.outputs[0] for node in model.nodes if node.op_type == "QuantizeLinear"}
    moves = [node for node in model.nodes if node.op_type in _MOVES]
    if all(made.isdisjoint(node.inputs[:1]) for node in moves):  # none begins at such a value
        return model
    parameters: dict[str, tuple[str, ...]] = {}  # of a quantized value: scale and zero point
    nodes: list[Node] = []
    for node in model.nodes:
        known = parameters.get(node.inputs[0]) if node.inputs else None
        if node.op_type == "QuantizeLinear" and not node.domain:
            known = node.inputs[1:]
            nodes.append(node)
        elif known is not None and _moves(node):
            scale, zero_point = (*known, "")[:2]
            x: Quantized = (node.inputs[0], scale, zero_point)
            inputs: list[Quantized | str] = [x, *node.inputs[1:]]
            nodes += _around(node, node.op_type, inputs, scale, zero_point, node.attributes)
        else:
            known = None
            nodes.append(node)
        if known is not None:
            parameters[node.outputs[0]] = known
    return model.replace(nodes=tuple(nodes)) if len(nodes) > len(model.nodes) else model


def _moves(node: Node) -> bool:
    if node.op_type == "Resize" and node.attributes.get("mode", "nearest") != "nearest":
        return False
    return node.op_type in _MOVES and not node.domain and not any(node.outputs[1:])


def expand_contrib(model: Model) -> Model:
    """As `expand_qlinear`, but ONNX's own operators, which have a reference, stay."""
    if any(node.domain == CONTRIB for node in model.nodes):
        return expand_qlinear(model)
    return model


def _rule(node: Node) -> Callable[[Node, Weights], list[Node]] | None:
    if node.domain == CONTRIB:
        return _CONTRIB_RULES.get(node.op_type)
    return _RULES.get(node.op_type) if node.domain == "" else None


def _three(node: Node, first: int) -> Quantized:
    names = (*node.inputs[first : first + 3], "", "", "")
    return names[0], names[1], names[2]


def _around(
    node: Node,
    op_type: str,
    inputs: list[Quantized | str],
    scale: str,
    zero_point: str,
    attributes: Mapping[str, Attribute] | None = None,
    weight_axis: int = 1,
) -> list[Node]:
    """The float operator between DequantizeLinears of its inputs and a QuantizeLinear.

    Inputs given as one name are floats already; attributes: of the float operator.
    """
    nodes, names = [], []
    output, label = node.outputs[0], node.label
    for i, given in enumerate(inputs):
        if isinstance(given, str):
            names.append(given)
            continue
        names.append(f"{output}:{i}")
        axis = {"axis": weight_axis} if i else {}
        quantized = tuple(name for name in given if name)
        nodes.append(Node("DequantizeLinear", quantized, (names[-1],), axis))
    real = f"{output}:real"
    nodes.append(Node(op_type, tuple(names), (real,), attributes or {}, label))
    target = tuple(name for name in (real, scale, zero_point) if name)
    return [*nodes, Node("QuantizeLinear", target, (output,), {}, f"{label}:q")]


def _bias(node: Node, weights: Weights, x_scale: str, w_scale: str, bias: str) -> list[Node]:
    """A DequantizeLinear of an int32 bias, whose scale is the product of the other two."""
    scale_name, output = (f"{node.outputs[0]}:{part}" for part in ("bias_scale", "bias"))
    channels = weights[bias].shape[0]
    product = weights[x_scale].numpy().reshape(()) * weights[w_scale].numpy()
    full = np.broadcast_to(product.astype(np.float32).reshape(-1), (channels,))
    weights[scale_name] = Tensor(full.copy())
    return [Node("DequantizeLinear", (bias, scale_name), (output,), {"axis": 0}, output)]


def _layer(
    node: Node, weights: Weights, op_type: str, bias: str, scale: str, zero_point: str, axis: int
) -> list[Node]:
    x, w = _three(node, 0), _three(node, 3)
    if bias and any(name not in weights for name in (x[1], w[1], bias)):
        return [node]  # computed scales: the reference runs, where there is one
    first = _bias(node, weights, x[1], w[1], bias) if bias else []
    inputs: list[Quantized | str] = [x, w, *(last.outputs[0] for last in first)]
    return [*first, *_around(node, op_type, inputs, scale, zero_point, node.attributes, axis)]


def _conv(node: Node, weights: Weights) -> list[Node]:
    bias = node.inputs[8] if len(node.inputs) > 8 else ""
    return _layer(node, weights, "Conv", bias, node.inputs[6], node.inputs[7], axis=0)


def _matmul(node: Node, weights: Weights) -> list[Node]:
    return _layer(node, weights, "MatMul", "", node.inputs[6], node.inputs[7], axis=1)


def _gemm(node: Node, weights: Weights) -> list[Node]:
    inputs = (*node.inputs, "", "", "")
    axis = 0 if node.attributes.get("transB", 0) else 1
    if not inputs[7]:
        return [node]  # float output: not a quantized layer
    return _layer(node, weights, "Gemm", inputs[6], inputs[7], inputs[8], axis)


def _binary(op_type: str) -> Callable[[Node, Weights], list[Node]]:
    def expand(node: Node, weights: Weights) -> list[Node]:
        scale, zero_point = (*node.inputs, "")[6:8]
        return _around(node, op_type, [_three(node, 0), _three(node, 3)], scale, zero_point)

    return expand


def _unary(op_type: str, *kept: str) -> Callable[[Node, Weights], list[Node]]:
    def expand(node: Node, weights: Weights) -> list[Node]:
        scale, zero_point = (*node.inputs, "")[3:5]
        attributes = {key: node.attributes[key] for key in kept if key in node.attributes}
        return _around(node, op_type, [_three(node, 0)], scale, zero_point, attributes)

    def channels_first(node: Node, weights: Weights) -> list[Node]:
        return [node] if node.attributes.get("channels_last", 0) else expand(node, weights)

    return channels_first


def _concat(node: Node, weights: Weights) -> list[Node]:
    parts: list[Quantized | str] = [_three(node, i) for i in range(2, len(node.inputs), 3)]
    return _around(node, "Concat", parts, node.inputs[0], node.inputs[1], node.attributes)


def _softmax(node: Node, weights: Weights) -> list[Node]:
    """Of opset 13, where the axis is the only one; before, all axes from there on were."""
    if int(node.attributes.get("opset", 13)) < 13:  # type: ignore[arg-type]
        return [node]
    return _unary("Softmax", "axis")(node, weights)


_RULES: dict[str, Callable[[Node, Weights], list[Node]]] = {
    "QLinearConv": _conv,
    "QLinearMatMul": _matmul,
}
_MOVES = frozenset(
    ("Flatten", "MaxPool", "Reshape", "Resize", "Slice", "Squeeze", "Transpose", "Unsqueeze")
)
_POOL = ("auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides")
_CONTRIB_RULES: dict[str, Callable[[Node, Weights], list[Node]]] = {
    "QGemm": _gemm,
    "QLinearAdd": _binary("Add"),
    "QLinearMul": _binary("Mul"),
    "QLinearConcat": _concat,
    "QLinearAveragePool": _unary("AveragePool", *_POOL),
    "QLinearGlobalAveragePool": _unary("GlobalAveragePool"),
    "QLinearLeakyRelu": _unary("LeakyRelu", "alpha"),
    "QLinearSigmoid": _unary("Sigmoid"),
    "QLinearSoftmax": _softmax,
}
_INTEGER = _RULES.keys() | _CONTRIB_RULES.keys()
