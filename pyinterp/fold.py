"""Rewrites that leave a model's meaning alone and its graph smaller; compression and lowering
start from `simplify`.

Each takes a `Model` and returns a new one, or the very same object where there is nothing to do.
"""

from __future__ import annotations

import numpy as np

from .fold_channels import channels_first
from .fold_linear import fold_batch_norm, normalize_gemm
from .fold_transposed import convolve_transposed
from .interpreter import run_graph
from .model import Model, Node, Tensor
from .ops.registry import TABLE

# DequantizeLinear is never computed ahead: of a weight it would undo the compression.
_FOLDABLE = TABLE.keys() - {"DequantizeLinear"}
_NO_OPS = frozenset(("Dropout", "Identity"))


def simplify(model: Model, batch_norm: bool = True) -> Model:
    """Fold constants, BatchNorm and no-ops, bring Gemm, ConvTranspose and what keeps channels
    last to one form; repeated until nothing changes.

    batch_norm: False leaves BatchNorm, and other factors and offsets, out of the weights.
    Floats change by rounding only: products of folded layers are formed in float64.
    """
    while True:
        before = model
        model = fold_constants(remove_no_ops(remove_dead_code(model)))
        model = channels_first(convolve_transposed(normalize_gemm(model)))
        if batch_norm:
            model = fold_batch_norm(model)
        if model is before:
            return model


def remove_dead_code(model: Model) -> Model:
    """Drop nodes and weights that no output depends on."""
    needed = {info.name for info in model.outputs}
    nodes = []
    for node in reversed(model.nodes):
        if not needed.isdisjoint(node.outputs):
            nodes.append(node)
            needed.update(node.inputs)
            needed.discard("")  # absent inputs, as absent outputs
    weights = {name: tensor for name, tensor in model.weights.items() if name in needed}
    if len(nodes) == len(model.nodes) and len(weights) == len(model.weights):
        return model
    return model.replace(nodes=tuple(reversed(nodes)), weights=weights)


def _is_no_op(model: Model, node: Node) -> bool:
    if node.op_type not in _NO_OPS or node.domain or any(node.outputs[1:]):
        return False
    if node.op_type == "Dropout":
        training = node.inputs[2] if len(node.inputs) > 2 else ""
        return not training or (
            training in model.weights and not model.weights[training].numpy().any()
        )
    return True


def remove_no_ops(model: Model) -> Model:
    """Drop Identity, and Dropout outside training mode.

    A no-op between a graph input (or a weight) and a graph output stays: both names are fixed.
    """
    if not model.has(_NO_OPS) or not any(_is_no_op(model, node) for node in model.nodes):
        return model
    produced = model.producers()
    outputs = {info.name for info in model.outputs}
    renamed: dict[str, str] = {}  # value -> the value that takes its place

    def current(name: str) -> str:
        while name in renamed:
            name = renamed[name]
        return name

    kept = []
    for node in model.nodes:
        if not _is_no_op(model, node):
            kept.append(node)
            continue
        source, result = current(node.inputs[0]), node.outputs[0]
        if result not in outputs:
            renamed[result] = source
        elif source in produced and source not in outputs:
            renamed[source] = result
        else:
            kept.append(node)
    if len(kept) == len(model.nodes):
        return model
    return model.replace(
        nodes=tuple(
            Node(
                n.op_type,
                tuple(map(current, n.inputs)),
                tuple(map(current, n.outputs)),
                n.attributes,
                n.name,
                n.domain,
            )
            for n in kept
        )
    )


def _is_random(model: Model, node: Node) -> bool:
    return node.op_type == "Dropout" and not _is_no_op(model, node)


def fold_constants(model: Model) -> Model:
    """Compute what depends on weights alone, and `Shape` of inputs whose shape is fixed.

    Dequantized weights stay as they are, and so does what reads them.
    Raises ModelError, naming the node, where a constant sub-graph is invalid.
    """
    model = _fold_shapes(model)
    constant = set(model.weights)
    folded = []
    for node in model.nodes:
        if (
            node.op_type in _FOLDABLE
            and not node.domain
            and constant.issuperset(filter(None, node.inputs))
            and not _is_random(model, node)
        ):
            folded.append(node)
            constant.update(filter(None, node.outputs))
    if not folded:
        return model
    rest = tuple(node for node in model.nodes if node not in folded)
    read = {name for node in rest for name in node.inputs} | {info.name for info in model.outputs}
    wanted = [name for node in folded for name in node.outputs if name and name in read]
    values = run_graph(model.replace(nodes=tuple(folded), inputs=(), outputs=()), {}, wanted)
    weights = dict(model.weights) | {name: Tensor(np.array(a)) for name, a in values.items()}
    return remove_dead_code(model.replace(nodes=rest, weights=weights))


def _fold_shapes(model: Model) -> Model:
    if not model.has({"Shape"}):
        return model
    known = {
        info.name: info.shape
        for info in model.inputs
        if info.shape is not None and all(isinstance(d, int) for d in info.shape)
    }
    folded: dict[str, Tensor] = {}
    for node in model.nodes:
        if node.op_type == "Shape" and not node.domain and node.inputs[0] in known:
            start, end = node.attributes.get("start", 0), node.attributes.get("end")
            if isinstance(start, int) and isinstance(end, int | None):
                shape = known[node.inputs[0]][start:end]
                folded[node.outputs[0]] = Tensor(np.array(shape, np.int64))
    if not folded:
        return model
    return model.replace(
        nodes=tuple(n for n in model.nodes if not folded.keys() & set(n.outputs)),
        weights={**model.weights, **folded},
    )
