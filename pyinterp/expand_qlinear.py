"""Rewrite QLinearConv and QLinearMatMul as DequantizeLinear, the float operator, QuantizeLinear.

That is their definition, and it leaves the lowering one way to meet a quantized layer.
"""

from __future__ import annotations

import numpy as np

from .model import Model, Node, Tensor


def expand_qlinear(model: Model) -> Model:
    """The model without QLinearConv and QLinearMatMul; the same object where it had none."""
    if not any(node.op_type in ("QLinearConv", "QLinearMatMul") for node in model.nodes):
        return model
    nodes: list[Node] = []
    weights = dict(model.weights)
    for node in model.nodes:
        if node.op_type == "QLinearConv":
            nodes += _conv(node, weights)
        elif node.op_type == "QLinearMatMul":
            nodes += _around(node, "MatMul", [])
        else:
            nodes.append(node)
    return model.replace(nodes=tuple(nodes), weights=weights)


def _around(node: Node, op_type: str, bias: list[str]) -> list[Node]:
    """The float operator between DequantizeLinear of both operands and QuantizeLinear."""
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = node.inputs[:8]
    output, label = node.outputs[0], node.label
    left, right, real = (f"{output}:{part}" for part in ("a", "b", "real"))
    b_axis = {"axis": 0} if op_type == "Conv" else {"axis": 1}
    return [
        Node("DequantizeLinear", (a, a_scale, a_zero), (left,), {}, f"{label}:a"),
        Node("DequantizeLinear", (b, b_scale, b_zero), (right,), b_axis, f"{label}:b"),
        Node(op_type, (left, right, *bias), (real,), node.attributes, label),
        Node("QuantizeLinear", (real, y_scale, y_zero), (output,), {}, f"{label}:q"),
    ]


def _conv(node: Node, weights: dict[str, Tensor]) -> list[Node]:
    scales = [weights.get(node.inputs[i]) for i in (1, 4)]
    if len(node.inputs) < 9 or not node.inputs[8]:
        return _around(node, "Conv", [])
    x_scale, w_scale = scales
    if x_scale is None or w_scale is None or node.inputs[8] not in weights:
        return [node]  # computed scales: the reference runs
    scale_name, bias_name = (f"{node.outputs[0]}:{part}" for part in ("bias_scale", "bias"))
    channels = weights[node.inputs[8]].shape[0]
    product = np.float32(x_scale.numpy().reshape(())) * w_scale.numpy().astype(np.float32)
    weights[scale_name] = Tensor(np.broadcast_to(product.reshape(-1), (channels,)).copy())
    bias = Node(
        "DequantizeLinear", (node.inputs[8], scale_name), (bias_name,), {"axis": 0}, bias_name
    )
    return [bias, *_around(node, "Conv", [bias_name])]
