"""Take whole residual blocks out of a network, and make it shallower.

A block is what an Add puts on top of a value that passes it by: `x + f(x)` becomes `x`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from ..errors import InputError
from ..fold import simplify
from ..model import Model, Node
from .granularity import smallest
from .layers import is_layer
from .layerwise import LayerRepair, repair_layers
from .prune_options import Request
from .spool import Spool
from .submodel import Runner


def prune_blocks(folded: Model, request: Request, images: Spool) -> Model:
    """The folded model without the blocks that are worth least, the rest repaired as asked."""
    found = find_blocks(folded, request.left_out)
    worth = block_worth(folded, found, request.criterion, images)
    pruned = remove_blocks(folded, found, worth, request.sparsity)
    if request.repair != "none":
        repairs = {
            node.label: LayerRepair(fit=request.repair == "weights")
            for node in pruned.nodes
            if is_layer(pruned, node) and node.label not in request.left_out
        }
        pruned = repair_layers(folded, pruned, repairs, images)
    return simplify(pruned)


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """add: the node that ends the block. passing: the value that stays. branch: the other operand.
    nodes: of the branch.
    """

    add: Node
    passing: str
    branch: str
    nodes: tuple[Node, ...]


def find_blocks(model: Model, left_out: set[str]) -> list[Block]:
    """The residual blocks that can go, in the order of the graph.

    Those with a layer that is left out stay, and those whose inner values something else reads.
    """
    outputs = {info.name for info in model.outputs}
    found = []
    for node in model.nodes:
        if node.op_type != "Add" or node.domain or node.outputs[0] in outputs:
            continue
        for passing, branch in (node.inputs, node.inputs[::-1]):
            nodes = _branch(model, passing, branch, node)
            if (
                nodes
                and any(is_layer(model, inner) for inner in nodes)
                and not any(inner.label in left_out for inner in nodes)
            ):
                found.append(Block(node, passing, branch, nodes))
                break
    return found


def _branch(model: Model, passing: str, branch: str, add: Node) -> tuple[Node, ...]:
    """The nodes that compute `branch` from `passing` and constants alone; none where others do."""
    producers, readers = model.producers(), model.consumers()
    outputs = {info.name for info in model.outputs}
    if passing in model.weights:
        return ()
    inside: dict[int, Node] = {}
    waiting, met = [branch], False
    while waiting:
        name = waiting.pop()
        if name == passing:
            met = True
            continue
        if not name or name in model.weights:
            continue
        node = producers.get(name)
        if node is None or name in outputs:
            return ()
        if id(node) not in inside:
            inside[id(node)] = node
            waiting.extend(node.inputs)
    own = {*inside, id(add)}
    for node in inside.values():
        for name in filter(None, node.outputs):
            if any(id(reader) not in own for reader in readers.get(name, [])):
                return ()
    return tuple(node for node in model.nodes if id(node) in inside) if met else ()


def block_worth(model: Model, found: Iterable[Block], criterion: str, images: Spool) -> list[float]:
    """What each block is worth: "magnitude", the root mean square of its weights; otherwise the
    share of what it adds in what comes out, E|f(x)|^2 / E|x + f(x)|^2.
    """
    listed = list(found)
    if criterion == "magnitude":
        return [_root_mean_square(model, block) for block in listed]
    names = [name for b in listed for name in (b.branch, b.add.outputs[0])]
    runner = Runner(model, (info.name for info in model.inputs), names)
    energies = dict.fromkeys(names, 0.0)
    for feeds in images:
        for name, array in runner.run(feeds).items():
            energies[name] += float(np.square(array, dtype=np.float64).sum())
    return [
        energies[b.branch] / max(energies[b.add.outputs[0]], np.finfo(np.float64).tiny)
        for b in listed
    ]


def _root_mean_square(model: Model, block: Block) -> float:
    arrays = [model.weights[n.inputs[1]].numpy() for n in block.nodes if is_layer(model, n)]
    total = sum(float(np.square(array, dtype=np.float64).sum()) for array in arrays)
    return float(np.sqrt(total / sum(array.size for array in arrays)))


def remove_blocks(model: Model, found: list[Block], worth: list[float], sparsity: float) -> Model:
    """The model without `round(sparsity * blocks)` of its blocks, those of the least worth.

    Values behind a block keep their names. Raises InputError where there are no blocks.
    """
    if not found:
        raise InputError("granularity 'block': expected residual blocks x + f(x), found none")
    gone = [found[i] for i in smallest(np.array(worth), round(sparsity * len(found))).tolist()]
    ends = {id(block.add): block for block in gone}
    inner = {id(node) for block in gone for node in block.nodes}
    nodes = []
    for node in model.nodes:
        if id(node) in inner:
            continue
        block = ends.get(id(node))
        if block is not None:
            node = replace(node, op_type="Identity", inputs=(block.passing,), attributes={})
        nodes.append(node)
    read = {name for node in nodes for name in node.inputs}
    read |= {info.name for info in model.outputs}
    kept = {name: tensor for name, tensor in model.weights.items() if name in read}
    return model.replace(nodes=tuple(nodes), weights=kept)
