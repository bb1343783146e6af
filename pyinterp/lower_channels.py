"""Movement of whole channels, of uint8 and float32 alike: slices, splits, shuffles; and movements
that become one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeGuard

import numpy as np

from . import ops
from .fold_channels import TO_FIRST, TO_LAST
from .graph_index import GraphIndex
from .kernels.step import ArraySpec
from .lowered import Operation, ReferenceOp, View, Work
from .model import Node
from .ops.fused_spec import (
    ConcatF32,
    DepthToSpace,
    GatherPixels,
    NormalizeF32,
    NormalizeS8,
    SelectChannels,
)
from .shapes import Shape

SLICES = ("Slice", "Split")
_FUSABLE = (View, SelectChannels, DepthToSpace, NormalizeS8, NormalizeF32)
# Work that may end a chain of operations which become one.
_LAST = (View, SelectChannels, GatherPixels, ReferenceOp)


def picked_channels(graph: GraphIndex, node: Node, output: str) -> tuple[int, ...] | None:
    """The channels of [N, C, H, W] that a Slice or Split gives as `output`.

    None where it cuts other axes, too, or does not say constantly where.
    """
    shape = graph.facts.shapes[node.inputs[0]]
    constants = [graph.constant(n) if n else None for n in node.inputs[1:]]
    if len(shape) != 4 or any(
        c is None and n for c, n in zip(constants, node.inputs[1:], strict=True)
    ):
        return None
    which = node.outputs.index(output)
    picked: list[tuple[int, ...]] = []
    for axis in range(4):  # each is cut alone: where its numbers go tells how
        numbers = np.arange(shape[axis]).reshape([-1 if a == axis else 1 for a in range(4)])
        arguments = [np.broadcast_to(numbers, shape), *constants]
        result = ops.run(node, arguments, graph.model.opset)[which]
        if not result.size:
            return None
        line = np.moveaxis(result, axis, -1).reshape(-1, result.shape[axis])[0]
        picked.append(tuple(int(i) for i in line))
    whole = all(picked[axis] == tuple(range(shape[axis])) for axis in (0, 2, 3))
    return picked[1] if whole else None


def float_movement(graph: GraphIndex, node: Node) -> list[Operation] | None:
    """Slice, Split or Concat of float32 channels; None for all others."""
    facts = graph.facts
    if node.op_type in SLICES:
        if facts.dtypes[node.inputs[0]] != np.float32:
            return None
        found = []
        for name in filter(None, node.outputs):
            channels = picked_channels(graph, node, name)
            if channels is None:
                return None
            spec = SelectChannels(channels, "float32")
            found.append(Operation(node.label, spec, node.inputs[:1], (name,)))
        return found
    if node.op_type == "Concat" and facts.dtypes[node.outputs[0]] == np.float32:
        rank = len(facts.shapes[node.outputs[0]])
        along_channels = rank == 4 and int(node.attributes["axis"]) % 4 == 1  # type: ignore[arg-type]
        if along_channels and all(graph.constant(name) is None for name in node.inputs):
            return [Operation(node.label, ConcatF32(len(node.inputs)), node.inputs, node.outputs)]
    return None


def fuse_selections(
    operations: Sequence[Operation], values: Mapping[str, ArraySpec], outputs: Sequence[str]
) -> tuple[Operation, ...]:
    """Channel shuffles (a view, a transpose, a view) become one selection, selections of selections
    one, and blocks of pixels that are cropped are made so, where nothing else reads what vanishes.
    """
    made: dict[str, Operation] = {}
    fused = []
    for operation in operations:
        if isinstance(operation.work, _LAST):
            operation = _shuffle(operation, made, values)
            operation = _compose(operation, made)
            operation = _crop(operation, made, values)
            operation = _normalize_in_place(operation, made, values)
        made.update(dict.fromkeys(operation.outputs, operation))
        fused.append(operation)
    needed, kept = set(outputs), []
    for operation in reversed(fused):  # what only fused operations read is dead now
        fusable = isinstance(operation.work, _FUSABLE) or _is_transpose(operation.work)
        if not fusable or needed.intersection(operation.outputs):
            needed.update(operation.inputs)
            kept.append(operation)
    return tuple(reversed(kept))


def _is_transpose(work: Work) -> TypeGuard[ReferenceOp]:
    return isinstance(work, ReferenceOp) and work.node.op_type == "Transpose"


def _shuffle(
    last: Operation, made: Mapping[str, Operation], values: Mapping[str, ArraySpec]
) -> Operation:
    """The selection that a view of a transposed view is; `last` itself where it is none."""
    transpose = made.get(last.inputs[0]) if isinstance(last.work, View) else None
    if transpose is None or not _is_transpose(transpose.work):
        return last
    first = made.get(transpose.inputs[0])
    if first is None or not isinstance(first.work, View):
        return last
    x, y = values[first.inputs[0]], values[last.outputs[0]]
    grouped = values[transpose.inputs[0]]
    perm = transpose.work.node.attributes.get("perm", tuple(reversed(range(len(grouped.shape)))))
    channels = _shuffled(x.shape, grouped.shape, tuple(perm))  # type: ignore[arg-type]
    known = x.dtype in (np.uint8, np.float32) and x.dtype == y.dtype
    if channels is None or x.shape != y.shape or not known:
        return last
    spec = SelectChannels(channels, x.dtype.name)
    return Operation(last.label, spec, first.inputs, last.outputs)


def _shuffled(shape: Shape, grouped: Shape, perm: tuple[int, ...]) -> tuple[int, ...] | None:
    """Channels after [N, C, H, W], seen as `grouped`, is transposed; None where other axes move."""
    if len(shape) != 4 or grouped[:1] != shape[:1]:
        return None
    for end in range(2, len(grouped) + 1):  # grouped[1:end] are the channels
        stay = perm[0] == 0 and perm[end:] == tuple(range(end, len(grouped)))
        if stay and np.prod(grouped[1:end]) == shape[1]:
            order = np.arange(shape[1]).reshape(grouped[1:end])
            moved = order.transpose([axis - 1 for axis in perm[1:end]])
            return tuple(moved.reshape(-1).tolist())
    return None


def _compose(operation: Operation, made: Mapping[str, Operation]) -> Operation:
    """A selection of a selection reads that one's input."""
    before = made.get(operation.inputs[0])
    if (
        before is None
        or not isinstance(operation.work, SelectChannels)
        or not isinstance(before.work, SelectChannels)
    ):
        return operation
    channels = tuple(before.work.channels[i] for i in operation.work.channels)
    spec = SelectChannels(channels, operation.work.element)
    return Operation(operation.label, spec, before.inputs, operation.outputs)


