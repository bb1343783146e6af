"""Quantization: weights of 4 to 8 bits, activations of 7 or 8, integers throughout.

The scheme is Jacob et al., 2018 (arXiv:1712.05877) with scales per output channel (Krishnamoorthi,
2018, arXiv:1806.08342). The result is a standard QDQ graph: real = scale * (q - zero_point).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..errors import InputError
from ..fold import simplify
from ..model import Array, Model, Node
from .calibrate import Feeds, Progress, observed_ranges
from .equalize import equalize as equalized
from .layers import (
    LayerSettings,
    layer_settings,
    matching,
    pattern_list,
    recorded,
    refuse_quantized,
    with_bias,
)
from .opset import raise_opset
from .parameters import QuantizedLayer, Quantizer, activation_quantizer, quantize_layer
from .placement import Placement, place
from .qdq_writer import write_quantized
from .quantize_options import PER_LAYER, ActivationOptions, LayerOptions
from .reconstruct import reconstruct
from .spool import Spool


def quantize(
    model: Model,
    calibration: Iterable[Feeds],
    *,
    weight_bits: int = 8,
    activation_bits: int = 8,
    per_channel: bool = True,
    method: str = "mse",
    percentile: float = 99.99,
    rounding: str = "gptq",
    bias_correction: bool = True,
    equalize: bool = False,
    symmetric_activations: bool = False,
    power_of_two_scales: bool = False,
    ignored: Iterable[str] = (),
    layers: LayerSettings | None = None,
    progress: Progress | None = None,
) -> Model:
    """A new model with integer weights and activations, as a QDQ graph of opset 13 or newer.

    calibration: feeds `{input: array}` (batch first), read once; their number does not change the
    memory used (passes after the first read them from a temporary file). weight_bits: 4 to 8,
    weights in +-(2^(b-1) - 1). activation_bits: 8 ([0, 255]) or 7 ([0, 127]).
    method: how ranges are taken from the calibration: "mse", "minmax", "percentile", "entropy" or
    "moving_average" (see `calibration_methods`); percentile: of that method.
    rounding: "nearest", or "gptq", which rounds layer by layer so that outputs change least.
    bias_correction: give each output channel its mean back. equalize: even out the ranges of
    channels across layers first, where nothing but Relu and pooling stands between two.
    symmetric_activations: zero point 0 for values that are never negative, else 128 (at 7 bits
    64). power_of_two_scales: fixed-point arithmetic; every scale is a power of two.
    ignored: regular expressions of node names that stay in float (whole names, as they are after
    BatchNorm is folded). layers: per-layer settings `{expression: {"weight_bits": ...,
    "per_channel": ..., "rounding": ..., "ignored": ...}}`. progress: called with the images of
    each batch.
    Outputs stay float. Zero weights stay zero, so pruned models are quantized after pruning.
    Raises InputError for arguments and feeds that do not fit, ModelError for a model that is
    quantized already, QuantizationError where the numeric contract cannot hold.
    """
    defaults = LayerOptions(
        weight_bits, per_channel, rounding, bias_correction, power_of_two_scales
    )
    defaults.check("quantize")
    activations = ActivationOptions(
        activation_bits, method, percentile, symmetric_activations, power_of_two_scales
    )
    activations.check()
    if not isinstance(equalize, bool):
        raise InputError(f"equalize: expected true or false, got {equalize!r}")
    refuse_quantized(model, "quantize the float model")
    patterns = pattern_list(ignored, "ignored")
    float_model = simplify(raise_opset(simplify(model)))
    settings = layer_settings(float_model, layers, PER_LAYER)
    left_out = matching(float_model, patterns, "ignored")
    left_out |= {label for label, given in settings.items() if given.get("ignored")}
    if equalize:
        float_model = equalized(float_model)
    result = _quantized(
        float_model, calibration, activations, defaults, settings, left_out, progress
    )
    arguments: dict[str, Any] = {
        "weight_bits": weight_bits,
        "activation_bits": activation_bits,
        "per_channel": per_channel,
        "method": method,
        **({"percentile": percentile} if method == "percentile" else {}),
        "rounding": rounding,
        "bias_correction": bias_correction,
        "equalize": equalize,
        "symmetric_activations": symmetric_activations,
        "power_of_two_scales": power_of_two_scales,
        **({"ignored": patterns} if patterns else {}),
        **({"layers": {key: dict(value) for key, value in layers.items()}} if layers else {}),
    }
    return recorded(result, model, "quantize", arguments)


def _quantized(
    model: Model,
    calibration: Iterable[Feeds],
    activations: ActivationOptions,
    defaults: LayerOptions,
    settings: Mapping[str, Mapping[str, Any]],
    left_out: set[str],
    progress: Progress | None,
) -> Model:
    """The QDQ graph of a simplified float model."""
    placement = place(model, left_out)
    if not placement.layers:
        raise InputError("expected a layer to quantize (Conv, Gemm or MatMul), found none")
    options = {
        node.label: defaults.changed(settings.get(node.label, {}), f"layers, {node.label!r}")
        for node in placement.layers
    }
    corrected = {label for label, option in options.items() if option.bias_correction}
    if corrected:
        model = with_bias(model, corrected)
        placement = place(model, left_out)
    repaired = any(option.needs_images for option in options.values())
    roots = dict.fromkeys(placement.root(name) for name in placement.values)
    with Spool() as images:
        ranges = observed_ranges(
            model,
            calibration,
            roots,
            activations.method,
            activations.percentile,
            levels=2**activations.bits - 1,
            progress=progress,
            keep=images if repaired else None,
        )
        quantizers = {
            name: activation_quantizer(
                *ranges[name],
                activations.bits,
                name,
                activations.symmetric,
                activations.power_of_two,
            )
            for name in roots
        }
        nearest = {
            node.label: _nearest(model, placement, quantizers, node, options[node.label])
            for node in placement.layers
        }
        written = write_quantized(model, placement, quantizers, nearest)
        if repaired:
            written = reconstruct(model, written, placement, quantizers, options, images)
    return written.model


def _nearest(
    model: Model,
    placement: Placement,
    quantizers: Mapping[str, Quantizer],
    node: Node,
    options: LayerOptions,
) -> QuantizedLayer:
    """A layer's integers, each weight rounded by itself."""
    weight = model.weights[node.inputs[1]].numpy()
    bias: Array | None = None
    if len(node.inputs) > 2 and node.inputs[2]:
        bias = model.weights[node.inputs[2]].numpy()
    x = quantizers[placement.root(node.inputs[0])]
    y = quantizers[placement.root(placement.result(node))]
    axis = 1 if node.op_type == "MatMul" else 0  # of the output channels
    rows = np.moveaxis(weight, axis, 0)
    return quantize_layer(
        rows,
        bias,
        x,
        y.scale,
        options.weight_bits,
        options.per_channel,
        node.label,
        power_of_two=options.power_of_two,
    )
