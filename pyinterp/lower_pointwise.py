"""Float operators that are no layers: poolings, sums, products and activations."""

from __future__ import annotations

import math

import numpy as np

from .graph_index import GraphIndex
from .lower_signals import image_of, on_images
from .lowered import Operation
from .model import Node
from .ops.fused_spec import (
    F32,
    ActivationF32,
    AddF32,
    AveragePoolF32,
    ConvF32,
    MaxPoolF32,
    MulF32,
    Window,
)
from .shapes import Shape, pool_window

HARD_SWISH = ActivationF32("hard_swish", float(np.float32(1 / 6)), 0.5)


def reduces_space(graph: GraphIndex, node: Node) -> bool:
    """Whether a ReduceMean of [N, C, H, W] or [N, C, L] runs over all axes behind the channels."""
    rank = len(graph.facts.shapes[node.inputs[0]])
    axes = np.asarray(node.attributes.get("axes", ()))
    if not axes.size and len(node.inputs) > 1 and node.inputs[1]:
        given = graph.constant(node.inputs[1])
        axes = axes if given is None else given
    return sorted(int(a) % rank for a in axes) == list(range(2, rank))


def float_pool(graph: GraphIndex, node: Node) -> list[Operation] | None:
    """A pooling of float images or signals; None for other operators, ranks and types."""
    facts, x = graph.facts, node.inputs[0] if node.inputs else ""
    shape = facts.shapes.get(x, ())
    image = image_of(shape)
    if image is None or facts.dtypes[x] != np.float32 or any(node.outputs[1:]):
        return None
    spec: MaxPoolF32 | AveragePoolF32
    whole = Window((image[2], image[3]))
    if node.op_type == "MaxPool":
        spec = MaxPoolF32(pool_window(node, shape[2:]))
    elif node.op_type == "GlobalMaxPool":
        spec = MaxPoolF32(whole)
    elif node.op_type == "AveragePool":
        include = bool(node.attributes.get("count_include_pad", 0))
        spec = AveragePoolF32(pool_window(node, shape[2:]), include)
    elif node.op_type == "GlobalAveragePool" or (
        node.op_type == "ReduceMean" and reduces_space(graph, node)
    ):
        spec = AveragePoolF32(whole, False)
    else:
        return None
    output = node.outputs[0]
    pooled = Operation(node.label, spec, (x,), (output,))
    return on_images(shape, facts.shapes[output], [pooled])


def float_pointwise(graph: GraphIndex, last: Node) -> list[Operation] | None:
    """Add, Mul or Div with the clamps behind it, an activation, or clamps alone, ending at
    `last`."""
    output = last.outputs[0]
    if graph.facts.dtypes.get(output) != np.float32 or any(last.outputs[1:]):
        return None
    name, lo, hi = graph.skip_clamps(output, shared=True)
    core = last if name == output else graph.absorbable(name)
    if core is not None and core.op_type in ("Add", "Mul", "Div"):
        found = _binary(graph, core, output, lo, hi) or _affine(graph, core, output, lo, hi)
        if found is not None:
            return [found]
    if name != output:
        return [Operation(last.label, ActivationF32("clip", lo, hi), (name,), (output,))]
    spec = _activation(last)
    return None if spec is None else [Operation(last.label, spec, last.inputs[:1], (output,))]


def _binary(graph: GraphIndex, core: Node, output: str, lo: float, hi: float) -> Operation | None:
    """None where an operand is constant or is broadcast otherwise than by channel."""
    if _is_product(graph, core) and (lo, hi) == (-math.inf, math.inf):
        for x, function in (
            (_silu(graph, core), ActivationF32("silu")),
            (_gelu(graph, core), ActivationF32("gelu")),
            (_hard_swish(graph, core), HARD_SWISH),
        ):
            if x:
                return Operation(core.label, function, (x,), (output,))
    if core.op_type == "Div":
        return None
    shapes, full = graph.facts.shapes, graph.facts.shapes[output]
    if any(graph.constant(name) is not None for name in core.inputs):
        return None
    a, b = core.inputs if shapes[core.inputs[0]] == full else core.inputs[::-1]
    gate = (*full[:2], 1, 1) if len(full) == 4 else full
    if shapes[a] != full or shapes[b] not in (full, gate):
        return None
    spec = AddF32(lo, hi) if core.op_type == "Add" else MulF32(lo, hi)
    return Operation(core.label, spec, (a, b), (output,))


def _affine(graph: GraphIndex, last: Node, output: str, lo: float, hi: float) -> Operation | None:
    """x * factor[c] + offset[c], either part alone too, as a depthwise convolution of one pixel.

    That is what a BatchNorm is where no layer before it can take it in.
    """
    shape = graph.facts.shapes[output]
    if len(shape) != 4:
        return None
    factor, offset = np.ones(shape[1], np.float32), np.zeros(shape[1], np.float32)
    core: Node | None = last
    if last.op_type == "Add":
        added = _channel_constant(graph, last, shape)
        if added is None:
            return None
        x, offset = added
        core = graph.absorbable(x)
    if core is not None and core.op_type in ("Mul", "Div"):
        scaled = _channel_factor(graph, core, shape)
        if scaled is not None:
            x, factor = scaled
        elif core is last:
            return None
    weight = factor.reshape(-1, 1, 1, 1)
    spec = ConvF32(Window((1, 1)), shape[1], weight, offset, lo, hi)
    return Operation(last.label, spec, (x,), (output,))


