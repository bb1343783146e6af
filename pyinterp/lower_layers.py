"""Quantized layers, and the residual additions that go into their epilogue."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .accumulator import fit_accumulator
from .lower_float import as_images, bias_vector, is_layer, layer_weight, layer_window
from .lower_moves import requantized
from .lower_values import Operand, QuantizedValues, Target, ratio
from .lowered import Operation
from .model import Array, Node
from .ops.fused_spec import (
    I32,
    AddS8,
    ConvS8,
    Residual,
)
from .quantized import (
    check_scales,
    rounded_bias,
    stored_bias,
    weight_parameters,
)


def layer(v: QuantizedValues, target: Target, core: Node) -> list[Operation] | None:
    spec = quantized_layer(v, target, core)
    return None if spec is None else emit_layer(v, core, spec, target)


def quantized_layer(v: QuantizedValues, target: Target, core: Node) -> ConvS8 | None:
    """A Conv, Gemm or MatMul of quantized operands, requantized to the target."""
    graph = v.graph
    x = v.operand(core.inputs[0])
    rows = core.op_type == "Conv" or bool(core.attributes.get("transB", 0))
    w = weight_parameters(
        graph.producer(core.inputs[1]), graph.constant, channel_axis=0 if rows else 1
    )
    if x is None or w is None:
        return None
    scale = x.scale * w.scale.astype(np.float64)
    bias = _bias(v, core, scale)
    if bias is None:
        return None
    multiplier = (scale / target.parameters.scale).astype(np.float32)
    check_scales(multiplier, core, ", multiplier")
    spec = ConvS8(
        layer_window(graph, core),
        int(core.attributes.get("group", 1)),  # type: ignore[arg-type]
        layer_weight(core, w.values),
        bias,
        x.zero_point,
        multiplier,
        v.range(target),
        x_max=x.storage.hi,
    )
    return fit_accumulator(spec, x.storage.lo, x.storage.hi, core.label)


def _bias(v: QuantizedValues, core: Node, scale: Array) -> I32 | None:
    """int32 bias of a layer; None (and a note) where the layer has to stay float. scale: of its
    sums, float64 [O]."""
    graph, name = v.graph, core.inputs[2] if len(core.inputs) > 2 else ""
    if not name:
        return np.zeros(scale.shape, np.int32)
    stored = stored_bias(graph.producer(name), graph.constant, scale)
    if stored is not None:
        return stored
    real = bias_vector(graph, name, len(scale))
    if real is None:
        v.notes[core.label] = "stays float: its bias is not one constant per channel"
        return None
    bias = rounded_bias(real, scale)
    if bias is None:
        v.notes[core.label] = "stays float: its bias does not fit int32"
    return bias


def emit_layer(
    v: QuantizedValues, core: Node, spec: ConvS8, target: Target, residual: Operand | None = None
) -> list[Operation]:
    """The layer (with what was fused into it), between the views it needs."""
    shapes = v.graph.facts.shapes
    x = v.operand(core.inputs[0])
    assert x is not None  # or there would be no spec
    y_name, y_shape = v.stored(target), shapes[target.name]
    before, inner, after, y = as_images(core, x.name, shapes[core.inputs[0]], y_name, y_shape)
    inputs = [inner]
    if residual is not None:
        more, r, _, _ = as_images(core, residual.name, y_shape, y_name, y_shape)
        before += more
        inputs.append(r)
    return [*before, Operation(core.label, spec, tuple(inputs), (y,)), *after]


def layer_before(v: QuantizedValues, x: Operand) -> tuple[Node, ConvS8] | None:
    """The layer whose requantized output is x."""
    quantizer = v.graph.producer(x.source)
    if quantizer is None or quantizer.op_type != "QuantizeLinear":
        return None
    inner = v.target(quantizer)
    if inner is None or inner.core is None or not is_layer(v.graph, inner.core):
        return None
    if requantized(v, inner) is not None:
        return None
    spec = quantized_layer(v, inner, inner.core)
    same = spec is not None and spec.output.zero_point == x.zero_point
    return (inner.core, spec) if spec is not None and same else None


def add(v: QuantizedValues, target: Target, core: Node) -> list[Operation] | None:
    shapes = v.graph.facts.shapes
    if shapes[core.inputs[0]] != shapes[core.inputs[1]]:
        return None
    for own, other in (core.inputs, core.inputs[::-1]):
        found = _residual(v, target, own, other)
        if found is not None:
            return found
    a, b = (v.operand(name) for name in core.inputs)
    if a is None or b is None:
        return None
    factors = [ratio(x.scale, target.parameters.scale, core.label) for x in (a, b)]
    spec = AddS8(a.zero_point, factors[0], b.zero_point, factors[1], v.range(target))
    return [Operation(core.label, spec, (a.name, b.name), (v.stored(target),))]


def _residual(v: QuantizedValues, target: Target, own: str, other: str) -> list[Operation] | None:
    """A layer plus another quantized value, in the layer's epilogue."""
    r = v.operand(other)
    if r is None:
        return None
    y_scale = target.parameters.scale
    factor = ratio(r.scale, y_scale, target.node.label)
    x = v.operand(own)
    if x is not None:
        alone = v.graph.single_use(own) and v.graph.single_use(x.source)
        found = layer_before(v, x) if alone else None
        if found is None:
            return None
        layer, spec = found
        conv_factor = ratio(x.scale, y_scale, target.node.label)
        residual = Residual(r.zero_point, factor, spec.output, conv_factor)
    else:  # the graph has no QuantizeLinear between the layer and the addition
        direct = v.graph.absorbable(own)
        if direct is None or not is_layer(v.graph, direct):
            return None
        straight = quantized_layer(v, target, direct)
        if straight is None:
            return None
        layer, spec, residual = direct, straight, Residual(r.zero_point, factor)
    fused = replace(spec, residual=residual, output=v.range(target))
    return emit_layer(v, layer, fused, target, r)
