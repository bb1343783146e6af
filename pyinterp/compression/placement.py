"""Where quantizers go: which values of a graph become integers, and which share a scale.

Layers (Conv, Gemm, MatMul) demand a quantized input and give a quantized output; what stands
between layers follows where all it reads is quantized. A Relu or Clip right behind an operator that
requantizes anyway is its clamp: the quantizer stands behind the two. An Add gets quantizers on both
operands, so that fused or not it means the same. A function of one tensor that takes several
operators is quantized at its end.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

import numpy as np

from ..lower_functions import IN_CHAINS
from ..model import Model, Node
from .layers import is_layer

# Outputs with a quantizer of their own, as the inputs have: the integer operators of `ops/fused`.
_ARITHMETIC = frozenset({"Add", "Mul"})
_POOLS = frozenset({"AveragePool", "GlobalAveragePool"})
_TABLES = frozenset({"HardSigmoid", "HardSwish", "LeakyRelu", "Sigmoid"})
_BY_CHANNEL = frozenset({"InstanceNormalization", "LayerNormalization", "PRelu"})
_CLAMPS = frozenset({"Clip", "Relu"})
# Every output value is one of the inputs' values (or 0): the same scale serves.
_MOVES = frozenset(
    (
        "DepthToSpace",
        "Flatten",
        "MaxPool",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    )
)


@dataclass(frozen=True, slots=True)
class Placement:
    """values: names to quantize, in graph order. layers: those whose weights are quantized.

    source: value -> the value whose scale it shares. clamped: output of an operator -> output of
    the clamp fused behind it, where the quantizer stands.
    """

    values: tuple[str, ...]
    layers: tuple[Node, ...]
    source: dict[str, str]
    clamped: dict[str, str]

    def root(self, name: str) -> str:
        """The value that decides the scale of `name`."""
        while name in self.source:
            name = self.source[name]
        return name

    def result(self, node: Node) -> str:
        """The value that is quantized behind an operator."""
        return self.clamped.get(node.outputs[0], node.outputs[0])


def place(model: Model, ignored: Set[str]) -> Placement:
    """Decide for a float model. ignored: labels of nodes that stay in float."""
    nodes = [n for n in model.nodes if n.label not in ignored and not n.domain]
    layers = tuple(node for node in nodes if is_layer(model, node))
    clamped = _fused_clamps(model, nodes)
    source: dict[str, str] = {}
    marked = {layer.inputs[0] for layer in layers}
    chains = _Chains(model, {node.label for node in nodes}, marked)
    for node in nodes:
        several = any(node.outputs[1:]) and node.op_type != "Split"
        if several or (node.outputs[0] in clamped.values() and not chains.continue_at(node)):
            continue
        moves = _keeps_values(model, node)
        if is_layer(model, node) or (
            (moves or _has_integer_form(node)) and _reads_only(model, node, marked)
        ):
            for name in filter(None, node.outputs):
                marked.add(clamped.get(name, name))
                if moves:
                    source[name] = node.inputs[0]
        elif chains.take(node) and chains.end_at(node):
            marked.add(node.outputs[0])
    _share_parts(model, nodes, marked, source)
    order = [info.name for info in model.inputs] + [o for n in model.nodes for o in n.outputs]
    return Placement(tuple(name for name in order if name in marked), layers, source, clamped)


class _Chains:
    """Operators on one quantized tensor whose values stay float until the last one's.

    root: float value between operators -> the quantized tensor that it is a function of.
    """

    def __init__(self, model: Model, labels: Set[str], marked: Set[str]) -> None:
        self.model, self.labels, self.marked = model, labels, marked
        self.readers = model.consumers()
        self.root: dict[str, str] = {}

    def continue_at(self, node: Node) -> bool:
        """Whether a node reads a float value of a chain."""
        return any(name in self.root and name not in self.marked for name in node.inputs)

    def take(self, node: Node) -> bool:
        """Whether a node, whose inputs are known, belongs to a chain."""
        roots = self._roots(node, {})
        if roots is None or len(roots) != 1:
            return False
        self.root[node.outputs[0]] = next(iter(roots))
        return True

    def end_at(self, node: Node) -> bool:
        """Whether the value of a node of a chain is read by anything but the same chain."""
        value = node.outputs[0]
        own = {value: self.root[value]}
        following = self.readers.get(value, [])
        return not following or any(
            reader.label not in self.labels or self._roots(reader, own) != {self.root[value]}
            for reader in following
        )

    def _roots(self, node: Node, more: Mapping[str, str]) -> set[str] | None:
        """The quantized tensors that a node's result is a function of; None where it is none."""
        if node.op_type not in IN_CHAINS or any(node.outputs[1:]):
            return None
        found = set()
        for name in filter(None, node.inputs):
            constant = self.model.weights.get(name)
            if constant is not None and int(np.prod(constant.shape)) == 1:
                continue
            root = more.get(name, name if name in self.marked else self.root.get(name, ""))
            if not root:
                return None
            found.add(root)
        return found


def _fused_clamps(model: Model, nodes: list[Node]) -> dict[str, str]:
    readers = model.consumers()
    outputs = {info.name for info in model.outputs}
    labels = {node.label for node in nodes}
    fused = {}
    for node in nodes:
        value = node.outputs[0]
        following = readers.get(value, [])
        if (
            (is_layer(model, node) or node.op_type in _ARITHMETIC | _POOLS)
            and value not in outputs
            and len(following) == 1
            and following[0].label in labels
            and _is_clamp(model, following[0])
        ):
            fused[value] = following[0].outputs[0]
    return fused


def _is_clamp(model: Model, node: Node) -> bool:
    bounds = [name for name in node.inputs[1:] if name]
    return node.op_type in _CLAMPS and all(name in model.weights for name in bounds)


def _has_integer_form(node: Node) -> bool:
    return node.op_type in _ARITHMETIC | _POOLS | _TABLES | _BY_CHANNEL | _CLAMPS | {"Concat"}


def _keeps_values(model: Model, node: Node) -> bool:
    if node.op_type == "Pad":
        value = model.weights.get(node.inputs[2]) if len(node.inputs) > 2 else None
        zeros = len(node.inputs) < 3 or not node.inputs[2]
        return zeros or (value is not None and not value.numpy().any())
    if node.op_type == "Resize":
        return node.attributes.get("mode", "nearest") in ("nearest", "linear")  # or between them
    return node.op_type in _MOVES


def _reads_only(model: Model, node: Node, marked: Set[str]) -> bool:
    """Whether all activations a node reads are quantized; shapes, axes and bounds are none."""
    if node.op_type in _ARITHMETIC or node.op_type == "Concat":
        return all(name in marked for name in node.inputs)
    if node.op_type == "Clip" and not _is_clamp(model, node):
        return False
    return node.inputs[0] in marked


def _share_parts(model: Model, nodes: list[Node], marked: Set[str], source: dict[str, str]) -> None:
    """What only a Concat reads is requantized once, straight to the scale of the whole."""
    readers = model.consumers()
    outputs = {info.name for info in model.outputs}
    for node in nodes:
        if node.op_type == "Concat" and node.outputs[0] in marked:
            for part in dict.fromkeys(node.inputs):
                if readers[part] == [node] and part not in source and part not in outputs:
                    source[part] = node.outputs[0]
