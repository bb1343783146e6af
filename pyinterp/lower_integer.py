"""Integer patterns: what ends at a QuantizeLinear and can be computed without floats.

Every pattern function gets the operator above a QuantizeLinear (`core`), its inputs being
DequantizeLinear outputs, and returns the operations that compute the quantized result, or None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from . import lower_functions as functions
from . import lower_images_s8 as images
from . import lower_layers as layers
from . import lower_moves as moves
from .graph_index import GraphIndex
from .lower_channels import SLICES
from .lower_float import VIEWS, is_layer
from .lower_values import QuantizedValues, Target
from .lowered import Operation
from .model import Node
from .ops.fused_spec import Dequantize, Quantize

Pattern: TypeAlias = Callable[[QuantizedValues, Target, Node], "list[Operation] | None"]


def _first_of(*patterns: Pattern) -> Pattern:
    def match(v: QuantizedValues, target: Target, core: Node) -> list[Operation] | None:
        return next((found for p in patterns if (found := p(v, target, core)) is not None), None)

    return match


_PATTERNS: dict[str, Pattern] = {
    **dict.fromkeys((*functions.UNARY, *functions.ARITHMETIC), functions.function),
    **dict.fromkeys((*VIEWS, *SLICES, "Transpose"), moves.move),
    "Add": _first_of(layers.add, functions.function),
    "Mul": _first_of(functions.gated, moves.mul, functions.function),
    "Concat": moves.concat,
    "MaxPool": moves.max_pool,
    "AveragePool": moves.average_pool,
    "GlobalAveragePool": moves.average_pool,
    "ReduceMean": moves.average_pool,
    **dict.fromkeys(("Resize", "Upsample"), _first_of(images.move, images.interpolate)),
    "Slice": _first_of(moves.move, images.move),
    **dict.fromkeys(("DepthToSpace", "Pad"), images.move),
    "PRelu": _first_of(functions.function, images.prelu),
    **dict.fromkeys(("InstanceNormalization", "LayerNormalization"), images.normalize),
}


class IntegerMatcher:
    def __init__(self, graph: GraphIndex, notes: dict[str, str]) -> None:
        self.values = QuantizedValues(graph, notes)

    def match(self, node: Node) -> list[Operation] | None:
        """What computes the output of a QuantizeLinear; None where its reference has to run."""
        v = self.values
        target = v.target(node)
        if target is None:
            return None
        found = moves.requantized(v, target)
        if found is None and target.core is not None:
            is_a_layer = is_layer(v.graph, target.core)
            pattern = layers.layer if is_a_layer else _PATTERNS.get(target.core.op_type)
            found = None if pattern is None else pattern(v, target, target.core)
        if found is not None:
            return found
        # a float value: quantized as it is, the clamps before taken in
        spec = Quantize(target.parameters.scale, v.range(target))
        return [Operation(node.label, spec, (target.value,), (v.stored(target),))]

    def dequantize(self, node: Node) -> list[Operation] | None:
        """The float form of a quantized activation; None for other DequantizeLinears."""
        x = self.values.operand(node.outputs[0])
        if x is None:
            return None
        spec = Dequantize(x.scale, x.zero_point)
        return [Operation(node.label, spec, (x.name,), (node.outputs[0],))]
