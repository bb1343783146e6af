"""Magnitude pruning: the smallest weights become zero (Han et al., 2015, arXiv:1506.02626).

Compared over the whole network ("global") or within each layer ("layer"). Nothing is retrained.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..errors import InputError
from ..fold import simplify
from ..model import Array, Model, Tensor
from .calibrate import Feeds
from .layers import (
    LayerSettings,
    is_layer,
    layer_settings,
    matching,
    pattern_list,
    recorded,
    refuse_quantized,
    stored,
)

GRANULARITIES = ("element",)
CRITERIA = ("magnitude",)
SCOPES = ("global", "layer")


def prune(
    model: Model,
    sparsity: float = 0.9,
    granularity: str = "element",
    criterion: str = "magnitude",
    scope: str = "global",
    calibration: Iterable[Feeds] | None = None,
    labels: Array | None = None,
    ignored: Iterable[str] = (),
    layers: LayerSettings | None = None,
) -> Model:
    """A new model with zeros in the weights of its Conv, Gemm and MatMul layers.

    sparsity: fraction of zeros, 0 to 1, of all pruned weights together (scope "global") or of each
    layer (scope "layer"); `round(sparsity * weights)` of them exactly, more only where more were
    zero before. Of equal magnitudes the one that comes first goes first. BatchNorm is folded, but
    the magnitudes are those of the weights it was trained with: its factors differ by orders of
    magnitude between layers, and what they make of the weights cannot be compared. calibration and
    labels are for criteria that look at data; magnitude takes none.
    ignored: regular expressions of node names (whole names) whose weights stay. layers: per-layer
    settings `{expression: {"sparsity": ..., "ignored": ...}}`; a layer with a sparsity of its own
    does not count for the global one.
    Weights are stored sparse where that is smaller. Prune before quantizing.
    Raises InputError for arguments that do not fit, ModelError for a quantized model.
    """
    for name, value, known in (
        ("granularity", granularity, GRANULARITIES),
        ("criterion", criterion, CRITERIA),
        ("scope", scope, SCOPES),
    ):
        if value not in known:
            raise InputError(f"{name}: expected one of {', '.join(known)}, got {value!r}")
    if calibration is not None or labels is not None:
        raise InputError(f"calibration, labels: criterion {criterion!r} takes none")
    _check_sparsity(sparsity, "sparsity")
    refuse_quantized(model, "prune the float model, then quantize it")
    patterns = pattern_list(ignored, "ignored")
    trained = simplify(model, batch_norm=False)
    folded = simplify(trained)  # layers keep their names
    settings = layer_settings(folded, layers, ("sparsity",))
    left_out = matching(folded, patterns, "ignored")
    left_out |= {label for label, given in settings.items() if given.get("ignored")}
    own = {label: given["sparsity"] for label, given in settings.items() if "sparsity" in given}
    for label, value in own.items():
        _check_sparsity(value, f"layers, {label!r}: sparsity")

    names = _prunable(trained, left_out)
    alone = {name: own[label] for name, label in names.items() if label in own}
    if scope == "layer":
        alone = {name: sparsity for name in names} | alone
    weights = dict(trained.weights)
    groups = [([name], share) for name, share in alone.items()]
    groups.append(([name for name in names if name not in alone], sparsity))
    for members, share in groups:
        weights |= _pruned({name: weights[name].numpy() for name in members}, share)
    pruned = _stored_sparse(simplify(trained.replace(weights=weights)))
    arguments: dict[str, Any] = {
        "sparsity": sparsity,
        "granularity": granularity,
        "criterion": criterion,
        "scope": scope,
        **({"ignored": patterns} if patterns else {}),
        **({"layers": {key: dict(value) for key, value in layers.items()}} if layers else {}),
    }
    return recorded(pruned, model, "prune", arguments)


def _check_sparsity(value: object, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise InputError(f"{where}: expected a number from 0 to 1, got {value!r}")


def _prunable(model: Model, left_out: set[str]) -> dict[str, str]:
    """Name of a weight -> label of the first layer that reads it; weights of ignored ones not."""
    found: dict[str, str] = {}
    kept = set()
    for node in model.nodes:
        if is_layer(model, node):
            found.setdefault(node.inputs[1], node.label)
            if node.label in left_out:
                kept.add(node.inputs[1])
    if not found:
        raise InputError("expected a layer to prune (Conv, Gemm or MatMul), found none")
    return {name: label for name, label in found.items() if name not in kept}


def _pruned(group: dict[str, Array], sparsity: float) -> dict[str, Tensor]:
    """The weights of a group with its smallest magnitudes set to zero."""
    if not group:
        return {}
    magnitudes = np.concatenate([np.abs(array).reshape(-1) for array in group.values()])
    keep = np.ones(magnitudes.size, bool)
    keep[_smallest(magnitudes, round(sparsity * magnitudes.size))] = False
    result, start = {}, 0
    for name, array in group.items():
        mask = keep[start : start + array.size].reshape(array.shape)
        result[name] = Tensor(np.where(mask, array, array.dtype.type(0)))
        start += array.size
    return result


def _stored_sparse(model: Model) -> Model:
    names = {node.inputs[1] for node in model.nodes if is_layer(model, node)}
    sparse = {name: stored(model.weights[name].numpy()) for name in names}
    return model.replace(weights={**model.weights, **sparse})


def _smallest(magnitudes: Array, count: int) -> Array:
    """Positions of exactly `count` smallest values; of equal ones the first positions."""
    if count == 0:
        return np.zeros(0, np.int64)
    threshold = np.partition(magnitudes, count - 1)[count - 1]
    below = np.flatnonzero(magnitudes < threshold)
    equal = np.flatnonzero(magnitudes == threshold)
    return np.concatenate([below, equal[: count - below.size]])
