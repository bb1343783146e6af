"""Float patterns: convolutions and matrix products with what follows them, and views."""

from __future__ import annotations

import math

import numpy as np

from .graph_index import GraphIndex
from .lower_channels import float_movement
from .lower_images import float_images
from .lower_pointwise import float_pointwise, float_pool
from .lowered import Operation, View
from .model import Array, Node
from .ops.fused_spec import ConvF32, Window
from .shapes import Shape

CONVOLUTIONS = ("Conv", "ConvInteger")
VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


def as_images(
    core: Node, name: str, shape: Shape, output: str, output_shape: Shape
) -> tuple[list[Operation], str, list[Operation], str]:
    """Views that make a layer's input and output 4-D, as convolution kernels want them.

    Returns (views before, 4-D input, views after, 4-D output); output is the pattern's last value.
    A matrix [M, K] becomes M images of one pixel, a 1-D signal images of one row.
    """
    if core.op_type in CONVOLUTIONS and len(shape) == 4:
        return [], name, [], output
    x, y = f"{name}:4d:{output}", f"{output}:4d"
    before = Operation(core.label, View(_image(core, shape)), (name,), (x,))
    after = Operation(core.label, View(output_shape), (y,), (output,))
    return [before], x, [after], y


def _image(core: Node, shape: Shape) -> Shape:
    if core.op_type in CONVOLUTIONS:
        return shape[0], shape[1], 1, shape[2]
    return math.prod(shape[:-1]), shape[-1], 1, 1


def layer_weight(core: Node, weight: Array) -> Array:
    """Weights of a convolution, Gemm or matrix product as [O, C / groups, kh, kw]."""
    if core.op_type in CONVOLUTIONS:
        return weight if weight.ndim == 4 else weight[:, :, None, :]
    transposed = core.op_type == "Gemm" and core.attributes.get("transB", 0)
    return (weight if transposed else weight.T)[:, :, None, None]


def layer_window(graph: GraphIndex, core: Node) -> Window:
    if core.op_type not in CONVOLUTIONS:
        return Window((1, 1))
    return graph.facts.conv_window(core)


def is_layer(graph: GraphIndex, node: Node | None) -> bool:
    """A Conv (1-D or 2-D), Gemm or MatMul whose weights may be constant, in a form kernels take."""
    if node is None or len(node.inputs) < 2:
        return False
    x_rank = len(graph.facts.shapes[node.inputs[0]])
    if node.op_type == "Conv":
        return x_rank in (3, 4)
    if node.op_type == "Gemm":
        plain = node.attributes.get("alpha", 1.0) == 1.0 and not node.attributes.get("transA", 0)
        return plain and node.attributes.get("beta", 1.0) == 1.0 and x_rank == 2
    return node.op_type == "MatMul" and x_rank >= 2 and len(graph.facts.shapes[node.inputs[1]]) == 2


def bias_vector(graph: GraphIndex, name: str, channels: int) -> Array | None:
    """A constant bias as [O]; None where it is not constant or not one value per channel."""
    bias = graph.constant(name)
    if (
        bias is None
        or bias.size not in (1, channels)
        or bias.shape[-1:] not in ((), (1,), (channels,))
    ):
        return None
    return np.broadcast_to(bias.reshape(-1), (channels,))


class FloatMatcher:
    def __init__(self, graph: GraphIndex) -> None:
        self.graph = graph

    def match(self, node: Node) -> list[Operation] | None:
        """The fused float pattern that ends at `node`; None where its reference has to run."""
        if node.op_type in VIEWS:
            name = node.outputs[0]
            shape = self.graph.facts.shapes[name]
            return [Operation(node.label, View(shape), node.inputs[:1], (name,))]
        graph = self.graph
        return (
            self._layer(node)
            or float_movement(graph, node)
            or float_images(graph, node)
            or float_pool(graph, node)
            or float_pointwise(graph, node)
        )

    def _layer(self, last: Node) -> list[Operation] | None:
        """[Conv | Gemm | MatMul] [+ residual] [clamp], ending at `last`."""
        output = last.outputs[0]
        name, lo, hi = self.graph.skip_clamps(output, shared=True)
        node = last if name == output else self.graph.absorbable(name)
        residual = ""
        if node is not None and node.op_type == "Add":
            node, residual = self._add_operands(node)
        if node is None or not is_layer(self.graph, node):
            return None
        return self._conv(node, output, residual, lo, hi)

    def _add_operands(self, add: Node) -> tuple[Node | None, str]:
        """The layer that one operand of an Add comes from, and the other operand."""
        shapes = self.graph.facts.shapes
        for own, other in (add.inputs, add.inputs[::-1]):
            core = self.graph.absorbable(own)
            if shapes[own] == shapes[other] and core is not None and is_layer(self.graph, core):
                return core, other
        return None, ""

    def _conv(
        self, core: Node, output: str, residual: str, lo: float, hi: float
    ) -> list[Operation] | None:
        graph = self.graph
        weight = graph.constant(core.inputs[1])
        if weight is None or weight.dtype != np.float32:
            return None
        weight = layer_weight(core, weight)
        bias: Array | None = np.zeros(weight.shape[0], np.float32)
        if len(core.inputs) > 2 and core.inputs[2]:
            bias = bias_vector(graph, core.inputs[2], weight.shape[0])
        if bias is None:
            return None
        shapes = graph.facts.shapes
        x_name, y_shape = core.inputs[0], shapes[output]
        before, x, after, y = as_images(core, x_name, shapes[x_name], output, y_shape)
        inputs = [x]
        if residual:
            more, r, _, _ = as_images(core, residual, shapes[residual], output, y_shape)
            before += more
            inputs.append(r)
        groups = int(core.attributes.get("group", 1))  # type: ignore[arg-type]
        window = layer_window(graph, core)
        spec = ConvF32(window, groups, weight, bias, lo, hi, bool(residual))
        return [*before, Operation(core.label, spec, tuple(inputs), (y,)), *after]
