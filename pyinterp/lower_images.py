"""Operators on whole images and channels: pixels moved and interpolated, normalization, PRelu.

What they are, for integers and floats alike, and the float ones; `lower_images_s8.py` has the
others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import ops
from .graph_index import GraphIndex
from .lowered import Operation, View
from .model import Array, Node
from .ops.fused_spec import (
    F32,
    DepthToSpace,
    GatherPixels,
    InterpolateF32,
    NormalizeF32,
    NormalizeS8,
    PReluF32,
    Taps,
)
from .ops.resize import Interpolation, Resizing, resizing

MOVES = ("Pad", "Resize", "Slice", "Upsample")


def picked_pixels(graph: GraphIndex, node: Node, element: str) -> GatherPixels | None:
    """A nearest Resize, a Pad or a Slice of height and width; None for other operators, for those
    that touch other axes, too, and for those that do not say constantly where.

    The value that a Pad fills with is still 0 in the result.
    """
    shape, output = graph.facts.shapes[node.inputs[0]], graph.facts.shapes[node.outputs[0]]
    constants = _constants(graph, node)
    nearest = node.attributes.get("mode", "nearest") == "nearest"
    if node.op_type not in MOVES or constants is None or len(shape) != 4:
        return None
    if (node.op_type in ("Resize", "Upsample") and not nearest) or output[:2] != shape[:2]:
        return None
    if node.attributes.get("coordinate_transformation_mode", "") == "tf_crop_and_resize":
        return None
    if node.op_type == "Pad":
        marked: Array = np.float32(-1).reshape(())  # where a value is filled in
        constants = [*constants[:1], marked, *constants[2:]]
    picked: list[tuple[int, ...]] = []
    for axis in range(4):  # the reference, run on the numbers of rows and so on, tells the source
        numbers: Array = np.arange(shape[axis], dtype=np.float32)
        numbers = numbers.reshape([-1 if a == axis else 1 for a in range(4)])
        arguments = [np.broadcast_to(numbers, shape), *constants]
        result = ops.run(_filled_with_marks(node), arguments, graph.model.opset)[0]
        if not result.size:
            return None
        line = result.max(axis=tuple(a for a in range(4) if a != axis))
        picked.append(tuple(int(i) for i in line))
    if any(picked[axis] != tuple(range(shape[axis])) for axis in (0, 1)):
        return None
    return GatherPixels(picked[2], picked[3], element)


def _filled_with_marks(node: Node) -> Node:
    """A Pad of an old opset has its value as an attribute."""
    if node.op_type != "Pad" or "value" not in node.attributes:
        return node
    attributes = {**node.attributes, "value": -1.0}
    return Node(node.op_type, node.inputs, node.outputs, attributes, node.name, node.domain)


def _constants(graph: GraphIndex, node: Node) -> list[Array | None] | None:
    """All inputs but the first; None where one is not constant."""
    found = [graph.constant(n) if n else None for n in node.inputs[1:]]
    missing = any(c is None and n for c, n in zip(found, node.inputs[1:], strict=True))
    return None if missing else found


def pad_value(graph: GraphIndex, node: Node) -> float:
    """What a Pad in constant mode fills with; 0 for all other operators."""
    if node.op_type != "Pad":
        return 0.0
    if len(node.inputs) > 2 and node.inputs[2]:
        value = graph.constant(node.inputs[2])
        return 0.0 if value is None else float(value.reshape(()))
    return float(node.attributes.get("value", 0.0))  # type: ignore[arg-type]


def interpolation(graph: GraphIndex, node: Node) -> tuple[Taps, Taps] | None:
    """Taps of rows and of columns of a linear or cubic Resize of height and width, else None."""
    shape, constants = graph.facts.shapes[node.inputs[0]], _constants(graph, node)
    if node.op_type not in ("Resize", "Upsample") or constants is None or len(shape) != 4:
        return None
    if node.attributes.get("mode", "nearest") == "nearest":
        return None
    found = _resizing(node, shape, [*constants, None, None], graph.model.opset)
    outside = found.rule.transform == "tf_crop_and_resize"
    if outside or graph.facts.shapes[node.outputs[0]][:2] != shape[:2]:
        return None
    rows, columns = (found.taps(axis, shape[axis]) for axis in (2, 3))
    return _stored_taps(*rows), _stored_taps(*columns)


def _stored_taps(index: Array, weight: Array) -> Taps:
    """Without the taps that weigh nothing anywhere."""
    used = (weight != 0).any(axis=0)
    index, weight = index[:, used], weight[:, used]
    return Taps(index.astype(np.int32), np.ascontiguousarray(weight, np.float32))


def _resizing(
    node: Node, shape: tuple[int, ...], inputs: list[Array | None], opset: int
) -> Resizing:
    given: Mapping[str, Any] = node.attributes
    if node.op_type == "Upsample":
        scales = inputs[0] if opset >= 9 else np.asarray(given.get("scales", ()), np.float32)
        rule = Interpolation(given["mode"], "asymmetric")
        return resizing(shape, (scales, None, None), None, "stretch", rule, opset=10)
    rule = Interpolation(
        given["mode"],
        given.get("coordinate_transformation_mode", "half_pixel"),
        cubic_coeff_a=given.get("cubic_coeff_a", -0.75),
        exclude_outside=bool(given.get("exclude_outside", 0)),
        antialias=bool(given.get("antialias", 0)),
    )
    three = (inputs[0], inputs[1], inputs[2])
    policy = given.get("keep_aspect_ratio_policy", "stretch")
    return resizing(shape, three, given.get("axes"), policy, rule, opset)


def blocks(graph: GraphIndex, node: Node, element: str) -> DepthToSpace | None:
    """A DepthToSpace; None for other operators."""
    if node.op_type != "DepthToSpace" or len(graph.facts.shapes[node.inputs[0]]) != 4:
        return None
    block = int(node.attributes["blocksize"])  # type: ignore[arg-type]
    return DepthToSpace(block, node.attributes.get("mode", "DCR") == "CRD", element=element)


def channel_vector(graph: GraphIndex, name: str, channels: int, rank: int) -> F32 | None:
    """A float32 constant that broadcasts along channels alone, as [C]; else None.

    rank: axes of the channel and those behind it, at least; of fewer axes only one element serves.
    """
    value = graph.constant(name)
    if value is None or value.dtype != np.float32:
        return None
    along = value.ndim >= rank and value.shape[value.ndim - rank] == channels == value.size
    if value.size != 1 and not along:
        return None
    return np.broadcast_to(value.reshape(-1), (channels,)).copy()


def normalization(graph: GraphIndex, node: Node) -> NormalizeF32 | None:
    """An InstanceNormalization of images, or a LayerNormalization over the last axis of anything
    (which is over channels, of images of one pixel); None for other operators."""
    shape = graph.facts.shapes[node.inputs[0]]
    instance = node.op_type == "InstanceNormalization" and len(shape) == 4
    layer = node.op_type == "LayerNormalization" and node.attributes.get("axis", -1) in (
        *(-1, len(shape) - 1),
    )
    if not (instance or layer) or node.attributes.get("stash_type", 1) != 1:
        return None
    channels = shape[1] if instance else shape[-1]
    scale = channel_vector(graph, node.inputs[1], channels, 1)
    bias: F32 | None = np.zeros(channels, np.float32)
    if len(node.inputs) > 2 and node.inputs[2]:
        bias = channel_vector(graph, node.inputs[2], channels, 1)
    if scale is None or bias is None:
        return None
    epsilon = float(node.attributes.get("epsilon", 1e-5))  # type: ignore[arg-type]
    return NormalizeF32("space" if instance else "channels", scale, bias, epsilon)


def normalized(
    graph: GraphIndex, node: Node, spec: NormalizeS8 | NormalizeF32, x: str, y: str
) -> list[Operation]:
    """The operations of a normalization: over channels, between the views that it needs."""
    if spec.over == "space":
        return [Operation(node.label, spec, (x,), (y,))]
    shape = graph.facts.shapes[node.inputs[0]]
    pixels = View((int(np.prod(shape[:-1], dtype=np.int64)), shape[-1], 1, 1))
    return [
        Operation(node.label, pixels, (x,), (f"{x}:4d:{y}",)),
        Operation(node.label, spec, (f"{x}:4d:{y}",), (f"{y}:4d",)),
        Operation(node.label, View(shape), (f"{y}:4d",), (y,)),
    ]


def float_images(graph: GraphIndex, node: Node) -> list[Operation] | None:
    """The same operators on float32 images."""
    facts, x = graph.facts, node.inputs[0] if node.inputs else ""
    if not facts.shapes.get(x) or facts.dtypes[x] != np.float32 or any(node.outputs[1:]):
        return None
    if graph.constant(x) is not None:
        return None
    norm = normalization(graph, node)
    if norm is not None:
        return normalized(graph, node, norm, x, node.outputs[0])
    spec = _float_spec(graph, node) if len(facts.shapes[x]) == 4 else None
    return None if spec is None else [Operation(node.label, spec, (x,), node.outputs[:1])]


def _float_spec(
    graph: GraphIndex, node: Node
) -> GatherPixels | DepthToSpace | InterpolateF32 | PReluF32 | None:
    if node.op_type == "PRelu":
        shape = graph.facts.shapes[node.inputs[0]]
        slope = channel_vector(graph, node.inputs[1], shape[1], 3)
        return None if slope is None else PReluF32(slope)
    gathered = picked_pixels(graph, node, "float32")
    if gathered is not None:
        fill = pad_value(graph, node)
        return GatherPixels(gathered.rows, gathered.columns, "float32", fill)
    taps = interpolation(graph, node)
    if taps is not None:
        return InterpolateF32(*taps)
    return blocks(graph, node, "float32")
