"""What each choice for a layer does to the network's answers, measured one layer at a time.

A choice is applied by its recipe to the part of the network around the layer, on what the float
network delivers there; the rest of the network then turns the changed part into answers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import InputError, QuantizationError
from ...model import Array, Model
from ..calibrate import Feeds
from ..layers import is_layer
from ..recipe import Recipe, apply_recipe
from ..sensitivity import MEASURED, answers, distance
from ..spool import Spool
from ..submodel import Runner, between, single_images, stages
from .space import Choice, Configuration, Space

DRAWN = 2 * MEASURED  # images: one half compresses layers, the other measures what that does
DIGITS = 6  # kept of a loss: sums of floats may differ in the last bits between machines


@dataclass(frozen=True, slots=True)
class Sample:
    """images: feeds of one image each. digest: of all images that they were drawn from."""

    images: tuple[Mapping[str, Array], ...]
    digest: str


@dataclass(frozen=True, slots=True)
class LayerTask:
    """Everything that measuring a layer needs, wherever it is measured: it can be pickled.

    model: simplified and float. images: feeds of one image each. choices: of layer `label`.
    """

    model: Model
    space: Space
    images: Sequence[Mapping[str, Array]]
    label: str
    granularity: str
    choices: Sequence[Choice]


def sample(model: Model, calibration: Iterable[Feeds], seed: int) -> Sample:
    """DRAWN of the images, drawn at random in one pass (Vitter, 1985, algorithm R).

    Raises InputError where there is none, or one lacks an input of the model.
    """
    rng, digest = np.random.default_rng(seed), hashlib.sha256()
    chosen: dict[int, Mapping[str, Array]] = {}
    places: list[int] = []
    count = 0
    for feeds in calibration:
        missing = [info.name for info in model.inputs if info.name not in feeds]
        if missing:
            raise InputError(f"calibration: expected feeds of {missing}, got {sorted(feeds)}")
        for single in single_images(model, feeds):
            for name in sorted(single):
                digest.update(np.ascontiguousarray(single[name]).tobytes())
            at = count if count < DRAWN else int(rng.integers(count + 1))
            if at < DRAWN:
                if count >= DRAWN:
                    del chosen[places[at]]
                    places[at] = count
                else:
                    places.append(count)
                chosen[count] = {name: np.array(array) for name, array in single.items()}
            count += 1
    if not count:
        raise InputError("calibration: expected feeds with at least one image, got none")
    return Sample(tuple(chosen[number] for number in sorted(chosen)), digest.hexdigest())


def measure_layer(task: LayerTask) -> list[float]:
    """The mean distance of the network's answers (see `sensitivity`) from the float ones, for each
    choice; infinite for one that the numeric contract refuses.

    Every other image is measured, the rest compresses: a layer of many weights fits the images that
    it is compressed by far better than any others.
    """
    model, label = task.model, task.label
    found = stages(model, set(task.space.layers))
    number = next(i for i, s in enumerate(found) if label in {n.label for n in s.nodes})
    starts = found[number].starts
    outputs = [info.name for info in model.outputs]
    ends = outputs if number + 1 == len(found) else list(found[number + 1].starts)
    enter = Runner(model, [info.name for info in model.inputs], starts)
    leave = Runner(model, ends, outputs)
    part = between(model, starts, ends)
    losses = []
    with Spool() as fitted, Spool() as before:
        for spool, images in (
            (fitted, task.images[::2]),
            (before, task.images[1::2] or task.images),
        ):
            for feeds in images:
                spool.append(enter.run(feeds))
        wanted = _finished(Runner(part, starts, ends), leave, before)
        changes = _Changes(part, between(model, starts, outputs), task, fitted)
        for choice in task.choices:
            try:
                changed = Runner(changes.make(choice), starts, ends)
            except QuantizationError:
                losses.append(math.inf)
                continue
            got = _finished(changed, leave, before)
            mean = sum(map(distance, wanted, got)) / len(wanted)
            losses.append(float(f"{max(0.0, mean):.{DIGITS}g}"))
    return losses


class _Changes:
    """Applies choices to a part of a network; each sparsity is pruned to once, for all widths.

    rest: from the beginning of the part to the network's outputs: pruning asks what those suffer.
    """

    def __init__(self, part: Model, rest: Model, task: LayerTask, fitted: Spool) -> None:
        self._part, self._rest, self._task, self._fitted = part, rest, task, fitted
        self._pruned: dict[float, Model] = {}

    def make(self, choice: Choice) -> Model:
        pruned = self._part
        if choice.sparsity:
            if choice.sparsity not in self._pruned:
                self._pruned[choice.sparsity] = self._prune(choice)
            pruned = self._pruned[choice.sparsity]
        if choice.weight_bits is None:
            return pruned
        original = self._part if choice.sparsity else None
        return apply_recipe(
            pruned, self._steps(pruned, choice)[-1], self._fitted, original=original
        )

    def _prune(self, choice: Choice) -> Model:
        pruned = apply_recipe(self._rest, self._steps(self._rest, choice)[0], self._fitted)
        starts, ends = (
            [i.name for i in infos] for infos in (self._part.inputs, self._part.outputs)
        )
        return between(pruned, starts, ends)

    def _steps(self, model: Model, choice: Choice) -> list[Recipe]:
        """The steps of the choice's recipe, for a model whose other layers are left alone."""
        task = self._task
        layers = [node.label for node in model.nodes if is_layer(model, node)]
        others = [label for label in layers if label != task.label]
        recipe = task.space.recipe(Configuration(task.granularity, {task.label: choice}), others)
        return [Recipe({name: recipe.steps[name]}, recipe.layers) for name in recipe.steps]


def _finished(part: Runner, leave: Runner, before: Spool) -> list[list[Array]]:
    with Spool() as after:
        for values in before:
            after.append(part.run(values))
        return answers(leave, after)
