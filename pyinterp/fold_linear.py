"""Fold BatchNorm and other per-channel factors and offsets into the layer before them.

A layer is a Conv or Gemm with constant weights. `y = layer(x) * factor[c] + offset[c]` is the same
layer with `weight[c] * factor[c]` and `bias[c] * factor[c] + offset[c]` (Jacob et al., 2018,
arXiv:1712.05877, section 3.2). The products are formed in float64 and rounded once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .model import Array, Model, Node, Tensor

F64 = npt.NDArray[np.float64]

_POOLS = ("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool")
_UNARY = ("Cast", "Clip", "Dropout", "Elu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu")
_MORE_UNARY = ("QuantizeLinear", "DequantizeLinear", "Pad", "Relu", "Sigmoid", "Softmax")
_SAME_RANK = {*_POOLS, *_UNARY, *_MORE_UNARY, "BatchNormalization", "Concat", "Transpose"}
_AFFINE = frozenset({"BatchNormalization", "Add", "Sub", "Mul", "Div"})
_BROADCASTING = frozenset({"Add", "Sub", "Mul", "Div", "Sum", "Max", "Min"})


def fresh_name(wanted: str, taken: Iterable[str]) -> str:
    """`wanted`, or with the first number behind it that makes it unlike all of `taken`."""
    used = set(taken)
    name, number = wanted, 2
    while name in used:
        name, number = f"{wanted}_{number}", number + 1
    return name


def ranks(model: Model) -> dict[str, int]:
    """Number of axes of the values where the operators before them tell."""
    known = {name: len(tensor.shape) for name, tensor in model.weights.items()}
    known |= {i.name: len(i.shape) for i in model.inputs if i.shape is not None}
    for node in model.nodes:
        rank = _rank(model, node, known)
        if rank is not None:
            known[node.outputs[0]] = rank
    return known


def _rank(model: Model, node: Node, known: Mapping[str, int]) -> int | None:
    inputs = [known.get(name) for name in node.inputs]
    if node.domain or not inputs:
        return None
    if node.op_type in ("Flatten", "Gemm"):
        return 2
    if node.op_type == "Conv":
        return inputs[0] or inputs[1]
    if node.op_type in _SAME_RANK:
        return inputs[0]
    if node.op_type in _BROADCASTING:
        given = [rank for rank in inputs if rank is not None]
        return max(given) if len(given) == len(inputs) else None
    if node.op_type == "Reshape" and node.inputs[1] in model.weights:
        return model.weights[node.inputs[1]].shape[0]
    if node.op_type == "MatMul" and inputs == [2, 2]:
        return 2
    return None


def normalize_gemm(model: Model) -> Model:
    """Every Gemm, and every product of matrices, with constant weights as one form of Gemm.

    That is transA=0, transB=1 (weights [N, K]), alpha=beta=1, bias [N] or absent.
    """
    products = [node for node in model.nodes if node.op_type in ("Gemm", "MatMul")]
    if not any(node.inputs[1] in model.weights for node in products if len(node.inputs) > 1):
        return model
    weights = dict(model.weights)
    known = ranks(model)
    nodes = []
    for node in model.nodes:
        new = None
        if not node.domain and len(node.inputs) > 1 and node.inputs[1] in weights:
            new = _normal_gemm(node, known, weights)
        nodes.append(new or node)
    if len(weights) == len(model.weights):
        return model
    return model.replace(nodes=tuple(nodes), weights=weights)


def number(node: Node, key: str, default: float) -> float:
    """A numeric attribute."""
    value = node.attributes.get(key, default)
    return float(value) if isinstance(value, (int, float)) else default


def _is_normal(node: Node, weights: Mapping[str, Tensor]) -> bool:
    """Whether a Gemm with constant weights has the form that `normalize_gemm` makes."""
    c = node.inputs[2] if len(node.inputs) > 2 else ""
    return (
        number(node, "alpha", 1) == number(node, "beta", 1) == 1
        and not number(node, "transA", 0)
        and number(node, "transB", 0) != 0
        and (not c or (c in weights and weights[c].shape == weights[node.inputs[1]].shape[:1]))
    )


def _normal_gemm(node: Node, known: Mapping[str, int], weights: dict[str, Tensor]) -> Node | None:
    """The node in its normal form, new weights added; None where it has it or cannot have it."""
    b, c = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else ""
    if node.op_type == "Gemm":
        if number(node, "transA", 0) or _is_normal(node, weights):
            return None
    elif node.op_type != "MatMul" or not known.get(node.inputs[0]) == known.get(b) == 2:
        return None
    matrix = weights[b].numpy()
    matrix = matrix if number(node, "transB", 0) else matrix.T
    outputs = matrix.shape[0]
    if c and (c not in weights or weights[c].shape not in ((), (1,), (outputs,), (1, outputs))):
        return None
    inputs = [node.inputs[0], fresh_name(f"{node.label}/weight", weights)]
    scaled = number(node, "alpha", 1) * matrix.astype(np.float64)
    weights[inputs[1]] = Tensor(np.ascontiguousarray(scaled.astype(matrix.dtype)))
    if c:
        inputs.append(fresh_name(f"{node.label}/bias", weights))
        row = np.broadcast_to(weights[c].numpy(), (1, outputs))[0].astype(np.float64)
        weights[inputs[2]] = Tensor((number(node, "beta", 1) * row).astype(matrix.dtype))
    return replace(node, op_type="Gemm", inputs=tuple(inputs), attributes={"transB": 1})


@dataclass(frozen=True, slots=True)
class _Affine:
    """x * factor + offset along axis 1; each [C], or [1] where it holds for all channels."""

    source: str
    factor: F64
    offset: F64


def fold_batch_norm(model: Model) -> Model:
    """Fold BatchNorm, and Add, Sub, Mul and Div by constants, into the Conv or Gemm before them.

    A layer whose output something else reads too stays; a BatchNorm that cannot be folded becomes
    Mul and Add (where the rank of its input is known), which fuse and run faster than it does.
    """
    candidates = [node for node in model.nodes if node.op_type in _AFFINE]
    if all(model.weights.keys().isdisjoint(node.inputs) for node in candidates):
        return model
    weights = dict(model.weights)
    known = ranks(model)
    readers = model.consumers()
    shared = {info.name for info in model.outputs} | {n for n, r in readers.items() if len(r) > 1}
    layers: dict[str, int] = {}  # output of a layer -> its place among the new nodes
    nodes: list[Node] = []
    for node in model.nodes:
        affine = _affine(node, known, weights)
        at = layers.pop(affine.source, None) if affine and affine.source not in shared else None
        if affine is not None and at is not None:
            layer = _folded(nodes[at], affine, weights)
            layers[node.outputs[0]] = at
            nodes[at] = replace(layer, outputs=node.outputs)
        elif affine is not None and node.op_type == "BatchNormalization":
            nodes += _mul_add(node, affine, known[affine.source], weights)
        else:
            if _is_layer(node, weights):
                layers[node.outputs[0]] = len(nodes)
            nodes.append(node)
    if len(weights) == len(model.weights):
        return model
    used = {name for node in nodes for name in node.inputs} | shared
    kept = {name: tensor for name, tensor in weights.items() if name in used}
    return model.replace(nodes=tuple(nodes), weights=kept)


def _is_layer(node: Node, weights: Mapping[str, Tensor]) -> bool:
    """Conv, or Gemm in normal form, with constant floating-point weights and bias."""
    if node.domain or node.op_type not in ("Conv", "Gemm"):
        return False
    if node.inputs[1] not in weights:
        return False
    if node.op_type == "Gemm" and not _is_normal(node, weights):
        return False
    constants = [name for name in node.inputs[1:] if name]
    return all(n in weights and weights[n].dtype.kind == "f" for n in constants) and (
        len(constants) == 1 or len(weights[constants[1]].shape) == 1
    )


def _affine(node: Node, known: Mapping[str, int], weights: Mapping[str, Tensor]) -> _Affine | None:
    if node.domain or any(node.outputs[1:]):
        return None
    if node.op_type == "BatchNormalization":
        return _batch_norm(node, known, weights)
    if node.op_type not in ("Add", "Sub", "Mul", "Div"):
        return None
    x, c = node.inputs
    if x in weights and node.op_type in ("Add", "Mul"):
        x, c = c, x
    if x in weights or c not in weights or x not in known or weights[c].dtype.kind != "f":
        return None
    values = _channel_values(weights[c].numpy(), known[x])
    if values is None or (node.op_type == "Div" and not values.all()):
        return None
    one, zero = np.ones(1), np.zeros(1)
    factor = {"Mul": values, "Div": 1 / values if node.op_type == "Div" else one}
    offset = {"Add": values, "Sub": -values}
    return _Affine(x, factor.get(node.op_type, one), offset.get(node.op_type, zero))


def _channel_values(constant: Array, rank: int) -> F64 | None:
    """A constant that varies along axis 1 of a value of `rank` at most, as [C] or [1]."""
    if constant.ndim > rank or rank < 2:
        return None
    shape = (1,) * (rank - constant.ndim) + constant.shape
    if constant.size != shape[1]:
        return None
    return constant.reshape(-1).astype(np.float64)


def _batch_norm(
    node: Node, known: Mapping[str, int], weights: Mapping[str, Tensor]
) -> _Affine | None:
    if number(node, "training_mode", 0) or number(node, "spatial", 1) != 1:
        return None
    if node.inputs[0] not in known or any(name not in weights for name in node.inputs[1:]):
        return None
    scale, bias, mean, variance = (weights[n].numpy().astype(np.float64) for n in node.inputs[1:])
    factor = scale / np.sqrt(variance + number(node, "epsilon", 1e-5))
    return _Affine(node.inputs[0], factor, bias - mean * factor)


def _folded(layer: Node, affine: _Affine, weights: dict[str, Tensor]) -> Node:
    """The layer with factor and offset in its weights, which get new names: others may share."""
    old = weights[layer.inputs[1]].numpy()
    channels = old.shape[0]
    factor, offset = (np.broadcast_to(v, (channels,)) for v in (affine.factor, affine.offset))
    bias = np.zeros(channels)
    if len(layer.inputs) > 2 and layer.inputs[2]:
        bias = weights[layer.inputs[2]].numpy().astype(np.float64)
    names = [fresh_name(f"{layer.label}/folded_{part}", weights) for part in ("weight", "bias")]
    shape = (channels,) + (1,) * (old.ndim - 1)
    weights[names[0]] = Tensor((old.astype(np.float64) * factor.reshape(shape)).astype(old.dtype))
    weights[names[1]] = Tensor((bias * factor + offset).astype(old.dtype))
    # An unnamed layer is called by its output, which folding moves: it keeps what it was called.
    return replace(layer, inputs=(layer.inputs[0], *names), name=layer.label)


def _mul_add(node: Node, affine: _Affine, rank: int, weights: dict[str, Tensor]) -> list[Node]:
    label, dtype = node.label, weights[node.inputs[1]].dtype
    shape = (-1,) + (1,) * (rank - 2)
    factor, offset = (fresh_name(f"{label}/{part}", weights) for part in ("factor", "offset"))
    weights[factor] = Tensor(affine.factor.astype(dtype).reshape(shape))
    weights[offset] = Tensor(affine.offset.astype(dtype).reshape(shape))
    product = f"{node.outputs[0]}/scaled"
    return [
        Node("Mul", (node.inputs[0], factor), (product,), {}, f"{label}/mul"),
        Node("Add", (product, offset), node.outputs, {}, f"{label}/add"),
    ]
