"""Functions of one quantized tensor: tables of 256 entries, in the epilogue of the layer before
where nothing else reads what that gives.

A function is an operator, a chain of them (a Hardswish or a Gelu written out), or a product with a
quantized function of the same tensor (a Silu: `x * Sigmoid(x)`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from . import ops
from .errors import ModelError
from .lower_layers import emit_layer, layer_before
from .lower_values import Operand, QuantizedValues, Target, ratio
from .lowered import Operation
from .model import Array, Node
from .ops import fused
from .ops.fused_spec import MulS8, Quantize, TableS8

Table = npt.NDArray[np.uint8]

UNARY = frozenset(
    (
        *("LeakyRelu", "Elu", "Selu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Softplus"),
        *("Erf", "Exp", "Sqrt", "Neg", "Abs", "Gelu", "Mish", "Swish"),
    )
)
# with constants of one element, or with the tensor itself
ARITHMETIC = frozenset(("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "PRelu"))
IN_CHAINS = UNARY | ARITHMETIC | {"Relu", "Clip"}


@dataclass(slots=True)
class _Chain:
    """Operators between one dequantized tensor and a value.

    last: the one that makes the value. reads: how often they read each value on the way.
    leaves: the names of the tensor's dequantized form, of which a graph may have several.
    """

    last: Node
    x: Operand | None = None
    reads: Counter[str] = field(default_factory=Counter)
    leaves: set[str] = field(default_factory=set)

    def closed(self, v: QuantizedValues) -> bool:
        """Whether nobody else reads the tensor."""
        assert self.x is not None
        uses = {**self.reads, self.x.source: len(self.leaves)}
        return all(v.graph.uses(name) == count for name, count in uses.items())


def function(v: QuantizedValues, target: Target, core: Node) -> list[Operation] | None:
    """An operator, or a chain of them, on one quantized tensor."""
    chain = _find_chain(v, core)
    if chain is None:
        return None
    return _emit(v, target, core, chain, _table(v, target, chain))


def gated(v: QuantizedValues, target: Target, core: Node) -> list[Operation] | None:
    """The product of a tensor and a quantized function of it, by the rule of products."""
    for own, other in (core.inputs, core.inputs[::-1]):
        x, gate = v.operand(own), v.operand(other)
        quantizer = None if gate is None else v.graph.producer(gate.source)
        if x is None or gate is None or quantizer is None:
            continue
        inner = v.target(quantizer) if quantizer.op_type == "QuantizeLinear" else None
        chain = None if inner is None or inner.core is None else _find_chain(v, inner.core)
        if inner is None or chain is None or chain.x is None or chain.x.name != x.name:
            continue
        factor = ratio(x.scale * gate.scale, target.parameters.scale, core.label)
        spec = MulS8(x.zero_point, gate.zero_point, factor, v.range(target))
        steps = np.arange(256, dtype=np.uint8)
        product = fused.mul_s8(spec, steps, _table(v, inner, chain))
        chain.reads.update((own, other, gate.source))
        chain.leaves.add(own)
        return _emit(v, target, core, chain, product)
    return None


def _emit(
    v: QuantizedValues, target: Target, core: Node, chain: _Chain, table: Table
) -> list[Operation]:
    x = chain.x
    assert x is not None  # or there would be no chain
    found = layer_before(v, x) if chain.closed(v) else None
    if found is not None:
        return emit_layer(v, found[0], replace(found[1], table=table), target)
    return [Operation(core.label, TableS8(table), (x.name,), (v.stored(target),))]


def _find_chain(v: QuantizedValues, last: Node) -> _Chain | None:
    """None where `last` depends on anything but one quantized tensor and constants."""
    chain = _Chain(last)
    pending, shapes = [last], v.graph.facts.shapes
    while pending:
        node = pending.pop()
        if node.op_type not in IN_CHAINS:
            return None
        for name in filter(None, node.inputs):
            constant = v.graph.constant(name)
            if constant is not None:
                if constant.size != 1:
                    return None
                continue
            first_read = name not in chain.reads
            chain.reads[name] += 1
            producer, x = v.graph.producer(name), v.operand(name)
            if shapes.get(name) != shapes[last.outputs[0]] or producer is None:
                return None
            if x is None and first_read:
                pending.append(producer)
            elif x is not None:
                if chain.x is not None and chain.x.name != x.name:
                    return None
                chain.x = x
                chain.leaves.add(name)
    return chain if chain.x is not None else None


def _table(v: QuantizedValues, target: Target, chain: _Chain) -> Table:
    """The function at all 256 steps of x: the one that the model keeps, or a new one."""
    table = v.graph.model.tables.get(target.name)
    if table is None:
        table = _compute(v, target, chain)
    output = v.range(target)
    if table.min() < output.lo or table.max() > output.hi:
        raise ModelError(f"the table of {target.name!r} leaves the range of its quantizer")
    v.tables[target.name] = table
    return table


def _compute(v: QuantizedValues, target: Target, chain: _Chain) -> Table:
    """In float64, quantized as the target."""
    x = chain.x
    assert x is not None
    steps = ((np.arange(256) - x.zero_point).astype(np.float32) * np.float32(x.scale)).astype(float)
    known: dict[str, Array] = dict.fromkeys(chain.leaves, steps)

    def value(name: str) -> Array | None:
        constant = v.graph.constant(name) if name else None
        if not name or constant is not None:
            return None if constant is None else constant.reshape(()).astype(np.float64)
        if name not in known:
            node = v.graph.producer(name)
            assert node is not None  # _find_chain has been here
            known[name] = run(node)
        return known[name]

    def run(node: Node) -> Array:
        result = ops.run(node, [value(n) for n in node.inputs], v.graph.model.opset)[0]
        return np.asarray(result, np.float64)

    with np.errstate(all="ignore"):  # entries that no input reaches may overflow
        real = run(chain.last)
    quantize = Quantize(target.parameters.scale, v.range(target))
    return fused.quantize(quantize, real.astype(np.float32))
