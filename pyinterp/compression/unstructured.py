"""Set single weights or small blocks of them to zero, and repair what is left."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..errors import InputError
from ..model import Model, Node, Tensor
from .allocation import Target, removed_groups, shares_alone
from .brain_surgeon import Select
from .criteria import activation_shares, magnitudes, taylor
from .granularity import F64, Granularity, Mask
from .layers import is_layer
from .layerwise import LayerRepair, from_matrix, repair_layers
from .prune_options import Request
from .spool import Spool


def prune_weights(
    trained: Model, folded: Model, groups: Granularity, request: Request, images: Spool
) -> Model:
    """The folded model with zeros. trained: the same before BatchNorm was folded."""
    targets = _targets(folded, request.left_out, request.own)
    values = _values(trained, folded, targets, request, images)
    alone = shares_alone(targets, request.sparsity, request.scope)
    counts = removed_groups(targets, groups, values, alone, request.sparsity)
    masks = {
        t.name: groups.keep(values[t.name], groups.groups(t.shape, t.groups), counts[t.name])
        for t in targets
    }
    if request.repair == "none":
        return _masked(folded, targets, masks)
    return _repaired(folded, targets, groups, request, counts, masks, images)


def _targets(model: Model, left_out: set[str], own: Mapping[str, float]) -> list[Target]:
    """The weights to prune; not those that an ignored layer reads too."""
    found: dict[str, Node] = {}
    kept: set[str] = set()
    for node in model.nodes:
        if is_layer(model, node):
            found.setdefault(node.inputs[1], node)
            if node.label in left_out or (_is_depthwise(model, node) and node.label not in own):
                kept.add(node.inputs[1])
    if not found:
        raise InputError("expected a layer to prune (Conv, Gemm or MatMul), found none")
    targets = []
    for name, node in found.items():
        if name not in kept:
            shape = model.weights[name].shape
            shape = shape[::-1] if node.op_type == "MatMul" else shape
            targets.append(Target(name, node, shape, own.get(node.label)))
    return targets


def _is_depthwise(model: Model, node: Node) -> bool:
    inputs = model.weights[node.inputs[1]].shape[1]
    return node.op_type == "Conv" and inputs == 1 and node.attributes.get("group", 1) != 1


def _values(
    trained: Model,
    folded: Model,
    targets: list[Target],
    request: Request,
    images: Spool,
) -> dict[str, F64]:
    if request.criterion == "activation":
        return activation_shares(folded, targets, images)
    if request.criterion == "taylor":
        return taylor(folded, targets, images, request.known_labels())
    return magnitudes(trained, targets)


def _masked(model: Model, targets: list[Target], masks: Mapping[str, Mask]) -> Model:
    weights = dict(model.weights)
    for t in targets:
        old = weights[t.name].numpy()
        mask = from_matrix(t.node, masks[t.name].reshape(t.shape[0], -1), old.shape)
        weights[t.name] = Tensor(np.where(mask, old, old.dtype.type(0)))
    return model.replace(weights=weights)


def _repaired(
    model: Model,
    targets: list[Target],
    groups: Granularity,
    request: Request,
    counts: Mapping[str, int],
    masks: Mapping[str, Mask],
    images: Spool,
) -> Model:
    """All layers pruned, and repaired but for the ones left out."""
    repairs = {}
    pruned = {t.name: t for t in targets}
    for node in model.nodes:
        if not is_layer(model, node) or node.label in request.left_out:
            continue
        target = pruned.get(node.inputs[1])
        keep: Mask | Select | None = None
        if target is not None and request.criterion == "obs":
            keep = _selection(target, groups, counts[target.name])
        elif target is not None:
            keep = masks[target.name].reshape(target.shape[0], -1)
        repairs[node.label] = LayerRepair(keep, request.repair == "weights")
    return repair_layers(model, model, repairs, images)


def _selection(target: Target, groups: Granularity, count: int) -> Select:
    index = groups.groups(target.shape, target.groups)

    def select(worth: F64) -> Mask:
        return groups.keep(worth.reshape(target.shape), index, count).reshape(worth.shape)

    return select
