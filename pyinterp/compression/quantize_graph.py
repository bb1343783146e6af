"""From a float model to its quantized graph: ranges of activations, integers, reconstruction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..errors import InputError
from ..model import Array, Model, Node
from .calibrate import Feeds, Progress, Ranges, observed_ranges
from .calibration_cache import CalibrationCache
from .dynamic_form import dynamic_form
from .layers import with_bias
from .parameters import (
    Quantizer,
    activation_quantizer,
)
from .placement import Placement, place
from .qdq_writer import Layer, write_quantized
from .quantize_options import ActivationOptions, LayerOptions
from .reconstruct import Job, layer_integers, reconstruct
from .spool import Spool


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A simplified float model with what calibration found, which quantized graphs are made from.

    original: the model whose outputs are to be kept: the same graph, before weights were pruned.
    mode: as `quantize` has it. ranges: of all activations that may be quantized. images: feeds;
    empty where there are none. shown: those for the repair of layers.
    """

    model: Model
    original: Model
    mode: str
    activations: ActivationOptions
    ranges: Ranges
    images: Spool
    shown: Spool

    def quantized(self, options: Mapping[str, LayerOptions]) -> Model:
        """options: label -> how a layer is quantized; layers that are not among them stay float."""
        model, original = self.model, self.original
        corrected = {label for label, option in options.items() if option.bias_correction}
        if corrected:
            model, original = (with_bias(m, corrected) for m in (model, original))
        placement = placement_of(model, self.mode, options)
        quantizers = {
            name: activation_quantizer(
                *self.ranges[name],
                self.activations.bits,
                name,
                self.activations.symmetric,
                self.activations.power_of_two,
            )
            for name in dict.fromkeys(placement.root(name) for name in placement.values)
        }
        nearest = {
            node.label: _nearest(model, placement, quantizers, node, options[node.label])
            for node in placement.layers
        }
        written = write_quantized(model, placement, quantizers, nearest)
        if any(option.needs_images for option in options.values()):
            job = Job(model, original, placement, quantizers, options)
            written = reconstruct(job, written, self.shown)
        return dynamic_form(written) if self.mode == "dynamic" else written.model


def placement_of(model: Model, mode: str, layers: Iterable[str]) -> Placement:
    """Where quantizers go when the layers of these labels are quantized: outside of mode "static"
    to weights alone.
    """
    every = {node.label for node in place(model, set()).layers}
    placement = place(model, every.difference(layers))
    return placement if mode == "static" else replace(placement, values=(), source={})


def calibrated(
    model: Model,
    original: Model,
    mode: str,
    activations: ActivationOptions,
    calibration: Iterable[Feeds] | None,
    cache: CalibrationCache | None,
    images: Spool,
    progress: Progress | None,
) -> Source:
    """Take ranges from the calibration, or from the cache where it holds them, and keep the images.

    images: takes the feeds. Raises InputError where there is neither, or the cache is of another
    model or method.
    """
    known = None if cache is None else cache.read()
    names = place(model, set()).values if mode == "static" else ()
    ranges: Ranges = {} if known is None else known
    if calibration is not None:
        inputs = tuple(info.name for info in model.inputs)
        found = observed_ranges(
            model,
            calibration,
            names if known is None and names else inputs,
            activations.method,
            activations.percentile,
            levels=2**activations.bits - 1,
            progress=progress,
            keep=images,
        )
        if known is None and names:
            ranges = found
            if cache is not None:
                cache.write(ranges)
    elif names and known is None:
        raise InputError("expected calibration feeds, or a calibration_cache that exists; got none")
    missing = [name for name in names if name not in ranges]
    if missing:
        raise InputError(f"calibration_cache: it holds no range of {missing[0]!r}")
    return Source(model, original, mode, activations, ranges, images, images)


def _nearest(
    model: Model,
    placement: Placement,
    quantizers: Mapping[str, Quantizer],
    node: Node,
    options: LayerOptions,
) -> Layer:
    """A layer's integers, each weight rounded by itself."""
    weight = model.weights[node.inputs[1]].numpy()
    bias: Array | None = None
    if len(node.inputs) > 2 and node.inputs[2]:
        bias = model.weights[node.inputs[2]].numpy()
    axis = 1 if node.op_type == "MatMul" else 0  # of the output channels
    return layer_integers(placement, quantizers, options, node, np.moveaxis(weight, axis, 0), bias)
