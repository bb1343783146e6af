"""Dynamically quantized layers, as quantizers write them: DynamicQuantizeLinear, ConvInteger or
MatMulInteger, Cast, Mul by the product of both scales, and Add of the bias. With the clamps behind
them they become one operator, whose input is quantized once for all layers that read it."""

from __future__ import annotations

from collections.abc import Callable, Container

import numpy as np

from .graph_index import GraphIndex
from .lower_float import as_images, layer_weight, layer_window
from .lowered import Operation
from .model import Node
from .ops.dynamic_spec import EXACT_PRODUCTS
from .ops.fused_spec import F32, Array, DynamicConv, DynamicQuantize, DynamicRange
from .quantized import FLOAT32, INT8, UINT8, without_zero_points

_LAST = ("Relu", "Clip", "Add", "Mul")


def _range_name(quantizer: Node) -> str:
    """Of the value that holds the range by which a DynamicQuantizeLinear quantizes."""
    return f"{quantizer.outputs[0]}:range"


def dynamic_input(
    node: Node, needed: Container[str], reference: Callable[[Node], Operation]
) -> list[Operation] | None:
    """What a DynamicQuantizeLinear becomes where fused layers read its result; else None."""
    if node.op_type != "DynamicQuantizeLinear" or _range_name(node) not in needed:
        return None
    x, y, found = node.inputs[0], node.outputs[0], _range_name(node)
    finding = Operation(node.label, DynamicRange(), (x,), (found,))
    if any(name in needed for name in node.outputs[1:]):  # others want scale and zero point
        return [finding, reference(node)]
    return [finding, Operation(node.label, DynamicQuantize(), (x, found), (y,))]


def dynamic_layer(graph: GraphIndex, last: Node) -> list[Operation] | None:
    """A dynamically quantized layer of one group, or depthwise, that ends at `last`."""
    if last.op_type not in _LAST:
        return None
    output = last.outputs[0]
    name, lo, hi = graph.skip_clamps(output, shared=True)
    node = last if name == output else graph.absorbable(name)
    added: Array | None = np.zeros((), np.float32)
    if node is not None and node.op_type == "Add":
        node, added = _constant_operand(graph, node)
    if node is None or node.op_type != "Mul" or added is None:
        return None
    product, unit = _integer_product(graph, node)
    if product is None or graph.facts.dtypes.get(output) != FLOAT32:
        return None
    quantizer = graph.producer(product.inputs[0])
    scale = _weight_scale(graph, unit, quantizer, product)
    if quantizer is None or scale is None:
        return None
    found = _weight(graph, product)
    if found is None:
        return None
    is_conv, rank = product.op_type == "ConvInteger", len(graph.facts.shapes[output])
    axis, channels = 1 if is_conv else rank - 1, len(found)
    groups = int(product.attributes.get("group", 1)) if is_conv else 1  # type: ignore[arg-type]
    weight_scale = _by_channel(scale, rank, axis, channels)
    bias = _by_channel(added, rank, axis, channels)
    if weight_scale is None or bias is None:
        return None
    if groups > 1 and (found.shape[1] > 1 or groups != channels or found[0].size > EXACT_PRODUCTS):
        return None
    window = layer_window(graph, product)
    spec = DynamicConv(window, groups, found, weight_scale, bias, lo, hi)
    x, shapes = product.inputs[0], graph.facts.shapes
    before, x, after, y = as_images(product, x, shapes[x], output, shapes[output])
    layer = Operation(product.label, spec, (x, _range_name(quantizer)), (y,))
    return [*before, layer, *after]


def _constant_operand(graph: GraphIndex, add: Node) -> tuple[Node | None, Array | None]:
    """What makes the other operand, and the constant one."""
    for x, constant in (add.inputs, add.inputs[::-1]):
        value = graph.constant(constant)
        if value is not None and value.dtype == np.float32:
            return graph.absorbable(x), value
    return None, None


def _integer_product(graph: GraphIndex, mul: Node) -> tuple[Node | None, str]:
    """The integer product whose sums a Mul scales, and the name of what it multiplies them by."""
    for sums, unit in (mul.inputs, mul.inputs[::-1]):
        cast = graph.absorbable(sums)
        if cast is None or cast.op_type != "Cast" or graph.facts.dtypes.get(sums) != FLOAT32:
            continue
        product = graph.absorbable(cast.inputs[0])
        if product is not None and product.op_type in ("ConvInteger", "MatMulInteger"):
            return product, unit
    return None, ""


def _weight_scale(
    graph: GraphIndex, unit: str, quantizer: Node | None, product: Node
) -> Array | None:
    """The constant factor beside the scale by which the product's input was quantized."""
    mul = graph.producer(unit)
    if quantizer is None or quantizer.op_type != "DynamicQuantizeLinear" or mul is None:
        return None
    y, x_scale, zero_point = quantizer.outputs
    given = [*product.inputs[:1], *product.inputs[2:3]]
    if mul.op_type != "Mul" or x_scale not in mul.inputs or given != [y, zero_point]:
        return None
    constant = graph.constant(mul.inputs[1 - list(mul.inputs).index(x_scale)])
    return constant if constant is not None and constant.dtype == np.float32 else None


def _weight(graph: GraphIndex, product: Node) -> Array | None:
    """The constant weights, their zero points taken off, as [O, C / groups, kh, kw]."""
    weight = graph.constant(product.inputs[1])
    is_conv = product.op_type == "ConvInteger"
    x_rank = len(graph.facts.shapes[product.inputs[0]])
    if weight is None or weight.dtype not in (INT8, UINT8):
        return None
    if not (x_rank == weight.ndim and x_rank in (3, 4) if is_conv else weight.ndim == 2 <= x_rank):
        return None
    zero: Array | None = np.zeros((), weight.dtype)
    if len(product.inputs) > 3 and product.inputs[3]:
        zero = graph.constant(product.inputs[3])
    axis = 0 if is_conv else 1
    if zero is None or zero.size not in (1, weight.shape[axis]):
        return None
    return layer_weight(product, without_zero_points(weight, zero, axis))


def _by_channel(constant: Array, rank: int, axis: int, channels: int) -> F32 | None:
    """A constant that is broadcast to `rank` axes, as [channels]; None where it differs along
    others than the channels' axis."""
    full = (1,) * (rank - constant.ndim) + constant.shape
    if len(full) != rank or full[axis] not in (1, channels) or constant.size != full[axis]:
        return None
    return np.broadcast_to(constant.reshape(-1), (channels,)).astype(np.float32)
