"""Quantized values of a QDQ graph, as integer patterns see them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .graph_index import GraphIndex
from .lower_channels import SLICES
from .lower_float import VIEWS
from .lower_images import pad_value
from .model import Node
from .ops.fused_spec import OutputRange, RescaleS8
from .quantized import (
    FULL_S8,
    FULL_U8,
    INT8,
    UINT8,
    Parameters,
    Storage,
    activation_parameters,
    check_scales,
    output_range,
    storage_of_clamp,
)
from .records import record

# operators whose every output value is one of the input's, or 0
_MOVES = frozenset(
    (*VIEWS, *SLICES, "Transpose", "MaxPool", "DepthToSpace", "Pad", "Resize", "Upsample")
)


def _makes_values(graph: GraphIndex, move: Node) -> bool:
    """Whether it interpolates, or fills with another value than 0."""
    transform = move.attributes.get("coordinate_transformation_mode", "half_pixel")
    if move.op_type in ("Resize", "Upsample"):
        nearest = move.attributes.get("mode", "nearest") == "nearest"
        return not nearest or transform == "tf_crop_and_resize"
    return pad_value(graph, move) != 0


def stored_name(graph: GraphIndex, name: str) -> str:
    """The name under which a quantized value is kept as uint8: int8 ones get one of their own."""
    return f"{name}:u8" if graph.facts.dtypes.get(name) == INT8 else name


@record(frozen=True, slots=True)
class Operand:
    """A float value that is a dequantized activation. name: of its uint8 form."""

    name: str
    scale: float
    zero_point: int  # after the shift
    storage: Storage
    source: str  # name of the quantized tensor in the model


@record(frozen=True, slots=True)
class Target:
    """The QuantizeLinear that a pattern ends at, with the clamps before it taken in."""

    node: Node
    core: Node | None
    value: str  # the float value before the clamps
    parameters: Parameters
    clamp: tuple[float, float]

    @property
    def name(self) -> str:
        return self.node.outputs[0]


def ratio(numerator: float, denominator: float, what: str) -> float:
    """float32(float64(a) / float64(b)): a multiplier of the numeric contract, range-checked."""
    value = float(np.float32(np.float64(numerator) / np.float64(denominator)))
    check_scales(value, what)
    return value


def rescale(x: Operand, y_scale: float, output: OutputRange, label: str) -> RescaleS8:
    return RescaleS8(x.zero_point, ratio(x.scale, y_scale, label), output)


class QuantizedValues:
    """notes: label of a layer -> why it could not be lowered to integers."""

    def __init__(self, graph: GraphIndex, notes: dict[str, str]) -> None:
        self.graph, self.notes = graph, notes
        self.tables: dict[str, npt.NDArray[np.uint8]] = {}  # all that patterns used
        # what was found out before: patterns ask again and again
        self._storage: dict[str, Storage] = {}
        self._operands: dict[str, Operand | None] = {}
        self._targets: dict[str, Target | None] = {}
        self._parameters: dict[tuple[str, ...], Parameters | None] = {}

    def operand(self, value: str) -> Operand | None:
        """The quantized activation behind a float value; None where it is not one."""
        if value not in self._operands:
            self._operands[value] = self._find_operand(value)
        return self._operands[value]

    def _find_operand(self, value: str) -> Operand | None:
        node = self.graph.producer(value)
        if node is None or node.op_type != "DequantizeLinear":
            return None
        source = node.inputs[0]
        if self.graph.constant(source) is not None:
            return None
        parameters = self._parameters_of(node)
        if parameters is None or self.graph.facts.dtypes[source] not in (UINT8, INT8):
            return None
        storage = self.storage(source)
        zero = parameters.zero_point + storage.shift
        name = stored_name(self.graph, source)
        return Operand(name, parameters.scale, zero, storage, source)

    def _parameters_of(self, node: Node) -> Parameters | None:
        """As `activation_parameters`: quantizers of a value and dequantizers share their names."""
        key = node.inputs[1:]
        if "output_dtype" in node.attributes:  # which may tell the type in place of a zero point
            return activation_parameters(node, self.graph.constant)
        if key not in self._parameters:
            self._parameters[key] = activation_parameters(node, self.graph.constant)
        return self._parameters[key]

    def storage(self, source: str) -> Storage:
        """How a quantized value of the model is kept."""
        if source not in self._storage:
            self._storage[source] = self._find_storage(source)
        return self._storage[source]

    def _find_storage(self, source: str) -> Storage:
        full = FULL_S8 if self.graph.facts.dtypes[source] == INT8 else FULL_U8
        node = self.graph.producer(source)
        if node is None or node.op_type != "QuantizeLinear":
            return full
        target = self.target(node)
        if target is None:
            return full
        passed = self.passes_through(target)
        if passed is not None:
            return passed
        return storage_of_clamp(target.parameters, *target.clamp)

    def passes_through(self, target: Target) -> Storage | None:
        """Storage of the input where the pattern only moves its bytes (views, slices, MaxPool)."""
        core = target.core
        if core is None or core.op_type not in _MOVES:
            return None
        if _makes_values(self.graph, core):
            return None
        x = self.operand(core.inputs[0])
        if x is None or (core.op_type == "MaxPool" and any(core.outputs[1:])):
            return None
        own = storage_of_clamp(target.parameters, *target.clamp)
        same_zero = x.zero_point - x.storage.shift == target.parameters.zero_point
        lo, hi = x.storage.lo - x.storage.shift, x.storage.hi - x.storage.shift
        inside = own.lo - own.shift <= lo and hi <= own.hi - own.shift
        same_type = target.parameters.signed == (self.graph.facts.dtypes[x.source] == INT8)
        if core.op_type == "Pad" and not x.storage.lo <= x.zero_point <= x.storage.hi:
            return None
        same = x.scale == target.parameters.scale and same_zero and inside and same_type
        return x.storage if same else None

    def target(self, node: Node) -> Target | None:
        """A QuantizeLinear per tensor of 8 bits; None for others."""
        output = node.outputs[0]
        if output not in self._targets:
            self._targets[output] = self._find_target(node)
        return self._targets[output]

    def _find_target(self, node: Node) -> Target | None:
        parameters = self._parameters_of(node)
        if parameters is None:
            return None
        value, lo, hi = self.graph.skip_clamps(node.inputs[0])
        return Target(node, self.graph.absorbable(value), value, parameters, (lo, hi))

    def stored(self, target: Target) -> str:
        """The name of the target's uint8 form."""
        return stored_name(self.graph, target.name)

    def range(self, target: Target) -> OutputRange:
        return output_range(target.parameters, self.storage(target.name))