def _crop(
    operation: Operation, made: Mapping[str, Operation], values: Mapping[str, ArraySpec]
) -> Operation:
    """Neighbouring rows and columns of a DepthToSpace are that DepthToSpace, cropped."""
    before, work = made.get(operation.inputs[0]), operation.work
    if before is None or not isinstance(work, GatherPixels):
        return operation
    blocks = before.work
    if not isinstance(blocks, DepthToSpace):
        return operation
    crop = list(blocks.crop)
    sizes = values[operation.inputs[0]].shape[2:]
    for axis, (picked, size) in enumerate(zip((work.rows, work.columns), sizes, strict=True)):
        first = picked[0]
        if first < 0 or picked != tuple(range(first, first + len(picked))):
            return operation
        crop[axis] += first
        crop[axis + 2] += size - first - len(picked)
    spec = replace(blocks, crop=(crop[0], crop[1], crop[2], crop[3]))
    return Operation(operation.label, spec, before.inputs, operation.outputs)


def _normalize_in_place(
    last: Operation, made: Mapping[str, Operation], values: Mapping[str, ArraySpec]
) -> Operation:
    """A normalization over channels between Transposes to [N, H, W, C] and back: the same of the
    images as they were."""
    if not _is_transpose(last.work) or last.work.node.attributes.get("perm") != TO_FIRST:
        return last
    chain = [last]
    for kind in (View, (NormalizeS8, NormalizeF32), View, ReferenceOp):
        before = made.get(chain[-1].inputs[0])
        if before is None or not isinstance(before.work, kind):
            return last
        chain.append(before)
    norm, first = chain[2], chain[4]
    if not _is_transpose(first.work) or first.work.node.attributes.get("perm") != TO_LAST:
        return last
    same = values[first.outputs[0]].shape == values[last.inputs[0]].shape
    return Operation(norm.label, norm.work, first.inputs, last.outputs) if same else last
