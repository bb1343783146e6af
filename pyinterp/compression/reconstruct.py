"""Repair a quantized model layer by layer from calibration images.

Layers are taken in the order of the graph. Each sees what the quantized layers before it really
deliver, and is rounded anew so that its output comes closest to the float model's (the asymmetric
form of layer-wise reconstruction, as in AdaRound: Nagel et al., 2020, arXiv:2004.10568, section
3.3); its bias takes up what shift remains (bias correction: Nagel et al., 2019, arXiv:1906.04721,
section 4.2). A layer that a residual is added to makes up for the residual's errors as well.
Weights that are zero stay zero, and the others take their best values for that before they are
rounded, so that a pruned model is repaired for pruning and quantization together. What passes from
stage to stage waits on disk, so that memory does not grow with the number of images.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..errors import InputError
from ..model import Array, Model, Node
from .brain_surgeon import best_values
from .layerwise import prior_of
from .moments import F64, Moments
from .observed import Observed, passed_on
from .parameters import Quantizer, quantize_layer, quantize_weights
from .placement import Placement
from .qdq_writer import Layer, Written
from .quantize_options import LayerOptions
from .rounding import fit, independent_scale, round_weights
from .spool import Spool
from .submodel import Stage, stages

# Elements of a layer's second moments; above that (8192 weights a channel) weights round each by
# itself, since the matrices would take gigabytes.
LARGEST_MOMENTS = 1 << 26


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """model: the float model that is quantized. original: the model whose outputs are to be kept,
    with the same graph: the model itself, or what it was before it was pruned. quantizers: by root.
    options: label of a layer -> what to do.
    """

    model: Model
    original: Model
    placement: Placement
    quantizers: Mapping[str, Quantizer]
    options: Mapping[str, LayerOptions]


def same_layers(model: Model, original: Model, labels: Iterable[str]) -> None:
    """Raise InputError unless these layers have weights of the same shapes in both models."""
    if model is original:
        return
    known = {node.label: node for node in original.nodes}
    for node in model.nodes:
        if node.label not in labels:
            continue
        wanted = model.weights[node.inputs[1]].shape
        before = known.get(node.label)
        got = original.weights.get(before.inputs[1]) if before is not None else None
        if before is None or got is None or got.shape != wanted:
            raise InputError(
                f"original: expected a layer {node.label!r} with weights {list(wanted)}, got "
                f"{'none' if got is None else list(got.shape)}"
            )
        if (before.inputs[0], before.outputs) != (node.inputs[0], node.outputs):
            raise InputError(f"original: {node.label!r} reads or makes other values there")


def reconstruct(job: Job, written: Written, images: Spool) -> Written:
    """The quantized graph with other integers in its layers.

    written: the quantized graph of `job.model`. images: feeds of the model.
    """
    layers = {node.label for node in job.placement.layers if job.options[node.label].needs_images}
    found = stages(job.model, layers)
    floats, quantized = images, images  # what passes into the stage, on disk
    for number, stage in enumerate(found):
        for node in stage.nodes:
            if node.label in layers:
                layer = _repaired(job, written, stage, node, floats, quantized)
                written = written.with_layers({node.label: layer})
        if number + 1 < len(found):
            names = found[number + 1].starts
            before = floats, quantized
            floats = passed_on(job.original, stage, {name: name for name in names}, floats)
            behind = {name: written.dequantized.get(name, name) for name in names}
            quantized = passed_on(written.model, stage, behind, quantized)
            for spool in before:
                if spool is not images:
                    spool.close()
    for spool in (floats, quantized):
        if spool is not images:
            spool.close()
    return written


def _repaired(
    job: Job, written: Written, stage: Stage, node: Node, floats: Spool, quantized: Spool
) -> Layer:
    """The layer's new integers."""
    options, rows = job.options[node.label], _rows(job.model, node)
    if rows.shape[0] * rows.shape[2] ** 2 > LARGEST_MOMENTS:
        options = replace(options, rounding="nearest")
    site = written.sites[node.label]
    names = {**written.dequantized, node.inputs[0]: site.input}
    observed = Observed(job.original, written.model, stage, node, floats, quantized, names)
    moments = observed.moments(options.rounding != "nearest")
    stored = np.moveaxis(written.model.weights[site.weight].numpy(), site.axis, 0)
    scale = written.model.weights[site.weight_scale].numpy().astype(np.float64)
    bias: F64 | None = None
    if site.bias:
        bias = job.model.weights[node.inputs[2]].numpy().astype(np.float64)
    if options.rounding == "nearest":
        new = _per_row(scale, rows) * stored.reshape(rows.shape)
    else:
        new, scale = _rounded(rows, bias, scale, options, moments, prior_of(observed))
    if bias is not None and options.bias_correction:
        bias = moments.bias(new).reshape(-1)
    return layer_integers(
        job.placement, job.quantizers, options, node, new.reshape(stored.shape), bias, scale
    )


def layer_integers(
    placement: Placement,
    quantizers: Mapping[str, Quantizer],
    options: LayerOptions,
    node: Node,
    weight: Array,
    bias: Array | None,
    scale: Array | None = None,
) -> Layer:
    """Weights [O, ...] as integers; the bias too where the layer's activations are integers.

    scale: [O] or [], where it is known.
    """
    bits, per_channel, power = options.weight_bits, options.per_channel, options.power_of_two
    if not placement.values:
        return quantize_weights(weight, bias, bits, per_channel, node.label, scale, power)
    x = quantizers[placement.root(node.inputs[0])]
    y = quantizers[placement.root(placement.result(node))]
    return quantize_layer(weight, bias, x, y.scale, bits, per_channel, node.label, scale, power)


def _rows(model: Model, node: Node) -> F64:
    """The float weights of a layer as [groups, output channels of a group, K]."""
    weight = model.weights[node.inputs[1]].numpy()
    if node.op_type == "MatMul":
        weight = weight.T
    groups = int(node.attributes.get("group", 1))  # type: ignore[arg-type]
    return weight.reshape(groups, weight.shape[0] // groups, -1).astype(np.float64)


def _per_row(scale: F64, rows: F64) -> F64:
    """Scales [O] or [] as [groups, output channels of a group, 1]."""
    return np.broadcast_to(scale, rows.shape[0] * rows.shape[1]).reshape(*rows.shape[:2], 1)


def _rounded(
    rows: F64,
    bias: F64 | None,
    scale: F64,
    options: LayerOptions,
    moments: Moments,
    damping: float,
) -> tuple[F64, F64]:
    """Weights that are integers times their scale, and the scale [O] or []."""
    centered = bias is not None and options.bias_correction  # a free bias takes up the means
    zz, yz = moments.covariances(centered)
    if not centered and bias is not None:
        yz = yz - bias.reshape(*rows.shape[:2], 1) * moments.means()[1][:, None]
    target, hessian = fit(rows, zz, yz, damping)
    kept = rows != 0
    for group in np.flatnonzero(~kept.all(axis=(1, 2))):
        target[group] = best_values(target[group], hessian[group], kept[group])
    start = _per_row(scale, rows)[..., 0]
    if options.per_channel:
        start = independent_scale(target, hessian, options.largest)
        if options.power_of_two:
            start = 2.0 ** np.rint(np.log2(start))
    fixed = options.power_of_two or not options.per_channel
    rounded = round_weights(target, hessian, start, options.largest, kept, fixed_scale=fixed)
    new = rounded.integers * rounded.scale[..., None]
    return new, rounded.scale.reshape(-1) if options.per_channel else scale
