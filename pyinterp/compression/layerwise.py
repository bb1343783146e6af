"""Repair a pruned model layer by layer, each layer for what those before it now deliver.

Layers are taken in the order of the graph. Each reads what the pruned layers before it deliver and
is to give what the original one gives on the original input: `min E |W x - V z|^2` over the V with
enough zeros (asymmetric reconstruction, as in AdaRound: Nagel et al., 2020, arXiv:2004.10568,
section 3.3; pruning itself in `brain_surgeon`). A layer that a residual is added to makes up for
the residual's errors as well. The bias gives every channel its mean back, which is what BatchNorm's
statistics would do if they were estimated anew. What passes from stage to stage waits on disk, so
that memory does not grow with the number of images.

Where a Relu or Clip follows, outputs that it clamps anyway may be anything beyond the bound
(non-linear reconstruction: Zhang et al., 2015, arXiv:1411.4229), see `_refitted`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..model import Array, Model, Node, Tensor
from .brain_surgeon import F64, Mask, Select, best_values, prune_matrix
from .layers import with_bias
from .moments import Moments
from .observed import Observed, passed_on
from .rounding import fit
from .spool import Spool
from .submodel import stages

# The pull towards the old weights is that of so many images, so that few images do not fit the
# weights to themselves. With 60 images of EfficientNet-Lite0's calibration set, this one gives the
# smallest divergence on its other 40, of 6, 18, 60 and 180; of 18, 60 and 300 where the pruned
# network is rounded.
PRIOR_IMAGES = 60
CLAMP_TURNS = 4  # more fit a hundred images to themselves


@dataclass(frozen=True, slots=True, eq=False)
class LayerRepair:
    """What is done to a layer. Weights are matrices [O, K] here, a row an output channel.

    keep: mask of the weights that stay; or how to choose them (see `prune_matrix`); None for those
    that are not zero. fit: give the weights that stay their best values, not only the bias. worth:
    [O], what an error of each output channel costs, for the choice; None: all the same.
    """

    keep: Mask | Select | None = None
    fit: bool = True
    worth: F64 | None = None


def repair_layers(
    original: Model,
    pruned: Model,
    repairs: Mapping[str, LayerRepair],
    images: Spool,
    on_layer: Callable[[str], None] | None = None,
) -> Model:
    """The pruned model with the named layers pruned and repaired; where it can, one gets a bias.

    original: float, BatchNorm folded. pruned: the same, or what is left of it: values that pass
    from block to block and what the named layers read have the same names and shapes in both, and
    those layers are not pruned yet. repairs: by label of a layer. images: feeds of the model.
    on_layer: called with the label of each layer that is done.
    Raises InputError where a calibration image gives NaN or infinity, or layers share constants.
    """
    _refuse_shared(pruned, repairs)
    original, pruned = (with_bias(model, repairs.keys()) for model in (original, pruned))
    found = stages(original, repairs.keys())
    with ExitStack() as opened:
        old, new = images, images
        for number, stage in enumerate(found):
            for node in stage.nodes:
                if node.label in repairs:
                    repair = repairs[node.label]
                    with Spool() as kept:
                        observed = Observed(original, pruned, stage, node, old, new, kept=kept)
                        moments = observed.moments(repair.fit)
                        pruned = repaired_layer(
                            pruned, node, repair, moments, prior_of(observed), observed
                        )
                    if on_layer is not None:
                        on_layer(node.label)
            if number + 1 < len(found):
                starts = {name: name for name in found[number + 1].starts}
                old, new = (
                    opened.enter_context(passed_on(changed, stage, starts, spool))
                    for changed, spool in ((original, old), (pruned, new))
                )
    return pruned


def _refuse_shared(model: Model, repairs: Mapping[str, LayerRepair]) -> None:
    readers = model.consumers()
    for node in model.nodes:
        for name in node.inputs[1:] if node.label in repairs else ():
            if name and len(readers[name]) > 1:
                raise InputError(
                    f"repair: {node.label!r} shares {name!r} with another node: ignore both, or use"
                    " repair 'none'"
                )


def prior_of(observed: Observed) -> float:
    """The damping of a layer's fit, in units of the mean diagonal of its Hessian."""
    return PRIOR_IMAGES / observed.images


