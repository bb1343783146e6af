"""Signals [N, C, L] run as images of one row, so that 2-D kernels serve them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from .kernels.step import ArraySpec
from .lowered import Operation, View
from .shapes import Shape


def image_of(shape: Shape) -> Shape | None:
    """The image that a signal, or an image, is; None for values of other ranks."""
    if len(shape) == 3:
        return shape[0], shape[1], 1, shape[2]
    return shape if len(shape) == 4 else None


def on_images(shape: Shape, wanted: Shape, operations: list[Operation]) -> list[Operation]:
    """A chain of operations on 4-D values, between the views that make its input and output so.

    shape: of what the first reads. wanted: of what the last writes.
    """
    image = image_of(shape)
    if image is not None and image != shape:
        first = operations[0]
        x = f"{first.inputs[0]}:4d:{operations[-1].outputs[0]}"
        before = Operation(first.label, View(image), first.inputs[:1], (x,))
        first = Operation(first.label, first.work, (x, *first.inputs[1:]), first.outputs)
        operations = [before, first, *operations[1:]]
    if len(wanted) != 4:
        last = operations[-1]
        y = f"{last.outputs[0]}:4d"
        after = Operation(last.label, View(wanted), (y,), last.outputs)
        last = Operation(last.label, last.work, last.inputs, (y,))
        operations = [*operations[:-1], last, after]
    return operations


def join_views(
    operations: Iterable[Operation], values: Mapping[str, ArraySpec], outputs: Collection[str]
) -> tuple[Operation, ...]:
    """Without pairs of views that lead back to the shape and type a value had before.

    Views fix the order of bytes, so that such a pair between two layers costs two transpositions.
    """
    operations = tuple(operations)
    if sum(isinstance(operation.work, View) for operation in operations) < 2:
        return operations
    source: dict[str, str] = {}  # of what each view shows
    same: dict[str, str] = {}  # value -> the earlier value that it equals
    kept: list[Operation] = []
    for operation in operations:
        inputs = tuple(same.get(name, name) for name in operation.inputs)
        operation = Operation(operation.label, operation.work, inputs, operation.outputs)
        if isinstance(operation.work, View):
            (name,), origin = operation.outputs, source.get(inputs[0], inputs[0])
            if values[origin] == values[name] and name not in outputs:
                same[name] = origin
                continue
            source[name] = origin
        kept.append(operation)
    return _without_unread_views(kept, outputs)


def _without_unread_views(
    operations: list[Operation], outputs: Collection[str]
) -> tuple[Operation, ...]:
    read = set(outputs)
    kept = []
    for operation in reversed(operations):
        if isinstance(operation.work, View) and read.isdisjoint(operation.outputs):
            continue
        read.update(operation.inputs)
        kept.append(operation)
    return tuple(reversed(kept))
