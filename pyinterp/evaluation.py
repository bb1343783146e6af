"""How good a model is: its accuracy, and how near its answers are to another model's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .compression.layers import is_layer
from .compression.opset import raise_opset
from .errors import InputError
from .fold import simplify
from .formats import load
from .image_data import Images
from .interpreter import run_graph
from .model import Array, Model
from .session import BackendChoice, Session

Source: TypeAlias = Model | Session | str | os.PathLike[str]
F64: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `evaluate` measured on `images` images; None for what was not asked for.

    top1: fraction whose highest score is the label's. agreement: fraction whose highest score is
    the same class as the other model's. kl_divergence: mean over the images, in nats, of
    KL(other || model) of the class probabilities. sqnr_db: signal (the other model's outputs) to
    error, in decibels; infinite for equal outputs.
    """

    images: int
    top1: float | None = None
    other_top1: float | None = None
    agreement: float | None = None
    kl_divergence: float | None = None
    sqnr_db: float | None = None


def evaluate(
    model: Source,
    data: Iterable[Mapping[str, Array]],
    labels: npt.ArrayLike | None = None,
    against: Source | None = None,
    *,
    backend: BackendChoice = "auto",
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Run a classifier on data and compare it with the labels and with another model.

    data: feeds, batch first; `sparing.images` makes them, and brings its labels along. labels:
    class indices [N], in the order of the images. against: usually the float model. progress:
    called with the images of each batch. The first output must hold class scores [N, classes].
    Raises InputError where there is nothing to compare with, or shapes do not fit.
    """
    if labels is None and isinstance(data, Images):
        labels = data.labels
    if labels is None and against is None:
        raise InputError("expected labels or another model to compare with, got neither")
    session = _session(model, backend, threads)
    other = None if against is None else _session(against, backend, threads)
    known = None if labels is None else np.asarray(labels)
    tally = _Tally()
    for feeds in data:
        scores = class_scores(session.run(None, feeds)[0])
        size = len(scores)
        if known is not None:
            wanted = known[tally.images : tally.images + size]
            if len(wanted) != size:
                raise InputError(f"expected a label for every image, got {len(known)} labels")
            tally.hits += int((scores.argmax(1) == wanted).sum())
        if other is not None:
            reference = class_scores(other.run(None, feeds)[0])
            if reference.shape != scores.shape:
                raise InputError(
                    f"expected two models with the same classes, got {scores.shape[1]} and "
                    f"{reference.shape[1]}"
                )
            tally.compare(scores, reference)
            if known is not None:
                tally.other_hits += int((reference.argmax(1) == wanted).sum())
        tally.images += size
        if progress is not None:
            progress(size)
    if not tally.images:
        raise InputError("expected feeds with at least one image, got none")
    return tally.result(known is not None, other is not None)


def _session(model: Source, backend: BackendChoice, threads: int | None) -> Session:
    return model if isinstance(model, Session) else Session(model, backend, threads)


@dataclass(slots=True)
class _Tally:
    images: int = 0
    hits: int = 0
    other_hits: int = 0
    same: int = 0
    divergence: float = 0.0
    noise: SignalToNoise = field(default_factory=lambda: SignalToNoise())

    def compare(self, scores: Array, reference: Array) -> None:
        self.same += int((scores.argmax(1) == reference.argmax(1)).sum())
        p, q = log_probabilities(reference), log_probabilities(scores)
        # a class that the other model excludes adds nothing, though its logarithm is -inf
        terms = np.where(p == -np.inf, 0.0, np.exp(p) * (p - q))
        self.divergence += float(terms.sum())
        self.noise.add(scores, reference)

    def result(self, has_labels: bool, has_other: bool) -> Evaluation:
        n = self.images
        return Evaluation(
            images=n,
            top1=self.hits / n if has_labels else None,
            other_top1=self.other_hits / n if has_labels and has_other else None,
            agreement=self.same / n if has_other else None,
            kl_divergence=self.divergence / n if has_other else None,
            sqnr_db=self.noise.decibels() if has_other else None,
        )


class SignalToNoise:
    """Signal-to-quantization-noise ratio, summed up over batches in float64."""

    def __init__(self) -> None:
        self._signal = self._noise = 0.0

    def add(self, values: Array, reference: Array) -> None:
        wide = reference.astype(np.float64)
        self._signal += float(np.square(wide).sum())
        self._noise += float(np.square(wide - values).sum())

    def decibels(self) -> float:
        """10 log10(signal / noise): infinite without noise, -infinite for noise alone."""
        if self._noise == 0:
            return float("inf")
        with np.errstate(divide="ignore"):
            return float(10 * np.log10(self._signal / self._noise))


def class_scores(output: Array) -> Array:
    """Scores as [N, classes]; InputError for an output of another form."""
    if output.ndim > 2 and output.size == np.prod(output.shape[:2]):
        output = output.reshape(output.shape[:2])  # [N, classes, 1, 1]
    if output.ndim != 2 or not output.shape[1]:
        raise InputError(f"expected class scores [N, classes], got an output of {output.shape}")
    return output


def log_probabilities(scores: Array) -> F64:
    """Natural logarithms of the softmax of [N, classes], in float64.

    Scores that are probabilities already (no negative ones, each row sums to 1) stay as they are.
    """
    wide = scores.astype(np.float64)
    # 1e-3: what quantizing probabilities to 8 bits adds up to over a row
    if (wide >= 0).all() and np.allclose(wide.sum(1), 1, rtol=0, atol=1e-3):
        with np.errstate(divide="ignore"):
            return np.log(wide)
    shifted = wide - wide.max(axis=1, keepdims=True)
    result: F64 = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def layer_sqnr(
    model: Model | str | os.PathLike[str],
    against: Model | str | os.PathLike[str],
    data: Iterable[Mapping[str, Array]],
) -> dict[str, float]:
    """Signal to error, in decibels, after each layer that both models name alike.

    Runs the graphs by the reference operators, so use a few images. Layers are those of `against`
    (the float model) after BatchNorm is folded; of the quantized model the output is taken as it is
    before its own quantizer, so the error is what came in plus what the weights add.
    """
    first, second = (m if isinstance(m, Model) else load(m) for m in (model, against))
    folded = simplify(raise_opset(simplify(second)))
    made = first.producers()
    layers = {
        node.outputs[0]: node.label
        for node in folded.nodes
        if is_layer(folded, node) and node.outputs[0] in made
    }
    ratios = {name: SignalToNoise() for name in layers}
    for feeds in data:
        want = run_graph(folded, feeds, layers)
        got = run_graph(first, feeds, layers)
        for name, ratio in ratios.items():
            if got[name].shape == want[name].shape:
                ratio.add(got[name], want[name])
    return {label: ratios[name].decibels() for name, label in layers.items()}
