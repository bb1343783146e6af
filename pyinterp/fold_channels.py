"""Parts of a graph that keep channels last, between two Transposes, brought to ONNX's NCHW order.

ConvNeXt and its like transpose images to [N, H, W, C] for LayerNormalization and MatMul. There a
MatMul by a constant matrix is a 1x1 convolution, which takes in what follows it as every other one
does; a LayerNormalization gets the two Transposes to itself, and lowering sees all three as one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .fold_linear import fresh_name
from .fold_transposed import POINTWISE
from .model import Attribute, Model, Node, Tensor

TO_LAST = (0, 2, 3, 1)
TO_FIRST = (0, 3, 1, 2)
_ELEMENTWISE = frozenset(("Add", "Div", "Mul", "Sub"))


def channels_first(model: Model) -> Model:
    """The same object where there is nothing between such Transposes but LayerNormalization."""
    if not model.has({"Transpose"}):
        return model
    found = any(_transposes(node, TO_LAST) for node in model.nodes)
    return _Rewriter(model).run() if found else model


def _transposes(node: Node, order: tuple[int, ...]) -> bool:
    return node.op_type == "Transpose" and node.attributes.get("perm") == order


class _Rewriter:
    """first: value [N, H, W, C] -> the same as [N, C, H, W]. written: those of them that exist as
    they were, too. renamed: value -> the one that takes its place.
    """

    def __init__(self, model: Model) -> None:
        self.model, self.weights = model, dict(model.weights)
        self.taken = {*model.weights, *model.producers(), *(i.name for i in model.inputs)}
        self.outputs = {info.name for info in model.outputs}
        self.nodes: list[Node] = []
        self.first: dict[str, str] = {}
        self.written: set[str] = set()
        self.renamed: dict[str, str] = {}
        self.changed = False

    def run(self) -> Model:
        for original in self.model.nodes:
            inputs = tuple(self.renamed.get(name, name) for name in original.inputs)
            self._visit(replace(original, inputs=inputs))
        for name in self.outputs & self.first.keys():
            self._write(name)
        if not self.changed:
            return self.model
        return self.model.replace(nodes=tuple(self.nodes), weights=self.weights)

    def _visit(self, node: Node) -> None:
        if node.domain or any(node.outputs[1:]) or not node.outputs:
            self._keep(node)
        elif _transposes(node, TO_LAST):
            self.first[node.outputs[0]] = node.inputs[0]
        elif not any(name in self.first for name in node.inputs):
            self.nodes.append(node)
        elif _transposes(node, TO_FIRST):
            self._leave(node)
        elif _normalizes(node):
            self._keep(node)
            self.written.add(node.outputs[0])
            self._transposed(node.outputs[0], TO_FIRST)
        elif not (self._product(node) or self._elementwise(node)):
            self._keep(node)

    def _keep(self, node: Node) -> None:
        for name in node.inputs:
            self._write(name)
        self.nodes.append(node)

    def _write(self, name: str) -> None:
        """Make a value in its own order, where something wants it."""
        if name in self.first and name not in self.written:
            self.written.add(name)
            attributes: dict[str, Attribute] = {"perm": TO_LAST}
            inputs = (self.first[name],)
            self.nodes.append(Node("Transpose", inputs, (name,), attributes, f"{name}/last"))

    def _transposed(self, name: str, order: tuple[int, ...]) -> None:
        self.first[name] = self._name(f"{name}/first")
        attributes: dict[str, Attribute] = {"perm": order}
        output = self.first[name]
        self.nodes.append(Node("Transpose", (name,), (output,), attributes, output))

    def _leave(self, node: Node) -> None:
        """A Transpose back: its input is there already."""
        source, output = self.first[node.inputs[0]], node.outputs[0]
        if output in self.outputs:
            self.nodes.append(Node("Identity", (source,), (output,), {}, node.label))
        else:
            self.renamed[output] = source

    def _name(self, wanted: str) -> str:
        name = fresh_name(wanted, self.taken)
        self.taken.add(name)
        return name

    def _made(self, node: Node, op_type: str, inputs: tuple[str, ...]) -> None:
        output = self._name(f"{node.outputs[0]}/first")
        self.first[node.outputs[0]] = output
        attributes = {} if op_type == "Conv" else node.attributes
        self.nodes.append(Node(op_type, inputs, (output,), attributes, node.label))
        self.changed = True

    def _product(self, node: Node) -> bool:
        """A MatMul by a constant matrix, as a convolution."""
        if node.op_type != "MatMul" or node.inputs[0] not in self.first:
            return False
        matrix = self.weights.get(node.inputs[1])
        if matrix is None or len(matrix.shape) != 2 or matrix.dtype != np.float32:
            return False
        weight = self._name(f"{node.label}/weight")
        self.weights[weight] = Tensor(np.ascontiguousarray(matrix.numpy().T[:, :, None, None]))
        self._made(node, "Conv", (self.first[node.inputs[0]], weight))
        return True

    def _elementwise(self, node: Node) -> bool:
        """Functions of one value, and arithmetic of two, or with constants along channels."""
        alone = node.op_type in POINTWISE and node.inputs[0] in self.first
        if not alone and node.op_type not in _ELEMENTWISE:
            return False
        inputs = []
        for name in node.inputs:
            constant = self.weights.get(name)
            if name in self.first:
                inputs.append(self.first[name])
            elif constant is None:
                if name:
                    return False
                inputs.append(name)
            elif int(np.prod(constant.shape)) == 1:
                inputs.append(name)
            elif len(constant.shape) == 1:
                column = self._name(f"{name}/column")
                self.weights[column] = Tensor(constant.numpy()[:, None, None])
                inputs.append(column)
            else:
                return False
        self._made(node, node.op_type, tuple(inputs))
        return True


def _normalizes(node: Node) -> bool:
    last = node.attributes.get("axis", -1) in (-1, 3)
    return node.op_type == "LayerNormalization" and last
