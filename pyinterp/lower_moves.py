"""Quantized operators that move, pool or combine values."""

from __future__ import annotations

from .lower_channels import SLICES, picked_channels
from .lower_pointwise import reduces_space
from .lower_signals import image_of, on_images
from .lower_values import Operand, QuantizedValues, Target, ratio, rescale
from .lowered import Operation, ReferenceOp, View, Work
from .model import Node
from .ops.fused_spec import (
    AveragePoolS8,
    ConcatS8,
    MaxPoolS8,
    MulS8,
    RescaleS8,
    SelectChannels,
    Window,
)
from .quantized import (
    check_scales,
)
from .shapes import pool_window


def requantized(v: QuantizedValues, target: Target) -> list[Operation] | None:
    """QuantizeLinear of a dequantized value, with or without clamps between."""
    x = v.operand(target.value)
    if x is None:
        return None
    spec = rescale(x, target.parameters.scale, v.range(target), target.node.label)
    return [Operation(target.node.label, spec, (x.name,), (v.stored(target),))]


def then_rescale(
    v: QuantizedValues, target: Target, x: Operand, work: Work, label: str
) -> list[Operation]:
    """`work` on the bytes of x, and a rescale where the target's parameters differ."""
    output = v.stored(target)
    if v.passes_through(target) is not None:
        return [Operation(label, work, (x.name,), (output,))]
    moved = f"{output}:moved"
    last = rescale(x, target.parameters.scale, v.range(target), label)
    return [
        Operation(label, work, (x.name,), (moved,)),
        Operation(label, last, (moved,), (output,)),
    ]


def move(v: QuantizedValues, target: Target, core: Node) -> list[Operation] | None:
    x = v.operand(core.inputs[0])
    if x is None:
        return None
    if core.op_type == "Transpose":
        return then_rescale(v, target, x, ReferenceOp(core, v.graph.model.opset, {}), core.label)
    if core.op_type in SLICES:
        channels = picked_channels(v.graph, core, target.value)
        if channels is None:
            return None
        return then_rescale(v, target, x, SelectChannels(channels, "uint8"), core.label)
    view = View(v.graph.facts.shapes[core.outputs[0]])
    return then_rescale(v, target, x, view, core.label)


def max_pool(v: QuantizedValues, target: Target, core: Node) -> list[Operation] | None:
    x, shape = v.operand(core.inputs[0]), v.graph.facts.shapes[core.inputs[0]]
    if x is None or image_of(shape) is None or len([n for n in core.outputs if n]) != 1:
        return None
    pooled = then_rescale(v, target, x, MaxPoolS8(pool_window(core, shape[2:])), core.label)
    return on_images(shape, v.graph.facts.shapes[core.outputs[0]], pooled)


def average_pool(v: QuantizedValues, target: Target, core: Node) -> list[Operation] | None:
    x, shape = v.operand(core.inputs[0]), v.graph.facts.shapes[core.inputs[0]]
    image = image_of(shape)
    if x is None or image is None:
        return None
    if core.op_type == "AveragePool":
        window = pool_window(core, shape[2:])
    else:
        window = Window((image[2], image[3]))
        if core.op_type == "ReduceMean" and not reduces_space(v.graph, core):
            return None
    include = bool(core.attributes.get("count_include_pad", 0))
    y_scale, taps = target.parameters.scale, window.kernel[0] * window.kernel[1]
    check_scales(x.scale / (y_scale * taps), core, ", multiplier")
    spec = AveragePoolS8(window, include, x.scale, x.zero_point, y_scale, v.range(target))
    pooled = Operation(core.label, spec, (x.name,), (v.stored(target),))
    return on_images(shape, v.graph.facts.shapes[core.outputs[0]], [pooled])


def mul(v: QuantizedValues, target: Target, core: Node) -> list[Operation] | None:
    shapes = v.graph.facts.shapes
    names = list(core.inputs)
    if shapes[names[0]] != shapes[core.outputs[0]]:
        names.reverse()
    full = shapes[core.outputs[0]]
    if shapes[names[0]] != full or shapes[names[1]] not in (full, (*full[:2], 1, 1)):
        return None
    a, b = (v.operand(name) for name in names)
    if a is None or b is None:
        return None
    factor = ratio(a.scale * b.scale, target.parameters.scale, core.label)
    spec = MulS8(a.zero_point, b.zero_point, factor, v.range(target))
    return [Operation(core.label, spec, (a.name, b.name), (v.stored(target),))]


def concat(v: QuantizedValues, target: Target, core: Node) -> list[Operation] | None:
    operands = [v.operand(name) for name in core.inputs]
    rank = len(v.graph.facts.shapes[core.outputs[0]])
    if rank != 4 or int(core.attributes["axis"]) % rank != 1:  # type: ignore[arg-type]
        return None
    output, y_scale = v.range(target), target.parameters.scale
    parts: list[RescaleS8 | None] = []
    for x in operands:
        if x is None:
            return None
        same = x.scale == y_scale and x.zero_point == output.zero_point
        inside = output.lo <= x.storage.lo and x.storage.hi <= output.hi
        copied = same and inside
        parts.append(None if copied else rescale(x, y_scale, output, core.label))
    names = tuple(x.name for x in operands if x is not None)
    return [Operation(core.label, ConcatS8(tuple(parts)), names, (v.stored(target),))]
