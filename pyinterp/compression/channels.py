"""Which channels of a graph belong together, and which constants have to lose them together.

Every channel that a layer makes gets a number. Residual adds, gates and depthwise convolutions tie
the channels of their operands to each other: tied ones can only go as one (DepGraph: Fang et al.,
2023, arXiv:2301.12900).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..model import Array, Model, Node
from ..shapes import Facts

Ids = npt.NDArray[np.int64]

# operators whose output has the channels of the input, one for one
_PASSING = frozenset(
    (
        *("Relu", "Clip", "LeakyRelu", "Elu", "Selu", "Celu", "ThresholdedRelu", "Softplus"),
        *("Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Erf", "Gelu", "Mish", "Softsign"),
        *("Exp", "Sqrt", "Neg", "Abs", "Floor", "Ceil", "Round", "Cast", "Identity", "Dropout"),
        *("MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "Pad"),
    )
)
_ELEMENTWISE = frozenset(("Add", "Sub", "Mul", "Div", "Min", "Max", "Pow", "PRelu"))


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """A constant that has channels along an axis. ids: number of the channel at each position.

    role: "made" for the rows of the layer that makes these channels, "read" for the columns of one
    that reads them, "along" for everything else. node: the first node that reads the constant.
    """

    name: str
    axis: int
    ids: Ids
    role: str
    node: Node


class Channels:
    """The channels of a graph. Values have them along axis 1.

    cuts: all constants that have to change when channels go. `root` gives tied channels the same
    number; fixed ones have to stay: graph outputs, and what unknown operators see.
    """

    def __init__(self, model: Model, facts: Facts) -> None:
        """facts: of the model, see `shapes.infer`."""
        self.model, self.facts = model, facts
        self.cuts: list[Cut] = []
        self._values: dict[str, Ids] = {}
        self._parents: list[int] = []
        self._fixed: set[int] = set()
        self._known: dict[tuple[str, int], Ids] = {}
        for info in model.inputs:
            self._unknown(info.name)
        for node in model.nodes:
            self._visit(node)
        for info in model.outputs:
            self._fix(info.name)

    def root(self, channel: int) -> int:
        """The number that stands for all channels tied to this one."""
        while self._parents[channel] != channel:
            self._parents[channel] = self._parents[self._parents[channel]]
            channel = self._parents[channel]
        return channel

    def roots(self, ids: Ids) -> Ids:
        return np.array([self.root(int(channel)) for channel in ids], np.int64)

    def free(self) -> set[int]:
        """Roots of the channels that may go."""
        fixed = {self.root(channel) for channel in self._fixed}
        made = {r for cut in self.cuts if cut.role == "made" for r in self.roots(cut.ids).tolist()}
        return made - fixed

    def fix(self, ids: Ids) -> None:
        """Let these channels stay."""
        self._fixed.update(ids.tolist())

    def _new(self, count: int) -> Ids:
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        return np.arange(first, first + count)

    def _tie(self, first: Ids, second: Ids) -> None:
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            low, high = sorted((self.root(a), self.root(b)))
            self._parents[high] = low

    def _cut(self, name: str, axis: int, ids: Ids, role: str, node: Node) -> None:
        """One constant has one set of channels: where two nodes read it, theirs are tied."""
        before = self._known.setdefault((name, axis), ids)
        if before is not ids:
            self._tie(before, ids)
        self.cuts.append(Cut(name, axis, ids, role, node))

    def _fix(self, name: str) -> None:
        if name in self._values:
            self.fix(self._values[name])

    def _unknown(self, name: str) -> None:
        """Channels that nothing is known about: they stay."""
        shape = self.facts.shapes.get(name, ())
        if len(shape) > 1:
            self._values[name] = self._new(shape[1])
            self._fix(name)

    def _visit(self, node: Node) -> None:
        if not self._pass(node):
            for name in node.inputs:
                self._fix(name)
            for name in filter(None, node.outputs):
                self._unknown(name)

    def _pass(self, node: Node) -> bool:
        """Follow the channels through a node; False where it is not known how."""
        x, y = node.inputs[0] if node.inputs else "", node.outputs[0]
        if node.domain or any(node.outputs[1:]):
            return False
        if node.op_type in ("Conv", "Gemm"):
            return self._layer(node)
        if node.op_type in _ELEMENTWISE:
            return self._elementwise(node)
        if node.op_type == "Concat":
            return self._concat(node)
        if x not in self._values:
            return False
        if node.op_type == "BatchNormalization":
            for name in node.inputs[1:]:
                if name not in self.model.weights:
                    return False
            for name in node.inputs[1:]:
                self._cut(name, 0, self._values[x], "along", node)
        elif node.op_type == "Flatten":
            if node.attributes.get("axis", 1) != 1:
                return False
            each = int(np.prod(self.facts.shapes[x][2:], dtype=np.int64))
            self._values[y] = np.repeat(self._values[x], each)
            return True
        elif node.op_type == "Resize":
            if any(node.inputs[3:]) or not self._same_channels(x, y):  # sizes hold the channels
                return False
        elif not (node.op_type in _PASSING and self._same_channels(x, y)) and not (
            self._keeps_channels(node, x, y)
        ):
            return False
        self._values[y] = self._values[x]
        return True

    def _same_channels(self, x: str, y: str) -> bool:
        return self.facts.shapes[x][:2] == self.facts.shapes[y][:2]

    def _keeps_channels(self, node: Node, x: str, y: str) -> bool:
        """Means over space, and [N, C] to or from [N, C, 1, 1], where no constant holds C."""
        before, after = self.facts.shapes[x], self.facts.shapes[y]
        if len(after) < 2 or not self._same_channels(x, y):
            return False
        if node.op_type in ("ReduceMean", "ReduceMax", "ReduceSum"):
            axes = node.attributes.get("axes")
            if axes is None and len(node.inputs) > 1 and node.inputs[1] in self.model.weights:
                axes = tuple(self.model.weights[node.inputs[1]].numpy().tolist())
            return isinstance(axes, tuple) and all(int(a) % len(before) > 1 for a in axes)
        only_ones = set(before[2:]) | set(after[2:]) <= {1}
        if node.op_type == "Reshape":
            target = self._constant(node.inputs[1])
            return only_ones and target is not None and len(target) > 1 and target[1] in (0, -1)
        return only_ones and node.op_type in ("Squeeze", "Unsqueeze")

    def _constant(self, name: str) -> Array | None:
        return self.model.weights[name].numpy() if name in self.model.weights else None

    def _layer(self, node: Node) -> bool:
        x, y, weight = node.inputs[0], node.outputs[0], self._constant(node.inputs[1])
        biases = [name for name in node.inputs[2:] if name]
        if (
            weight is None
            or x not in self._values
            or any(self._constant(b) is None for b in biases)
        ):
            return False
        if node.op_type == "Gemm" and not node.attributes.get("transB", 0):
            return False
        inputs = self._values[x]
        group = node.attributes.get("group", 1)
        if group == 1:
            made = self._new(weight.shape[0])
            self._cut(node.inputs[1], 1, inputs, "read", node)
            self._cut(node.inputs[1], 0, made, "made", node)
        elif group == len(inputs) == weight.shape[0]:  # depthwise
            made = inputs
            self._cut(node.inputs[1], 0, made, "along", node)
        else:
            return False
        for name in biases:
            self._cut(name, 0, made, "along", node)
        self._values[y] = made
        return True

    def _elementwise(self, node: Node) -> bool:
        shape = self.facts.shapes[node.outputs[0]]
        if len(shape) < 2:
            return False
        channels: Ids | None = None
        for name in node.inputs:
            ids = self._values.get(name)
            if name in self.model.weights or ids is None:
                continue
            if len(self.facts.shapes[name]) != len(shape):
                return False
            if len(ids) == shape[1]:
                if channels is not None:
                    self._tie(channels, ids)
                channels = ids
            else:  # one channel for all of the other's
                self._fix(name)
        if channels is None:
            return False
        for name in node.inputs:
            if name in self._values:
                continue
            constant = self._constant(name)
            if constant is None:
                return False
            axis = constant.ndim - (len(shape) - 1)
            if axis >= 0 and constant.shape[axis] == shape[1] > 1:
                self._cut(name, axis, channels, "along", node)
        self._values[node.outputs[0]] = channels
        return True

    def _concat(self, node: Node) -> bool:
        rank = len(self.facts.shapes[node.outputs[0]])
        axis = node.attributes.get("axis", 0)
        if not isinstance(axis, int) or axis % rank != 1:
            return False
        if any(name not in self._values for name in node.inputs):
            return False
        self._values[node.outputs[0]] = np.concatenate([self._values[n] for n in node.inputs])
        return True
