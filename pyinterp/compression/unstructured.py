"""Set single weights or small blocks of them to zero, and repair what is left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..errors import InputError
from ..model import Model, Node, Tensor
from .allocation import Target, least_loss, removed_groups, shares_alone, trial_sparsities
from .brain_surgeon import Select
from .criteria import activation_shares, magnitudes, taylor
from .granularity import F64, Granularity, Mask
from .importance import row_importance
from .layers import is_layer
from .layerwise import LayerRepair, from_matrix, repair_layers
from .mirrored import with_mirrored
from .prune_options import Request
from .sensitivity import divergences
from .spool import Spool


def prune_weights(
    trained: Model, folded: Model, groups: Granularity, request: Request, images: Spool
) -> Model:
    """The folded model with zeros. trained: the same before BatchNorm was folded."""
    targets = _targets(folded, request.left_out, request.own)
    values = _values(trained, folded, targets, request, images)
    alone = shares_alone(targets, request.sparsity, request.scope)
    counts = removed_groups(targets, groups, values, alone, request.sparsity)
    if request.scope == "loss":
        shared = [t for t in targets if t.name not in alone]
        counts |= _least_loss(folded, shared, groups, request, values, images)
    repairs = _repairs(targets, groups, request, values, counts)
    if request.criterion == "obs":
        for label, worth in row_importance(folded, [t.node for t in targets], images).items():
            repairs[label] = replace(repairs[label], worth=worth)
    if request.repair == "none":
        return _masked(folded, targets, repairs)
    for node in folded.nodes:
        if is_layer(folded, node) and node.label not in request.left_out:
            repairs.setdefault(node.label, LayerRepair(fit=request.repair == "weights"))
    if not request.mirrored:
        return repair_layers(folded, folded, repairs, images)
    with with_mirrored(images) as more:
        return repair_layers(folded, folded, repairs, more)


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
    if request.criterion in ("activation", "obs"):
        return activation_shares(folded, targets, images)
    if request.criterion == "taylor":
        return taylor(folded, targets, images, request.known_labels())
    return magnitudes(trained, targets)


def _least_loss(
    model: Model,
    targets: list[Target],
    groups: Granularity,
    request: Request,
    values: Mapping[str, F64],
    images: Spool,
) -> dict[str, int]:
    """Groups that each layer loses, by what its loss alone does to the network's answers.

    Here the rows of a layer count alike: what they are worth is found on all images, and those that
    losses are measured on must have no part in the choice.
    """
    sizes = {t.name: int(groups.groups(t.shape, t.groups).max()) + 1 for t in targets}
    shares = trial_sparsities(request.sparsity)
    removed = {name: [round(share * size) for share in shares] for name, size in sizes.items()}
    trials: dict[str, list[LayerRepair]] = {t.node.label: [] for t in targets}
    for at in range(len(shares)):
        counts = {name: listed[at] for name, listed in removed.items()}
        for label, repair in _repairs(targets, groups, request, values, counts).items():
            trials[label].append(repair)
    measured = divergences(model, trials, images)
    losses = {t.name: measured[t.node.label] for t in targets}
    return least_loss(sizes, removed, losses, round(request.sparsity * sum(sizes.values())))


def _repairs(
    targets: list[Target],
    groups: Granularity,
    request: Request,
    values: Mapping[str, F64],
    counts: Mapping[str, int],
) -> dict[str, LayerRepair]:
    """What is done to each pruned layer, by label."""
    repairs = {}
    for t in targets:
        keep: Mask | Select
        if request.criterion == "obs":
            keep = _selection(t, groups, counts[t.name])
        else:
            mask = groups.keep(values[t.name], groups.groups(t.shape, t.groups), counts[t.name])
            keep = mask.reshape(t.shape[0], -1)
        repairs[t.node.label] = LayerRepair(keep, request.repair == "weights")
    return repairs


def _masked(model: Model, targets: list[Target], repairs: Mapping[str, LayerRepair]) -> Model:
    weights = dict(model.weights)
    for t in targets:
        keep = repairs[t.node.label].keep
        assert isinstance(keep, np.ndarray)
        old = weights[t.name].numpy()
        mask = from_matrix(t.node, keep, old.shape)
        weights[t.name] = Tensor(np.where(mask, old, old.dtype.type(0)))
    return model.replace(weights=weights)


def _selection(target: Target, groups: Granularity, count: int) -> Select:
    index = groups.groups(target.shape, target.groups)

    def select(worth: F64) -> Mask:
        return groups.keep(worth.reshape(target.shape), index, count).reshape(worth.shape)

    return select
