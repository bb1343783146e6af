"""Lower a model for given input shapes: fold, fuse, and turn QDQ patterns into integer operators.

The graph is walked from its outputs to its inputs. At each node whose result somebody needs, the
largest pattern that ends there becomes one fused operator; what it absorbs is needed by nobody
else and vanishes. Where no pattern fits, the ONNX reference operator runs, on dequantized floats.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from . import ops
from .expand_qlinear import expand_qlinear
from .fold import simplify
from .graph_index import GraphIndex
from .kernels.step import ArraySpec
from .lower_channels import fuse_selections
from .lower_dynamic import dynamic_input, dynamic_layer
from .lower_float import FloatMatcher
from .lower_integer import IntegerMatcher
from .lower_signals import join_views
from .lower_values import stored_name
from .lowered import Lowered, Operation, ReferenceOp, View
from .model import Model, Node
from .ops.fused_shapes import output_dtype, output_shape
from .ops.fused_spec import Spec, TableS8
from .quantized import INT8
from .shapes import Shape, infer

_FLIP_SIGN = np.arange(256, dtype=np.uint8) ^ np.uint8(128)  # bytes of int8 <-> q + 128


def lower(model: Model, shapes: Mapping[str, Shape]) -> Lowered:
    """Lower for inputs of the given shapes.

    Raises UnsupportedOperatorError, InputError for shapes that do not fit, ModelError where an
    operator's inputs do not fit it, QuantizationError where the numeric contract cannot hold.
    """
    expanded = expand_qlinear(model)
    ops.check_supported(expanded)
    return _Lowering(simplify(expanded), shapes).run()


class _Lowering:
    def __init__(self, model: Model, shapes: Mapping[str, Shape]) -> None:
        self.model = model
        self.facts = infer(model, shapes)
        self.graph = GraphIndex(model, self.facts)
        self.notes: dict[str, str] = {}
        self.integer = IntegerMatcher(self.graph, self.notes)
        self.float = FloatMatcher(self.graph)
        self.needed: set[str] = set()
        self.backward: list[Operation] = []  # last operation first

    def run(self) -> Lowered:
        outputs = tuple(info.name for info in self.model.outputs)
        constants = {n: a for n in outputs if (a := self.graph.constant(n)) is not None}
        self.needed.update(n for n in outputs if n not in constants)
        for node in reversed(self.model.nodes):
            self._visit(node)
        inputs = tuple(info.name for info in self.model.inputs)
        for name in inputs:
            self._shift_raw(name)
        operations = tuple(reversed(self.backward))
        values = self._value_specs(inputs, operations)
        operations = join_views(operations, values, outputs)
        operations = fuse_selections(operations, values, outputs)
        made = {*inputs, *(name for operation in operations for name in operation.outputs)}
        values = {name: spec for name, spec in values.items() if name in made}
        tables = self.integer.values.tables
        return Lowered(operations, inputs, outputs, values, constants, self.notes, tables)

    def _visit(self, node: Node) -> None:
        stored, facts = node.outputs[0] if node.outputs else "", self.facts
        for name in node.outputs:
            if facts.dtypes.get(name) == INT8 and name not in facts.constants:
                self._shift_raw(name)
                stored = stored_name(self.graph, node.outputs[0])
        if self.needed.isdisjoint(node.outputs) and stored not in self.needed:
            return
        if self.graph.constant(node.outputs[0]) is not None:
            return  # whoever needs it reads the constant
        if node.op_type == "QuantizeLinear":
            pattern = self.integer.match(node)
            if pattern is not None:
                self._unshift(node.outputs[0], stored)
                self._emit(pattern)
                return
            self._shift_from_raw(node.outputs[0], stored)
        elif node.op_type == "DequantizeLinear":
            pattern = self.integer.dequantize(node)
        else:
            pattern = dynamic_input(node, self.needed, self._reference)
            pattern = pattern or dynamic_layer(self.graph, node) or self.float.match(node)
        self._emit(pattern or [self._reference(node)])

    def _emit(self, pattern: Iterable[Operation]) -> None:
        """Add operations (in running order) and mark what they read as needed."""
        operations = list(pattern)
        made = {name for operation in operations for name in operation.outputs}
        self.backward.extend(reversed(operations))
        for operation in operations:
            self.needed.update(set(operation.inputs) - made)

    def _reference(self, node: Node) -> Operation:
        constants = {}
        for i, name in enumerate(node.inputs):
            value = self.graph.constant(name) if name else None
            if value is not None:
                constants[i] = value
        inputs = tuple(n for i, n in enumerate(node.inputs) if n and i not in constants)
        work = ReferenceOp(node, self.model.opset, constants)
        return Operation(node.label, work, inputs, node.outputs)

    def _shift_raw(self, name: str) -> None:
        """Make the shifted form of an int8 value that no integer pattern produces."""
        stored = stored_name(self.graph, name)
        producer = self.graph.producer(name)
        if stored != name and (producer is None or producer.op_type != "QuantizeLinear"):
            self._shift_from_raw(name, stored)

    def _shift_from_raw(self, raw: str, stored: str) -> None:
        if raw == stored or stored not in self.needed:
            return
        shape, dtype = self.facts.shapes[raw], np.dtype(np.uint8)
        self._emit(
            [
                Operation(raw, View(shape, dtype), (raw,), (f"{raw}:bytes",)),
                Operation(raw, TableS8(_FLIP_SIGN), (f"{raw}:bytes",), (stored,)),
            ]
        )

    def _unshift(self, raw: str, stored: str) -> None:
        """Make the int8 form of a value kept as `q + shift`, where something wants it."""
        if raw == stored or raw not in self.needed:
            return
        shift = self.integer.values.storage(raw).shift
        table = (np.arange(256) - shift).astype(np.uint8)  # modulo 256: the bytes of int8
        shape, dtype = self.facts.shapes[raw], np.dtype(np.int8)
        self._emit(
            [
                Operation(raw, TableS8(table), (stored,), (f"{raw}:bytes",)),
                Operation(raw, View(shape, dtype), (f"{raw}:bytes",), (raw,)),
            ]
        )

    def _value_specs(
        self, inputs: Iterable[str], operations: Iterable[Operation]
    ) -> dict[str, ArraySpec]:
        facts = self.facts
        values = {n: ArraySpec(facts.shapes[n], facts.dtypes[n]) for n in inputs}
        for operation in operations:
            work = operation.work
            if isinstance(work, ReferenceOp):
                for name, output in zip(operation.outputs, work.node.outputs, strict=True):
                    if output in facts.shapes:
                        # under another name it moves a quantized value's bytes
                        moves = name != output
                        dtype = values[operation.inputs[0]].dtype if moves else facts.dtypes[output]
                        values[name] = ArraySpec(facts.shapes[output], dtype)
                continue
            first = values[operation.inputs[0]]
            if isinstance(work, View):
                values[operation.outputs[0]] = ArraySpec(work.shape, work.dtype or first.dtype)
            else:
                values[operation.outputs[0]] = self._fused_spec(work, operation, values)
        return values

    @staticmethod
    def _fused_spec(work: Spec, operation: Operation, values: Mapping[str, ArraySpec]) -> ArraySpec:
        shapes = [values[name].shape for name in operation.inputs]
        return ArraySpec(output_shape(work, shapes), output_dtype(work))
