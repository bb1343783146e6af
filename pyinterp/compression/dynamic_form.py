"""Dynamic quantization: each layer quantizes its input by the range that this very input has.

A layer of a weight-only quantized graph becomes DynamicQuantizeLinear, ConvInteger or
MatMulInteger, and the product of both scales, as onnxruntime's `quantize_dynamic` writes it:
`y = float32(sum (x - x_zp) w) * (sx * sw) + bias`. Nothing is calibrated, and activations between
layers are floats.
"""

from __future__ import annotations

import numpy as np

from ..fold_linear import fresh_name
from ..model import Model, Node, Tensor
from .qdq_writer import Written

_FLOAT32 = 1  # TensorProto.DataType


def dynamic_form(written: Written) -> Model:
    """written: a graph of which only weights are quantized."""
    return _Rewriter(written).model()


class _Rewriter:
    def __init__(self, written: Written) -> None:
        self.written = written
        self.source = written.model
        self.weights = dict(self.source.weights)
        self.taken = {*self.weights, *self.source.producers()}
        self.taken.update(info.name for info in self.source.inputs)
        self.quantized: dict[str, tuple[str, str, str]] = {}  # value -> integers, scale, zero point
        self.nodes: list[Node] = []

    def model(self) -> Model:
        for node in self.source.nodes:
            if node.label in self.written.sites:
                self._layer(node)
            else:
                self.nodes.append(node)
        read = {name for node in self.nodes for name in node.inputs}
        read |= {info.name for info in self.source.outputs}
        nodes = [n for n in self.nodes if read.intersection(n.outputs)]  # no DequantizeLinear
        read = {name for node in nodes for name in node.inputs}
        weights = {name: tensor for name, tensor in self.weights.items() if name in read}
        return self.source.replace(nodes=tuple(nodes), weights=weights)

    def _name(self, wanted: str) -> str:
        name = fresh_name(wanted, self.taken)
        self.taken.add(name)
        return name

    def _add(self, node: Node, part: str, op_type: str, *inputs: str, output: str = "") -> str:
        """A node of one output, named after the layer."""
        name = output or self._name(f"{node.label}/{part}")
        attributes = {"to": _FLOAT32} if op_type == "Cast" else {}
        self.nodes.append(Node(op_type, inputs, (name,), attributes, f"{node.label}/{part}"))
        return name

    def _layer(self, node: Node) -> None:
        site = self.written.sites[node.label]
        x, x_scale, zero_point = self._input(node.inputs[0])
        outputs, rank = self.weights[site.weight].shape[site.axis], self._rank(node)
        along = (1, outputs, *(1,) * (rank - 2)) if node.op_type == "Conv" else (outputs,)
        weight = self._product_weight(node, site.weight)
        scale = self.weights[site.weight_scale].numpy()
        if scale.ndim:
            self.weights[site.weight_scale] = Tensor(scale.reshape(along))
        sums = self._name(f"{node.label}/sums")
        op_type = "ConvInteger" if node.op_type == "Conv" else "MatMulInteger"
        attributes = node.attributes if node.op_type == "Conv" else {}
        self.nodes.append(
            Node(op_type, (x, weight, zero_point), (sums,), attributes, f"{node.label}/integer")
        )
        real = self._add(node, "sums_float", "Cast", sums)
        unit = self._add(node, "unit", "Mul", x_scale, site.weight_scale)
        output = node.outputs[0]
        if not site.bias:
            self._add(node, "scaled", "Mul", real, unit, output=output)
            return
        bias = self.weights[site.bias].numpy().reshape(along)
        self.weights[site.bias] = Tensor(bias)
        scaled = self._add(node, "scaled", "Mul", real, unit)
        self._add(node, "biased", "Add", scaled, site.bias, output=output)

    def _input(self, name: str) -> tuple[str, str, str]:
        """The quantized form of a value, made once for all layers that read it."""
        if name not in self.quantized:
            made = [self._name(f"{name}/{part}") for part in ("quantized", "scale", "zero_point")]
            self.quantized[name] = made[0], made[1], made[2]
            self.nodes.append(
                Node("DynamicQuantizeLinear", (name,), tuple(made), {}, f"{name}/quantize")
            )
        return self.quantized[name]

    def _rank(self, node: Node) -> int:
        site = self.written.sites[node.label]
        return len(self.weights[site.weight].shape)

    def _product_weight(self, node: Node, name: str) -> str:
        """The integers in the order that the integer product wants: a Gemm's are transposed."""
        if node.op_type == "Gemm":
            values = np.ascontiguousarray(self.weights[name].numpy().T)
            self.weights[name] = Tensor(values)
        return name