def repaired_layer(
    model: Model,
    node: Node,
    repair: LayerRepair,
    moments: Moments,
    damping: float,
    observed: Observed | None = None,
) -> Model:
    """The model with a layer pruned and repaired that is not pruned yet.

    moments, observed: of the layer; the latter where it is to count what a clamp behind it does.
    damping: see `prior_of`.
    """
    stored = model.weights[node.inputs[1]].numpy()
    bias = node.inputs[2] if len(node.inputs) > 2 else ""
    matrix = as_matrix(node, stored).astype(np.float64)
    before = matrix.reshape(moments.groups, -1, matrix.shape[1])
    if repair.fit:
        after = _fitted(before, repair, moments, damping, bool(bias))
        if bias and observed is not None and observed.clamp is not None:
            after, moments = _refitted(before, after, moments, damping, observed)
    else:
        after = _masked(before, repair)
    weights = dict(model.weights)
    new = from_matrix(node, after.reshape(matrix.shape), stored.shape)
    weights[node.inputs[1]] = Tensor(new.astype(stored.dtype))
    if bias:
        old = model.weights[bias].numpy()
        weights[bias] = Tensor(moments.bias(after).reshape(-1).astype(old.dtype))
    return model.replace(weights=weights)


def _masked(matrices: F64, repair: LayerRepair) -> F64:
    if not isinstance(repair.keep, np.ndarray):
        return matrices
    return np.where(repair.keep.reshape(matrices.shape), matrices, 0.0)


def _fitted(
    matrices: F64, repair: LayerRepair, moments: Moments, damping: float, has_bias: bool
) -> F64:
    """matrices: [groups, O / groups, K]; chosen weights and their values, group by group."""
    keep = repair.keep
    zz, yz = moments.covariances(centered=has_bias)
    targets, hessians = fit(matrices, zz, yz, damping)
    if callable(keep):
        root = np.ones((*matrices.shape[:2], 1))
        if repair.worth is not None:  # an error's square counts as often as its channel is worth
            root = np.sqrt(repair.worth).reshape(root.shape)
        if len(matrices) > 1:  # weights are chosen among all groups: by what they were
            keep = keep(_shares(targets * root, hessians))
        else:
            return (prune_matrix(targets[0] * root[0], hessians[0], keep) / root[0])[None]
    masks = matrices != 0 if keep is None else keep.reshape(matrices.shape)
    return _best_values(targets, hessians, masks)


def _best_values(targets: F64, hessians: F64, masks: Mask) -> F64:
    return np.stack(
        [
            target if mask.all() else best_values(target, hessian, mask)
            for target, hessian, mask in zip(targets, hessians, masks, strict=True)
        ]
    )


def _refitted(
    before: F64, after: F64, moments: Moments, damping: float, observed: Observed
) -> tuple[F64, Moments]:
    """The same weights with better values for what comes out of the clamp behind the layer: where
    that clamps the wanted output, all outputs beyond the bound will do. The wanted output there is
    replaced by what the layer delivers, and fitted anew: each turn can only lower the error.

    before: the original weights. Returns the weights and the moments that give their bias.
    """
    masks, clamp = after != 0, observed.clamp
    assert clamp is not None
    for _ in range(CLAMP_TURNS):
        weights, bias = after.astype(np.float32), moments.bias(after).astype(np.float32)[..., None]
        moments = moments.wanting(
            (clamp.nearest(y, np.matmul(weights, z) + bias), z) for y, z in observed
        )
        zz, yz = moments.covariances(centered=True)
        after = _best_values(*fit(before, zz, yz, damping), masks)
    return after, moments


def _shares(targets: F64, hessians: F64) -> F64:
    """Each weight's own share of the loss, [O, K]."""
    diagonal = np.diagonal(hessians, axis1=1, axis2=2)[:, None, :]
    shares: F64 = (targets**2 * diagonal).reshape(-1, targets.shape[2])
    return shares


def as_matrix(node: Node, weight: Array) -> Array:
    """Weights as [O, K]: a row holds all weights of an output channel."""
    rows = weight.T if node.op_type == "MatMul" else weight
    return rows.reshape(len(rows), -1)


def from_matrix(node: Node, matrix: Array, shape: tuple[int, ...]) -> Array:
    """The weights of the given shape that `as_matrix` makes this matrix of."""
    rows = matrix.T if node.op_type == "MatMul" else matrix
    return np.ascontiguousarray(rows.reshape(shape))
