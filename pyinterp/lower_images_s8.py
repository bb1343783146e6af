"""Quantized operators on whole images and channels."""

from __future__ import annotations

import numpy as np

from .lower_images import (
    blocks,
    channel_vector,
    interpolation,
    normalization,
    normalized,
    pad_value,
    picked_pixels,
)
from .lower_moves import then_rescale
from .lower_values import QuantizedValues, Target, ratio
from .lowered import Operation
from .model import Node
from .ops.fused_spec import GatherPixels, InterpolateS8, NormalizeS8, PReluS8


def move(v: QuantizedValues, target: Target, core: Node) -> list[Operation] | None:
    """Pixels moved: bytes stay bytes."""
    x = v.operand(core.inputs[0])
    if x is None:
        return None
    work = blocks(v.graph, core, "uint8") or picked_pixels(v.graph, core, "uint8")
    if work is None:
        return None
    if isinstance(work, GatherPixels):
        if pad_value(v.graph, core) != 0:
            return None
        work = GatherPixels(work.rows, work.columns, "uint8", float(x.zero_point))
    return then_rescale(v, target, x, work, core.label)


def interpolate(v: QuantizedValues, target: Target, core: Node) -> list[Operation] | None:
    x, found = v.operand(core.inputs[0]), interpolation(v.graph, core)
    if x is None or found is None:
        return None
    factor = ratio(x.scale, target.parameters.scale, core.label)
    spec = InterpolateS8(*found, x.zero_point, factor, v.range(target))
    return [Operation(core.label, spec, (x.name,), (v.stored(target),))]


def prelu(v: QuantizedValues, target: Target, core: Node) -> list[Operation] | None:
    x, shape = v.operand(core.inputs[0]), v.graph.facts.shapes[core.inputs[0]]
    slope = channel_vector(v.graph, core.inputs[1], shape[1], 3) if len(shape) == 4 else None
    if x is None or slope is None:
        return None
    factor = ratio(x.scale, target.parameters.scale, core.label)
    below = slope.astype(np.float64) * (np.float64(x.scale) / np.float64(target.parameters.scale))
    spec = PReluS8(x.zero_point, factor, below.astype(np.float32), v.range(target))
    return [Operation(core.label, spec, (x.name,), (v.stored(target),))]


def normalize(v: QuantizedValues, target: Target, core: Node) -> list[Operation] | None:
    x, wide = v.operand(core.inputs[0]), normalization(v.graph, core)
    if x is None or wide is None or any(core.outputs[1:]):
        return None
    y_scale = np.float64(target.parameters.scale)
    scale, bias = ((a / y_scale).astype(np.float32) for a in (wide.scale, wide.bias))
    place = x.scale, x.zero_point, v.range(target)
    spec = NormalizeS8(wide.over, scale, bias, wide.epsilon, *place)
    return normalized(v.graph, core, spec, x.name, v.stored(target))