def _channel_constant(graph: GraphIndex, node: Node, shape: Shape) -> tuple[str, F32] | None:
    """The other operand, of the result's shape [N, C, H, W], and a constant one as [C]."""
    for x, name in (node.inputs, node.inputs[::-1]):
        constant = graph.constant(name)
        if constant is None or constant.ndim > 4 or graph.facts.shapes[x] != shape:
            continue
        full = (1,) * (4 - constant.ndim) + constant.shape
        if full in ((1, shape[1], 1, 1), (1, 1, 1, 1)):
            return x, np.broadcast_to(constant.reshape(-1), shape[1:2]).copy()
    return None


def _channel_factor(graph: GraphIndex, node: Node, shape: Shape) -> tuple[str, F32] | None:
    """The same of a Mul, or of a Div by a constant, which becomes its reciprocal."""
    found = _channel_constant(graph, node, shape)
    if found is None or node.op_type == "Mul":
        return found
    x, divisor = found
    normal = (np.abs(divisor) >= 2.0**-126) & (np.abs(divisor) <= 2.0**126)
    return (x, np.float32(1) / divisor) if x == node.inputs[0] and normal.all() else None


def _silu(graph: GraphIndex, mul: Node) -> str:
    """x of x * Sigmoid(x), where nothing else reads the sigmoid; "" for other products."""
    if mul.op_type != "Mul":
        return ""
    for x, gate in (mul.inputs, mul.inputs[::-1]):
        node = graph.absorbable(gate)
        if node is not None and node.op_type == "Sigmoid" and node.inputs[0] == x:
            return x
    return ""


def _gelu(graph: GraphIndex, mul: Node) -> str:
    """x of x * (Erf(x / sqrt(2)) + 1) * 0.5, in any order; "" for other products."""
    names, half = _factors(graph, mul)
    sums, values = [], []
    for name in names:
        node = graph.absorbable(name)
        if node is not None and node.op_type == "Add":
            sums.append(node)
        else:
            values.append(name)
    if len(values) != 1 or len(sums) != 1 or half != 0.5:
        return ""
    for name, other in (sums[0].inputs, sums[0].inputs[::-1]):
        one, erf = graph.constant(other), graph.absorbable(name)
        if one is None or one.size != 1 or one.reshape(()) != 1 or erf is None:
            continue
        x, factor = _scaled(graph, erf.inputs[0])
        if erf.op_type == "Erf" and x == values[0] and abs(factor - math.sqrt(0.5)) < 1e-6:
            return x
    return ""


def _hard_swish(graph: GraphIndex, product: Node) -> str:
    """x of x * Clip(x + 3, 0, 6) / 6, in any order; "" for other products."""
    names, factor = _factors(graph, product)
    if len(names) != 2 or abs(factor - 1 / 6) > 1e-7:
        return ""
    for x, gate in (names, names[::-1]):
        clip = graph.absorbable(gate)
        if clip is None or graph.clamp_bounds(clip) != (0, 6):
            continue
        added = graph.absorbable(clip.inputs[0])
        if added is None or added.op_type != "Add" or x not in added.inputs:
            continue
        three = graph.constant(added.inputs[1 - list(added.inputs).index(x)])
        if three is not None and three.size == 1 and three.reshape(()) == 3:
            return x
    return ""


def _is_product(graph: GraphIndex, node: Node) -> bool:
    """Whether it is a Mul, or a Div by a constant number."""
    if node.op_type != "Div":
        return node.op_type == "Mul"
    divisor = graph.constant(node.inputs[1])
    return divisor is not None and divisor.size == 1 and bool(divisor.all())


def _factors(graph: GraphIndex, product: Node) -> tuple[list[str], float]:
    """What a product of products multiplies, and the product of its constant numbers."""
    names: list[str] = []
    factor = 1.0
    for name in product.inputs:
        constant, inner = graph.constant(name), graph.absorbable(name)
        if constant is not None and constant.size == 1:
            number = float(constant.reshape(()))
            factor *= (
                1 / number if product.op_type == "Div" and name == product.inputs[1] else number
            )
        elif inner is not None and _is_product(graph, inner):
            more, number = _factors(graph, inner)
            names, factor = names + more, factor * number
        else:
            names.append(name)
    return names, factor


def _scaled(graph: GraphIndex, name: str) -> tuple[str, float]:
    """x and c of the value c * x, or x / (1 / c); the value itself and 1 for others."""
    node = graph.absorbable(name)
    if node is not None and node.op_type in ("Mul", "Div"):
        constant = graph.constant(node.inputs[1])
        if constant is not None and constant.size == 1 and constant.reshape(()) != 0:
            c = float(constant.reshape(()))
            return node.inputs[0], c if node.op_type == "Mul" else 1 / c
    return name, 1.0


def _activation(node: Node) -> ActivationF32 | None:
    if node.op_type == "HardSwish":
        return HARD_SWISH
    if node.op_type == "HardSigmoid":
        alpha, beta = (node.attributes.get(k, d) for k, d in (("alpha", 0.2), ("beta", 0.5)))
        a, b = (float(np.float32(value)) for value in (alpha, beta))  # type: ignore[arg-type]
        return ActivationF32("hard_sigmoid", a, b)
    if node.op_type in ("LeakyRelu", "Elu"):
        default = 0.01 if node.op_type == "LeakyRelu" else 1.0
        slope = float(np.float32(node.attributes.get("alpha", default)))  # type: ignore[arg-type]
        return ActivationF32("elu" if node.op_type == "Elu" else "leaky_relu", slope)
    if node.op_type in ("Sigmoid", "Tanh"):
        return ActivationF32(node.op_type.lower())
    if node.op_type == "Gelu" and node.attributes.get("approximate", "none") == "none":
        return ActivationF32("gelu")
    return ActivationF32("silu") if _is_plain_swish(node) else None


def _is_plain_swish(node: Node) -> bool:
    return node.op_type == "Swish" and node.attributes.get("alpha", 1.0) == 1.0
