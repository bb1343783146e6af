"""Raise a model to opset 13, the first whose QuantizeLinear has scales per channel.

Only what changed between opsets 7 and 13 for operators that Sparing runs is touched; the rest means
the same in both (https://onnx.ai/onnx/operators/).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..errors import ModelError
from ..fold_linear import fresh_name
from ..model import Model, Node, Tensor

QDQ_OPSET = 13

# Attributes that became inputs, in the order of the inputs, and the type they have there.
_MOVED = {
    "Clip": (("min", np.float32), ("max", np.float32)),
    "Pad": (("pads", np.int64), ("value", np.float32)),
    "ReduceSum": (("axes", np.int64),),
    "Slice": (("starts", np.int64), ("ends", np.int64), ("axes", np.int64)),
    "Split": (("split", np.int64),),
    "Squeeze": (("axes", np.int64),),
    "Unsqueeze": (("axes", np.int64),),
}
_DROPPED = {"BatchNormalization": "spatial"}  # its only other value has no meaning left
# More than a moved attribute changed: the first opset that means what 13 does.
_CHANGED = {"Dropout": 12, "Resize": 11, "Upsample": 13}
_COERCED = frozenset({"LogSoftmax", "Softmax"})


def raise_opset(model: Model) -> Model:
    """The model at opset 13 or newer; itself where it is there already.

    Raises ModelError for an operator whose conversion is not known.
    """
    if model.opset >= QDQ_OPSET:
        return model
    weights = dict(model.weights)
    nodes: list[Node] = []
    for node in model.nodes:
        if model.opset < _CHANGED.get(node.op_type, 0):
            raise ModelError(
                f"{node.op_type} {node.label!r} means something else from opset {QDQ_OPSET} on: "
                f"expected a model of that opset, got {model.opset}; export it anew or convert it "
                "with onnx.version_converter"
            )
        if node.op_type in _MOVED:
            nodes.append(_with_inputs(node, weights))
        elif node.op_type in _COERCED:
            nodes += _softmax(node)
        else:
            dropped = _DROPPED.get(node.op_type)
            kept = {key: value for key, value in node.attributes.items() if key != dropped}
            nodes.append(replace(node, attributes=kept))
    return model.replace(nodes=tuple(nodes), weights=weights, opset=QDQ_OPSET)


def _with_inputs(node: Node, weights: dict[str, Tensor]) -> Node:
    inputs, attributes = list(node.inputs), dict(node.attributes)
    for place, (key, dtype) in enumerate(_MOVED[node.op_type], start=1):
        if key in attributes:
            name = fresh_name(f"{node.label}/{key}", weights)
            weights[name] = Tensor(np.array(attributes.pop(key), dtype))
            inputs += [""] * (place + 1 - len(inputs))
            inputs[place] = name
    return replace(node, inputs=tuple(inputs), attributes=attributes)


def _softmax(node: Node) -> list[Node]:
    """Before opset 13 the axes from `axis` on were one: flattened, and shaped back at the end."""
    x, y = node.inputs[0], node.outputs[0]
    axis = node.attributes.get("axis", 1)
    return [
        Node("Shape", (x,), (f"{y}/shape",), {}, f"{node.label}/shape"),
        Node("Flatten", (x,), (f"{y}/flat",), {"axis": axis}, f"{node.label}/flatten"),
        replace(node, inputs=(f"{y}/flat",), outputs=(f"{y}/normal",), attributes={"axis": -1}),
        Node("Reshape", (f"{y}/normal", f"{y}/shape"), (y,), {}, f"{node.label}/reshape"),
    ]
