"""Pruning: set weights to zero, or take channels and blocks away, and keep the accuracy.

Data-free by magnitude; with unlabelled images by what weights multiply, or by optimal brain
compression, which also makes the weights that stay take over the work of those that go; with
labels by their part in the loss. Nothing is trained here: that is `finetune`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..fold import simplify
from ..model import Array, Model
from .blocks import prune_blocks
from .calibrate import Feeds, Progress, observed_ranges
from .granularity import granularity_of
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
from .prune_options import Request, default_repair, default_sparsity
from .spool import Spool
from .structured import prune_channels
from .unstructured import prune_weights


def prune(
    model: Model,
    sparsity: float | None = None,
    granularity: str = "element",
    criterion: str = "magnitude",
    scope: str = "global",
    calibration: Iterable[Feeds] | None = None,
    labels: Array | None = None,
    repair: str | None = None,
    mirrored: bool = False,
    ignored: Iterable[str] = (),
    layers: LayerSettings | None = None,
    progress: Progress | None = None,
) -> Model:
    """A new model with zeros in the weights of its Conv, Gemm and MatMul layers, or a smaller one.

    sparsity: fraction of zeros, 0 to 1, of all pruned weights together (0.9 if not given; implied
    by N:M): `round(sparsity * groups)` groups of weights, more only where more were zero before. Of
    equal ones the one that comes first goes first. Of channels or blocks: the share of those that
    can go (0.5 if not given).
    granularity: "element"; "N:M" (as "2:4"), N of every M weights along the input channels stay;
    "1x4", blocks along input channels; "4x1", rows of output channels. Depthwise convolutions are
    left out unless `layers` gives them a sparsity. "channel" takes whole channels away, through
    residual adds, concatenations and depthwise convolutions, and leaves at least one to each layer;
    "block" takes whole residual blocks away, those whose input passes them by unchanged.
    criterion: "magnitude", of the weights as they were trained, before BatchNorm is folded: its
    factors differ by orders of magnitude between layers. "activation": w^2 E[x^2], as a share of
    the layer (Sun et al., 2023, arXiv:2306.11695). "obs": optimal brain compression, layer by layer
    (Frantar et al., 2022, arXiv:2208.11580; see `brain_surgeon`), where an output channel counts
    by what its errors do to the answers (`importance.row_importance`); scope "global" then ranks as
    "activation" does. "taylor": by gradients, with labels (Molchanov et al., 2019,
    arXiv:1906.10771). For channels also "l1" and "batch_norm", its scale; see
    `structured.channel_worth` and `blocks.block_worth` for what the names mean there.
    scope: "global" ranks all layers together, "layer" gives each the same sparsity, "erdos_renyi"
    large ones more (Evci et al., 2020, arXiv:1911.11134), "loss" measures what each layer's loss of
    weights does to the network's answers, at several sparsities, and takes the least sum.
    calibration: feeds `{input: array}` (batch first), read once; needed by all criteria but
    magnitude and by repair. labels: classes of its images, integers [N], for "taylor".
    repair: what images are used for afterwards, layer by layer. "bias" gives each output channel
    its mean back, "weights" also gives the weights that stay their best values, in all layers but
    ignored ones. Not given: "weights" for "obs", "bias" where there is calibration, else "none".
    mirrored: use the mirror image of every calibration image as well for the repair "weights", so
    that layers fit more than those images.
    ignored: regular expressions of node names (whole names) that stay as they are. layers:
    per-layer settings `{expression: {"sparsity": ..., "ignored": ...}}`; a layer with a sparsity of
    its own does not count for the others. progress: called with the images of each batch.
    BatchNorm is folded; weights are stored sparse where that is smaller. Prune before quantizing.
    Raises InputError for arguments that do not fit, ModelError for a quantized model.
    """
    refuse_quantized(model, "prune the float model, then quantize it")
    patterns = pattern_list(ignored, "ignored")
    trained = simplify(model, batch_norm=False)
    folded = simplify(trained)  # layers keep their names
    settings = layer_settings(folded, layers, ("sparsity",))
    left_out = matching(folded, patterns, "ignored")
    left_out |= {label for label, given in settings.items() if given.get("ignored")}
    request = Request(
        default_sparsity(granularity) if sparsity is None else sparsity,
        granularity,
        criterion,
        scope,
        default_repair(criterion, calibration) if repair is None else repair,
        labels,
        left_out,
        {label: given["sparsity"] for label, given in settings.items() if "sparsity" in given},
        mirrored,
    )
    request.check(calibration)
    with Spool() as images:
        if calibration is not None:
            first = [info.name for info in folded.inputs]
            observed_ranges(folded, calibration, first, progress=progress, keep=images)
        if granularity == "channel":
            pruned = prune_channels(trained, folded, request, images)
        elif granularity == "block":
            pruned = prune_blocks(folded, request, images)
        else:
            pruned = prune_weights(trained, folded, granularity_of(granularity), request, images)
    arguments: dict[str, Any] = {
        "sparsity": request.sparsity,
        "granularity": granularity,
        "criterion": criterion,
        "scope": scope,
        "repair": request.repair,
        **({"mirrored": True} if mirrored else {}),
        **({"ignored": patterns} if patterns else {}),
        **({"layers": {key: dict(value) for key, value in layers.items()}} if layers else {}),
    }
    return recorded(_stored_sparse(pruned), model, "prune", arguments)


def _stored_sparse(model: Model) -> Model:
    names = {node.inputs[1] for node in model.nodes if is_layer(model, node)}
    sparse = {name: stored(model.weights[name].numpy()) for name in names}
    return model.replace(weights={**model.weights, **sparse})
