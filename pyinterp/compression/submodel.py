"""Parts of a graph as models of their own, run at full speed: what calibration and layer-by-layer
reconstruction look through.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass

import numpy as np

from ..model import Array, Model, Node, TensorInfo
from ..session import Session

_CLAMPS = frozenset({"Clip", "Relu"})
# One float kernel alone: float sums differ between kernels, and what is compressed must not depend
# on which of them costs less on a machine.
FORMATS = ("dense_f32", "dense_s8", "dense_s16")

Values = Mapping[str, Array]


def between(model: Model, starts: Iterable[str], outputs: Iterable[str]) -> Model:
    """The part of a model that computes `outputs` from `starts`, values of the graph or inputs.

    What the outputs do not depend on is left out, among the starts too.
    """
    first, wanted = set(starts), list(dict.fromkeys(outputs))
    needed = set(wanted)
    nodes: list[Node] = []
    for node in reversed(model.nodes):
        made = needed.intersection(filter(None, node.outputs)) - first
        if made:
            nodes.append(node)
            needed.update(name for name in node.inputs if name)
    inputs = [info for info in model.inputs if info.name in needed]
    known = {info.name for info in inputs}
    float32 = np.dtype(np.float32)
    inputs += [TensorInfo(name, float32, None) for name in sorted((first & needed) - known)]
    declared = {info.name: info for info in model.outputs}
    return model.replace(
        nodes=tuple(reversed(nodes)),
        inputs=tuple(inputs),
        outputs=tuple(declared.get(name, TensorInfo(name, float32, None)) for name in wanted),
        weights={name: tensor for name, tensor in model.weights.items() if name in needed},
    )


class Runner:
    """Computes values inside a graph through a `Session`: the fastest backend that is installed.

    Inputs may have any shape the graph takes; a plan is made when the shapes change. Values that
    are not among the part's inputs are ignored.
    """

    def __init__(self, model: Model, starts: Iterable[str], outputs: Iterable[str]) -> None:
        self._part = between(model, starts, outputs)
        self._session: Session | None = None

    def run(self, values: Values) -> dict[str, Array]:
        """Value name -> array, for all outputs. values: arrays of the starts."""
        part = self._part
        feeds = {info.name: np.ascontiguousarray(values[info.name]) for info in part.inputs}
        names = [info.name for info in part.outputs]
        passed = {name: feeds[name] for name in names if name in feeds}
        if len(passed) == len(names):
            return passed
        shapes = [array.shape for array in feeds.values()]
        if self._session is None or [info.shape for info in self._session.inputs] != shapes:
            bound = tuple(
                TensorInfo(info.name, info.dtype, shape)
                for info, shape in zip(part.inputs, shapes, strict=True)
            )
            self._session = Session(part.replace(inputs=bound), formats=FORMATS)
        return dict(zip(names, self._session.run(None, feeds), strict=True))


def single_images(model: Model, feeds: Values) -> Iterator[Values]:
    """The images of a batch one by one, so that memory does not depend on the batch.

    A batch stays whole where the model fixes its size, or where inputs differ in their number.
    """
    free = all(
        info.shape is None or not isinstance(info.shape[0], int)
        for info in model.inputs
        if info.shape != ()
    )
    sizes = {feeds[info.name].shape[:1] for info in model.inputs}
    if not free or len(sizes) != 1 or sizes == {()}:
        yield feeds
        return
    for i in range(sizes.pop()[0]):
        yield {info.name: feeds[info.name][i : i + 1] for info in model.inputs}


@dataclass(frozen=True, slots=True)
class Stage:
    """Consecutive nodes of a graph. starts: all values that pass from the nodes before to these
    or later ones. nodes: of the stage, in graph order.
    """

    starts: tuple[str, ...]
    nodes: tuple[Node, ...]


def stages(model: Model, layers: Set[str]) -> list[Stage]:
    """Cut a graph wherever a single value connects what came before with what follows.

    Residual blocks become stages; a graph without such places is one stage. A clamp stays with the
    operator that it is fused to. layers: labels of nodes; each stage holds at least one of them.
    """
    fused = {node.inputs[0] for node in model.nodes if node.op_type in _CLAMPS}
    last_use = {name: i for i, node in enumerate(model.nodes) for name in node.inputs if name}
    outputs = {info.name for info in model.outputs}
    live = {info.name for info in model.inputs}
    found: list[Stage] = []
    starts, begin, worthwhile = tuple(live), 0, False
    for i, node in enumerate(model.nodes):
        live.update(name for name in node.outputs if name)
        live = {name for name in live if last_use.get(name, -1) > i or name in outputs}
        worthwhile |= node.label in layers
        if len(live) == 1 and not live & (outputs | fused) and worthwhile:
            found.append(Stage(starts, model.nodes[begin : i + 1]))
            starts, begin, worthwhile = tuple(live), i + 1, False
    if worthwhile:
        found.append(Stage(starts, model.nodes[begin:]))
    return found


def wanted_output(model: Model, node: Node) -> tuple[str, str]:
    """What a layer is to deliver. Where its output goes to an Add alone: the sum, and the other
    operand, if that is there before the layer runs, so that the layer can make up for its errors.
    Else the output and "".
    """
    output = node.outputs[0]
    readers = model.consumers().get(output, [])
    if len(readers) == 1 and readers[0].op_type == "Add" and output not in _names(model.outputs):
        others = [name for name in readers[0].inputs if name != output]
        before = model.nodes[: model.nodes.index(node)]
        earlier = {name for n in before for name in n.outputs} | _names(model.inputs)
        if others and others[0] in earlier:
            return readers[0].outputs[0], others[0]
    return output, ""


def _names(infos: Iterable[TensorInfo]) -> set[str]:
    return {info.name for info in infos}
