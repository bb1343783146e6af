"""Who makes and who reads each value of a graph, and which values are constant."""

from __future__ import annotations

import math
from collections import Counter
from itertools import chain

from . import ops
from .model import Array, Model, Node
from .shapes import Facts


class GraphIndex:
    """Look-ups that pattern matching needs. Node objects are compared by identity."""

    def __init__(self, model: Model, facts: Facts) -> None:
        self.model, self.facts = model, facts
        self._producers = model.producers()
        self._uses = Counter(chain.from_iterable([node.inputs for node in model.nodes]))
        self._uses.update([info.name for info in model.outputs])
        self._dequantized: dict[str, Array] = {}

    def producer(self, name: str) -> Node | None:
        return self._producers.get(name)

    def uses(self, name: str) -> int:
        """How many inputs of nodes and outputs of the model the value is."""
        return self._uses[name]

    def single_use(self, name: str) -> bool:
        """One node reads it, once, and it is no output of the model."""
        return self._uses[name] == 1

    def constant(self, name: str) -> Array | None:
        """The value where it does not depend on the model's inputs, else None."""
        node = self._producers.get(name)
        if node is None:
            weight = self.model.weights.get(name)
            return None if weight is None else weight.numpy()
        if name in self.facts.constants:
            return self.facts.constants[name]
        if node.op_type != "DequantizeLinear":
            return None
        if name in self._dequantized:
            return self._dequantized[name]
        inputs = [self.constant(n) if n else None for n in node.inputs]
        if any(a is None and n for a, n in zip(inputs, node.inputs, strict=True)):
            return None
        self._dequantized[name] = ops.run(node, inputs, self.model.opset)[0]
        return self._dequantized[name]

    def clamp_bounds(self, node: Node) -> tuple[float, float] | None:
        """Bounds of a Relu, or of a Clip whose bounds are constant; None for other nodes."""
        if node.op_type == "Relu":
            return 0.0, math.inf
        if node.op_type != "Clip":
            return None
        bounds = [-math.inf, math.inf]
        for i, key in enumerate(("min", "max")):
            if key in node.attributes:  # Clip-6
                bounds[i] = float(node.attributes[key])  # type: ignore[arg-type]
            elif len(node.inputs) > i + 1 and node.inputs[i + 1]:
                value = self.constant(node.inputs[i + 1])
                if value is None:
                    return None
                bounds[i] = float(value.reshape(()))
        return bounds[0], bounds[1]

    def skip_clamps(self, name: str, *, shared: bool = False) -> tuple[str, float, float]:
        """Walk up from a value through Relu and Clip whose results nothing else reads.

        shared: the value itself may have several readers. Returns the value before the clamps and
        the range that they clamp it to, together.
        """
        lo, hi = -math.inf, math.inf
        while shared or self._uses[name] == 1:
            shared = False
            node = self._producers.get(name)
            bounds = None if node is None else self.clamp_bounds(node)
            if node is None or bounds is None:
                break
            least, most = bounds
            lo, hi = min(max(least, lo), hi), min(max(most, lo), hi)
            name = node.inputs[0]
        return name, lo, hi

    def absorbable(self, name: str) -> Node | None:
        """The node that makes a value which only one reader needs; None for shared values."""
        return self._producers.get(name) if self._uses[name] == 1 else None
