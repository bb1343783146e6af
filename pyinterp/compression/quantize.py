"""Quantization: weights of 4 to 8 bits; activations of 7 or 8, or measured at run time, or float.

The scheme is Jacob et al., 2018 (arXiv:1712.05877) with scales per output channel (Krishnamoorthi,
2018, arXiv:1806.08342). The result is a standard ONNX graph: real = scale * (q - zero_point).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ..errors import InputError
from ..fold import simplify
from ..model import Model
from .calibrate import Feeds, Progress
from .calibration_cache import calibration_cache as cache_of
from .equalize import equalize as equalized
from .layers import (
    LayerSettings,
    layer_settings,
    matching,
    pattern_list,
    recorded,
    refuse_quantized,
)
from .mirrored import check_mirrored, with_mirrored
from .mixed_precision import chosen_options
from .opset import raise_opset
from .quantize_graph import calibrated, placement_of
from .quantize_options import MODES, PER_LAYER, ActivationOptions, LayerOptions, check_limit
from .reconstruct import same_layers
from .spool import Spool


def quantize(
    model: Model,
    calibration: Iterable[Feeds] | None = None,
    *,
    mode: str = "static",
    weight_bits: int = 8,
    activation_bits: int = 8,
    per_channel: bool = True,
    method: str = "mse",
    percentile: float = 99.99,
    rounding: str | None = None,
    bias_correction: bool | None = None,
    mirrored: bool = False,
    equalize: bool = False,
    symmetric_activations: bool = False,
    power_of_two_scales: bool = False,
    max_divergence: float | None = None,
    ignored: Iterable[str] = (),
    layers: LayerSettings | None = None,
    original: Model | None = None,
    calibration_cache: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Model:
    """A new model with integer weights, as a graph of opset 13 or newer.

    calibration: feeds `{input: array}` (batch first), read once; their number does not change the
    memory used (passes after the first read them from a temporary file).
    mode: "static" quantizes activations too, by ranges from the calibration; integer kernels run
    the result (QDQ). "dynamic" writes DynamicQuantizeLinear, ConvInteger and
    MatMulInteger: each layer takes the range of the very input it reads. "weights" stores weights
    in few bits and computes in float. The last two need no calibration, but round better with it.
    weight_bits: 4 to 8, weights in +-(2^(b-1) - 1). activation_bits: 8 ([0, 255]) or 7 ([0, 127]).
    method: how ranges are taken from the calibration: "mse", "minmax", "percentile", "entropy" or
    "moving_average" (see `calibration_methods`); percentile: of that method.
    rounding: "nearest", or "gptq", which rounds layer by layer so that outputs change least; not
    given: "gptq" where there are images. bias_correction: give each output channel its mean back;
    not given: where there are images. mirrored: use the mirror image of every calibration image as
    well for these two. equalize: even out the ranges of channels across layers first, where nothing
    but Relu and pooling stands between two.
    symmetric_activations: zero point 0 for values that are never negative, else 128 (at 7 bits
    64). power_of_two_scales: fixed-point arithmetic; every scale is a power of two.
    max_divergence: mixed precision. While the mean divergence of the answers on calibration images
    (Kullback-Leibler, in nats, for class scores; else squared error, relative) is above this, the
    most sensitive layers get 8 bits, then stay in float (see `mixed_precision`).
    ignored: regular expressions of node names that stay in float (whole names, as they are after
    BatchNorm is folded). layers: per-layer settings `{expression: {"weight_bits": ...,
    "per_channel": ..., "rounding": ..., "ignored": ...}}`.
    original: for a pruned model, what it was before: the outputs that layers are repaired for, so
    that rounding makes up for pruning as well. Needs the same layers, hence no removed channels.
    calibration_cache: a JSON file that keeps the ranges: written where there is none, else read
    instead of measuring. With it, no calibration is needed unless something is to be repaired.
    progress: called with the images of each batch.
    Outputs stay float. Zero weights stay zero, so pruned models are quantized after pruning.
    Raises InputError for arguments and feeds that do not fit and for a cache of another model,
    ModelError for a model that is quantized already, QuantizationError where the numeric contract
    cannot hold.
    """
    has_images = calibration is not None
    if rounding is None:
        rounding = "gptq" if has_images else "nearest"
    if bias_correction is None:
        bias_correction = has_images
    defaults = LayerOptions(
        weight_bits, per_channel, rounding, bias_correction, power_of_two_scales
    )
    defaults.check("quantize")
    activations = ActivationOptions(
        activation_bits, method, percentile, symmetric_activations, power_of_two_scales
    )
    activations.check()
    if mode not in MODES:
        raise InputError(f"mode: expected one of {', '.join(MODES)}, got {mode!r}")
    if not isinstance(equalize, bool):
        raise InputError(f"equalize: expected true or false, got {equalize!r}")
    check_limit(max_divergence, has_images)
    check_mirrored(mirrored, has_images, "repairs from calibration, and there is none")
    refuse_quantized(model, "quantize the float model")
    patterns = pattern_list(ignored, "ignored")
    float_model = _prepared(model)
    settings = layer_settings(float_model, layers, PER_LAYER)
    left_out = matching(float_model, patterns, "ignored")
    left_out |= {label for label, given in settings.items() if given.get("ignored")}
    if original is not None and equalize:
        raise InputError("equalize: it changes what layers deliver, so there can be no original")
    if equalize:
        float_model = equalized(float_model)
    found = placement_of(float_model, mode, {n.label for n in float_model.nodes} - left_out).layers
    if not found:
        raise InputError("expected a layer to quantize (Conv, Gemm or MatMul), found none")
    options = {
        node.label: defaults.changed(settings.get(node.label, {}), f"layers, {node.label!r}")
        for node in found
    }
    if not has_images and any(option.needs_images for option in options.values()):
        raise InputError("calibration: rounding 'gptq' and bias_correction need feeds, got none")
    reference = float_model if original is None else _prepared(original)
    same_layers(float_model, reference, options)
    cache = None
    if calibration_cache is not None and mode == "static":
        cache = cache_of(calibration_cache, float_model, activations)
    with Spool() as images:
        source = calibrated(
            float_model, reference, mode, activations, calibration, cache, images, progress
        )
        chosen = chosen_options(source, options, max_divergence)
        if mirrored:
            with with_mirrored(images) as shown:
                result = replace(source, shown=shown).quantized(chosen)
        else:
            result = source.quantized(chosen)
    chosen_bits = {
        label: chosen[label].weight_bits if label in chosen else "float"
        for label, option in options.items()
        if chosen.get(label) != option
    }
    arguments: dict[str, Any] = {
        **({"mode": mode} if mode != "static" else {}),
        "weight_bits": weight_bits,
        "activation_bits": activation_bits,
        "per_channel": per_channel,
        "method": method,
        **({"percentile": percentile} if method == "percentile" else {}),
        "rounding": rounding,
        "bias_correction": bias_correction,
        **({"mirrored": True} if mirrored else {}),
        "equalize": equalize,
        "symmetric_activations": symmetric_activations,
        "power_of_two_scales": power_of_two_scales,
        **({"max_divergence": max_divergence} if max_divergence is not None else {}),
        **({"chosen_bits": chosen_bits} if chosen_bits else {}),
        **({"ignored": patterns} if patterns else {}),
        **({"layers": {key: dict(value) for key, value in layers.items()}} if layers else {}),
    }
    return recorded(result, model, "quantize", arguments)


def _prepared(model: Model) -> Model:
    return simplify(raise_opset(simplify(model)))
