"""Take whole channels out of a network, whatever ties them together, and make it narrower.

Channels are chosen class by class of tied ones (see `channels`), the rest is compensated for their
loss while they are still there as zeros, and then every constant is cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..errors import InputError, ModelError
from ..model import Model, Node, Tensor
from ..shapes import infer
from ..summary import default_shapes
from .allocation import Target
from .channels import Channels, Ids
from .criteria import activation_shares, taylor
from .granularity import F64, Mask, smallest
from .layers import is_layer
from .layerwise import LayerRepair, as_matrix, repair_layers
from .prune_options import Request
from .spool import Spool


def prune_channels(trained: Model, folded: Model, request: Request, images: Spool) -> Model:
    """The folded model without channels. trained: the same before BatchNorm was folded.

    Raises InputError where no channel can go.
    """
    channels = find_channels(folded, request.left_out)
    found = spaces(channels)
    if not found:
        raise InputError("granularity 'channel': expected channels that can go, found none")
    worth = channel_worth(folded, trained, channels, request, images)
    gone = choose_channels(found, worth, request.sparsity, request.scope, request.own)
    pruned = folded
    if request.repair != "none":
        masks = channel_masks(folded, channels, gone)
        repairs = {
            node.label: LayerRepair(masks.get(node.label), request.repair == "weights")
            for node in folded.nodes
            if is_layer(folded, node) and node.label not in request.left_out
        }
        pruned = repair_layers(folded, folded, repairs, images)
    return remove_channels(pruned, channels, gone)


def find_channels(model: Model, left_out: set[str]) -> Channels:
    """The channels of a folded model; those that layers left out make or read are fixed.

    Raises InputError where the shapes cannot be followed.
    """
    try:
        facts = infer(model, default_shapes(model))
    except (InputError, ModelError) as error:
        raise InputError(
            f"granularity 'channel': the shapes of the model cannot be followed: {error}"
        ) from error
    channels = Channels(model, facts)
    for cut in channels.cuts:
        if cut.node.label in left_out:
            channels.fix(cut.ids)
    return channels


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """Classes of tied channels that the same layers make. roots: of the classes. labels: layers."""

    labels: frozenset[str]
    roots: Ids


def spaces(channels: Channels) -> list[Space]:
    """The free classes of channels, in the order of the graph."""
    free = channels.free()
    makers: dict[int, set[str]] = {}
    for cut in channels.cuts:
        if cut.role == "made":
            for root in channels.roots(cut.ids).tolist():
                if root in free:
                    makers.setdefault(root, set()).add(cut.node.label)
    grouped: dict[frozenset[str], list[int]] = {}
    for root, labels in makers.items():
        grouped.setdefault(frozenset(labels), []).append(root)
    return [Space(labels, np.array(roots, np.int64)) for labels, roots in grouped.items()]


def channel_worth(
    model: Model,
    trained: Model,
    channels: Channels,
    request: Request,
    images: Spool,
) -> dict[int, float]:
    """What each class of channels is worth, by root; comparable between layers.

    "magnitude" (L2) and "l1": norms of the filters that make it, in units of the layer's mean (Li
    et al., 2016, arXiv:1608.08710). "batch_norm": |scale| of the BatchNorm behind them (Liu et al.,
    2017, arXiv:1708.06519). "activation" and "obs": its share of what the layers that read it
    compute. "taylor": (sum w dL/dw)^2 over its filters.
    """
    criterion = request.criterion
    if criterion in ("activation", "obs"):
        return _worth_to_readers(model, channels, images)
    layers = {node.label: node for node in model.nodes if is_layer(model, node)}
    worth: dict[int, float] = {}
    gradients: Mapping[str, F64] = {}
    if criterion == "taylor":
        made = [cut.node for cut in channels.cuts if cut.role == "made"]
        gradients = taylor(model, _targets(model, made), images, request.known_labels(), rows=True)
    free = channels.free()
    for cut in channels.cuts:
        if cut.role != "made" or cut.node.label not in layers:
            continue
        if free.isdisjoint(channels.roots(cut.ids).tolist()):
            continue
        if criterion == "taylor":
            rows = gradients[cut.name]
        elif criterion == "batch_norm":
            rows = _scales(trained, cut.node.label)
        else:
            matrix = as_matrix(cut.node, model.weights[cut.name].numpy()).astype(np.float64)
            rows = np.abs(matrix).sum(axis=1) if criterion == "l1" else (matrix**2).sum(axis=1)
        if criterion in ("magnitude", "l1"):
            mean = float(rows.mean())
            rows = rows / (mean if mean > 0 else 1.0)
        for root, value in zip(channels.roots(cut.ids).tolist(), rows.tolist(), strict=True):
            worth[root] = worth.get(root, 0.0) + value
    return worth


def _targets(model: Model, nodes: Iterable[Node]) -> list[Target]:
    found = {node.inputs[1]: Target(node.inputs[1], node, ()) for node in nodes}
    return [replace(t, shape=model.weights[name].shape) for name, t in found.items()]


def _scales(trained: Model, label: str) -> F64:
    """|scale| of the BatchNorm behind a layer."""
    layer = next(node for node in trained.nodes if node.label == label)
    for node in trained.consumers().get(layer.outputs[0], []):
        if node.op_type == "BatchNormalization" and node.inputs[1] in trained.weights:
            return np.abs(trained.weights[node.inputs[1]].numpy().astype(np.float64))
    raise InputError(f"criterion 'batch_norm': there is no BatchNorm behind {label!r}")


def _worth_to_readers(model: Model, channels: Channels, images: Spool) -> dict[int, float]:
    reading = [cut for cut in channels.cuts if cut.role == "read"]
    shares = activation_shares(model, _targets(model, (cut.node for cut in reading)), images)
    worth: dict[int, float] = {}
    for cut in reading:
        columns = shares[cut.name].sum(axis=(0, *range(2, shares[cut.name].ndim)))
        for root, value in zip(channels.roots(cut.ids).tolist(), columns.tolist(), strict=True):
            worth[root] = worth.get(root, 0.0) + value
    return worth


def choose_channels(
    found: list[Space],
    worth: Mapping[int, float],
    sparsity: float,
    scope: str,
    own: Mapping[str, float],
) -> set[int]:
    """Roots of the channels that go; at least one of each space stays.

    own: sparsities of single layers, by label, for the spaces that they make.
    """
    gone: set[int] = set()
    together: list[Space] = []
    for space in found:
        given = [own[label] for label in sorted(space.labels) if label in own]
        if scope == "layer" or given:
            values = np.array([worth.get(root, 0.0) for root in space.roots.tolist()])
            count = min(round((given or [sparsity])[0] * len(values)), len(values) - 1)
            gone.update(space.roots[smallest(values, count)].tolist())
        else:
            together.append(space)
    if together:
        roots = np.concatenate([space.roots for space in together])
        values = np.array([worth.get(root, 0.0) for root in roots.tolist()])
        # The best channel of each space is not among those that may go.
        best = [max(space.roots.tolist(), key=lambda r: worth.get(r, 0.0)) for space in together]
        values[np.isin(roots, best)] = np.inf
        count = min(round(sparsity * len(roots)), len(roots) - len(together))
        gone.update(roots[smallest(values, count)].tolist())
    return gone


def channel_masks(model: Model, channels: Channels, gone: set[int]) -> dict[str, Mask]:
    """Label of a layer -> mask [O, K] of the weights that no removed channel has a part in."""
    layers = {node.inputs[1]: node for node in model.nodes if is_layer(model, node)}
    masks: dict[str, Mask] = {}
    for cut in channels.cuts:
        node = layers.get(cut.name)
        if node is None:
            continue
        shape = model.weights[cut.name].shape
        stays = _stays(channels, cut.ids, gone)
        along = stays.reshape([-1 if axis == cut.axis else 1 for axis in range(len(shape))])
        mask = as_matrix(node, np.broadcast_to(along, shape))
        masks[node.label] = masks.get(node.label, True) & mask
    return masks


def _stays(channels: Channels, ids: Ids, gone: set[int]) -> Mask:
    return np.array([root not in gone for root in channels.roots(ids).tolist()], bool)


def remove_channels(model: Model, channels: Channels, gone: set[int]) -> Model:
    """The model without these channels: every constant that has them is cut.

    model: with the nodes and constants that `channels` was made for; layers may have got biases.
    """
    weights = dict(model.weights)
    done: set[tuple[str, int]] = set()
    rows: dict[str, Mask] = {}  # first output of a layer -> which of its channels stay
    for cut in channels.cuts:
        stays = _stays(channels, cut.ids, gone)
        if cut.role == "made" or (cut.node.op_type == "Conv" and cut.axis == 0):
            rows[cut.node.label] = stays
        if (cut.name, cut.axis) not in done:
            done.add((cut.name, cut.axis))
            cutting = np.compress(stays, weights[cut.name].numpy(), axis=cut.axis)
            weights[cut.name] = Tensor(np.ascontiguousarray(cutting))
    nodes = []
    for node in model.nodes:
        stays_of = rows.get(node.label)
        if stays_of is not None:
            bias = node.inputs[2] if len(node.inputs) > 2 else ""
            if bias and (bias, 0) not in done:
                done.add((bias, 0))
                weights[bias] = Tensor(weights[bias].numpy()[stays_of])
            if node.attributes.get("group", 1) != 1:
                count = int(stays_of.sum())
                node = replace(node, attributes={**node.attributes, "group": count})
        nodes.append(node)
    return model.replace(nodes=tuple(nodes), weights=weights)
