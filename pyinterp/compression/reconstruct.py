"""Repair a quantized model layer by layer from calibration images.

Layers are taken in the order of the graph. Each sees what the quantized layers before it really
deliver, and is rounded anew so that its output comes closest to the float model's (the asymmetric
form of layer-wise reconstruction, as in AdaRound: Nagel et al., 2020, arXiv:2004.10568, section
3.3); its bias takes up what shift remains (bias correction: Nagel et al., 2019, arXiv:1906.04721,
section 4.2). What passes from stage to stage waits on disk, so that memory does not grow with the
number of images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..model import Model, Node
from .moments import F64, Moments, Patches
from .parameters import QuantizedLayer, Quantizer, quantize_layer
from .placement import Placement
from .qdq_writer import Written
from .quantize_options import LayerOptions
from .rounding import independent_scale, refit, round_weights
from .spool import Spool
from .submodel import Runner, Stage, stages

DAMPING = 0.01  # of the mean diagonal of the Hessian, as GPTQ has it
# Elements of a layer's second moments; above that (8192 weights a channel) weights round each by
# itself, since the matrices would take gigabytes.
LARGEST_MOMENTS = 1 << 26


def reconstruct(
    model: Model,
    written: Written,
    placement: Placement,
    quantizers: Mapping[str, Quantizer],
    options: Mapping[str, LayerOptions],
    images: Spool,
) -> Written:
    """The quantized graph with other integers in its layers.

    model: the float model that `written` stands for. options: label of a layer -> what to do.
    images: feeds of the model.
    """
    options = {
        node.label: _affordable(options[node.label], _rows(model, node))
        for node in placement.layers
    }
    layers = {node.label for node in placement.layers if options[node.label].needs_images}
    found = stages(model, layers)
    floats, quantized = images, images  # what passes into the stage, on disk
    for number, stage in enumerate(found):
        for node in stage.nodes:
            if node.label in layers:
                moments = _moments(
                    model, written, stage, node, options[node.label], floats, quantized
                )
                x = quantizers[placement.root(node.inputs[0])]
                y = quantizers[placement.root(placement.result(node))]
                layer = _repaired(model, written, node, options[node.label], moments, x, y)
                written = written.with_layers({node.label: layer})
        if number + 1 < len(found):
            names = found[number + 1].starts
            before = floats, quantized
            floats = _passed(model, stage, {name: name for name in names}, floats)
            behind = {name: written.dequantized.get(name, name) for name in names}
            quantized = _passed(written.model, stage, behind, quantized)
            for spool in before:
                if spool is not images:
                    spool.close()
    for spool in (floats, quantized):
        if spool is not images:
            spool.close()
    return written


def _affordable(options: LayerOptions, rows: F64) -> LayerOptions:
    elements = rows.shape[0] * rows.shape[2] ** 2
    return options if elements <= LARGEST_MOMENTS else replace(options, rounding="nearest")


def _moments(
    model: Model,
    written: Written,
    stage: Stage,
    node: Node,
    options: LayerOptions,
    floats: Spool,
    quantized: Spool,
) -> Moments:
    """Of what the layer reads in the float and in the quantized model."""
    weight = _rows(model, node)
    patches = Patches(node, model.weights[node.inputs[1]].numpy())
    site = written.sites[node.label]
    float_part = Runner(model, stage.starts, [node.inputs[0]])
    quantized_part = Runner(written.model, stage.starts, [site.input])
    moments = Moments(weight.shape[0], weight.shape[2], options.rounding != "nearest")
    for float_values, quantized_values in zip(floats, quantized, strict=True):
        x = float_part.run(float_values)[node.inputs[0]]
        z = quantized_part.run(quantized_values)[site.input]
        moments.update(*patches.take(x, z))
    return moments


def _passed(model: Model, stage: Stage, names: Mapping[str, str], source: Spool) -> Spool:
    """What leaves a stage, on disk. names: value to keep -> value of `model` that stands for it."""
    runner = Runner(model, stage.starts, names.values())
    result = Spool()
    for values in source:
        computed = runner.run(values)
        result.append({name: computed[inside] for name, inside in names.items()})
    return result


def _rows(model: Model, node: Node) -> F64:
    """The float weights of a layer as [groups, output channels of a group, K]."""
    weight = model.weights[node.inputs[1]].numpy()
    if node.op_type == "MatMul":
        weight = weight.T
    groups = int(node.attributes.get("group", 1))  # type: ignore[arg-type]
    return weight.reshape(groups, weight.shape[0] // groups, -1).astype(np.float64)


def _repaired(
    model: Model,
    written: Written,
    node: Node,
    options: LayerOptions,
    moments: Moments,
    x: Quantizer,
    y: Quantizer,
) -> QuantizedLayer:
    """The layer's new integers."""
    site, rows = written.sites[node.label], _rows(model, node)
    stored = written.model.weights[site.weight].numpy()
    scale = written.model.weights[site.weight_scale].numpy().astype(np.float64)
    shift_bias = options.bias_correction and bool(site.bias)
    if options.rounding == "nearest":
        new = _per_row(scale, rows) * np.moveaxis(stored, site.axis, 0).reshape(rows.shape)
    else:
        new, scale = _rounded(rows, scale, options, moments, shift_bias)
    bias: F64 | None = None
    if site.bias:
        bias = model.weights[node.inputs[2]].numpy().astype(np.float64)
    if bias is not None and options.bias_correction:
        mean_x, mean_z = moments.means()
        bias = bias + (rows @ mean_x[..., None] - new @ mean_z[..., None]).reshape(-1)
    return quantize_layer(
        new.reshape(np.moveaxis(stored, site.axis, 0).shape),
        bias,
        x,
        y.scale,
        options.weight_bits,
        options.per_channel,
        node.label,
        scale,
        options.power_of_two,
    )


def _per_row(scale: F64, rows: F64) -> F64:
    """Scales [O] or [] as [groups, output channels of a group, 1]."""
    return np.broadcast_to(scale, rows.shape[0] * rows.shape[1]).reshape(*rows.shape[:2], 1)


def _rounded(
    rows: F64, scale: F64, options: LayerOptions, moments: Moments, centered: bool
) -> tuple[F64, F64]:
    """Weights that are integers times their scale, and the scale [O] or []."""
    zz, xz = moments.covariances(centered)
    target, hessian = refit(rows, zz, xz, DAMPING)
    start = _per_row(scale, rows)[..., 0]
    if options.per_channel:
        start = independent_scale(target, hessian, options.largest)
        if options.power_of_two:
            start = 2.0 ** np.rint(np.log2(start))
    fixed = options.power_of_two or not options.per_channel
    rounded = round_weights(target, hessian, start, options.largest, rows != 0, fixed_scale=fixed)
    new = rounded.integers * rounded.scale[..., None]
    return new, rounded.scale.reshape(-1) if options.per_channel else scale
