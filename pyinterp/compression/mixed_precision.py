"""How sensitive each layer is to quantization, and which layers get more bits or stay in float.

A layer's sensitivity is what its quantization alone does to the network's answers on calibration
images (or what sparing it brings when all others are quantized), each weight rounded by itself.
Mixed precision gives 8 bits to the most sensitive layers, as few as keep the whole network, rounded
as asked, within a divergence; where 8 bits everywhere are not enough, the most sensitive of them
stay in float. Source of the criterion: Dong et al., 2019, arXiv:1905.03696, who rank layers so, by
Hessians; here the loss is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np

from ..errors import InputError, QuantizationError
from ..fold import simplify
from ..model import Array, Model
from .calibrate import Feeds, Progress
from .layers import refuse_quantized
from .opset import raise_opset
from .quantize_graph import Source, calibrated, placement_of
from .quantize_options import ActivationOptions, LayerOptions
from .sensitivity import answers, distance, sampled
from .spool import Spool
from .submodel import Runner

Options = Mapping[str, LayerOptions]

WIDEST = 8


@dataclass(frozen=True, slots=True)
class LayerSensitivity:
    """divergence: mean Kullback-Leibler divergence from the float answers, in nats, where outputs
    are class scores [N, classes]; else their squared error in units of their mean square. sqnr_db:
    signal to error of all outputs, in decibels; infinite where they do not change.
    """

    label: str
    divergence: float
    sqnr_db: float


def sensitivity(
    model: Model,
    calibration: Iterable[Feeds],
    *,
    weight_bits: int = 8,
    activation_bits: int = 8,
    per_channel: bool = True,
    method: str = "mse",
    percentile: float = 99.99,
    all_but: bool = False,
    progress: Progress | None = None,
    on_layer: Callable[[str], None] | None = None,
) -> tuple[LayerSensitivity, ...]:
    """What quantizing each Conv, Gemm and MatMul alone does to the answers, in graph order.

    all_but: quantize all layers but the one instead. The other arguments are those of `quantize`;
    weights round each by itself. Answers are compared on up to 32 of the calibration images.
    on_layer: called with the label of each layer that is done.
    Raises InputError for arguments and feeds that do not fit, ModelError for a quantized model.
    """
    option = LayerOptions(weight_bits, per_channel, "nearest", False)
    option.check("sensitivity")
    activations = ActivationOptions(activation_bits, method, percentile, False, False)
    activations.check()
    refuse_quantized(model, "give the float model")
    prepared = simplify(raise_opset(simplify(model)))
    labels = [node.label for node in prepared.nodes]
    layers = [node.label for node in placement_of(prepared, "static", labels).layers]
    if not layers:
        raise InputError("expected a layer to quantize (Conv, Gemm or MatMul), found none")
    with Spool() as images:
        source = calibrated(
            prepared, prepared, "static", activations, calibration, None, images, progress
        )
        with Comparison(source) as comparison:
            found = []
            for label in layers:
                chosen = [other for other in layers if (other == label) != all_but]
                found.append(comparison.measure(label, dict.fromkeys(chosen, option)))
                if on_layer is not None:
                    on_layer(label)
    return tuple(found)


class Comparison:
    """Compares quantized forms of a model with its float answers, on a sample of the images."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._inputs = [info.name for info in source.model.inputs]
        self._outputs = [info.name for info in source.model.outputs]
        self._opened = ExitStack()
        self._images = self._opened.enter_context(sampled(source.images))
        self._wanted = self._answers(source.model)

    def _answers(self, model: Model) -> list[list[Array]]:
        return answers(Runner(model, self._inputs, self._outputs), self._images)

    def measure(self, label: str, options: Options) -> LayerSensitivity:
        """What quantizing the layers of `options`, and no others, does to the answers."""
        got = self._answers(self.source.quantized(options)) if options else self._wanted
        divergence = sum(map(distance, self._wanted, got)) / len(got)
        return LayerSensitivity(label, divergence, _sqnr(self._wanted, got))

    def __enter__(self) -> Comparison:
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()


def _sqnr(wanted: list[list[Array]], got: list[list[Array]]) -> float:
    signal = noise = 0.0
    for before, after in zip(wanted, got, strict=True):
        for one, two in zip(before, after, strict=True):
            wide = one.astype(np.float64)
            signal += float(np.square(wide).sum())
            noise += float(np.square(wide - two).sum())
    return 10 * math.log10(signal / noise) if signal and noise else math.inf


def chosen_options(source: Source, options: Options, limit: float | None) -> Options:
    """The options with more bits for some layers, or without them, so that the limit holds.

    options: label -> what was asked for. limit: of the divergence; None leaves all as it is.
    Raises QuantizationError where no layer but float ones would be left.
    """
    if limit is None:
        return options
    with Comparison(source) as comparison:
        if comparison.measure("", options).divergence <= limit:
            return options
        widened = {label: replace(option, weight_bits=WIDEST) for label, option in options.items()}
        for spared in (widened, {}):
            order = _most_sensitive(comparison, options, spared)
            count = _fewest(comparison, options, spared, order, limit)
            options = _spared(options, spared, order[:count])
            if count < len(order):
                return options
    if options:
        return options
    raise QuantizationError(
        f"max_divergence: {limit} holds only where every layer stays in float; a larger one, or "
        "more bits, are needed"
    )


def _spared(options: Options, spared: Options, labels: Iterable[str]) -> Options:
    """The options, for these layers those of `spared`; a layer that is in neither stays float."""
    chosen = {label for label in labels}
    changed = {
        label: spared.get(label) if label in chosen else option for label, option in options.items()
    }
    return {label: option for label, option in changed.items() if option is not None}


def _most_sensitive(comparison: Comparison, options: Options, spared: Options) -> list[str]:
    """Labels of the layers that sparing changes, those first whose quantization costs most."""
    costs = {}
    for label, option in options.items():
        if spared.get(label) != option:
            alone = replace(option, rounding="nearest", bias_correction=False)
            costs[label] = comparison.measure(label, {label: alone}).divergence
    return sorted(costs, key=lambda label: -costs[label])


def _fewest(
    comparison: Comparison, options: Options, spared: Options, order: list[str], limit: float
) -> int:
    """How many layers of the order have to be spared, by bisection; all where none are enough."""
    low, high = 0, len(order)
    while high - low > 1:
        middle = (low + high) // 2
        tried = _spared(options, spared, order[:middle])
        if comparison.measure("", tried).divergence <= limit:
            high = middle
        else:
            low = middle
    return high
