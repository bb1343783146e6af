"""Labelled data for training: arrays that are shuffled, or batches as the caller makes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..image_data import Images
from ..model import Array, Model

Labels: TypeAlias = npt.NDArray[np.int64]
Batch: TypeAlias = tuple[Mapping[str, Array], Labels]
# (images, labels), images with labels, or an iterable of (feeds, labels)
Dataset: TypeAlias = tuple[Array, Array] | Images | Iterable[tuple[Mapping[str, Array], Array]]


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """Batches (feeds, labels), checked against a model, as often as wanted.

    arrays: images [N, ...] and labels [N], drawn in a new order each time; else `batches`, in
    theirs. count: batches in one pass.
    """

    model: Model
    arrays: tuple[Array, Labels] | None
    batches: Iterable[Any]
    batch_size: int
    count: int

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """One pass. Raises InputError for what does not fit the model, or another count."""
        seen = 0
        for batch in self._batches(rng):
            yield _checked(self.model, batch)
            seen += 1
        if seen != self.count:
            raise InputError(f"dataset: expected {self.count} batches in each pass, got {seen}")

    def _batches(self, rng: np.random.Generator) -> Iterator[Any]:
        if self.arrays is None:
            yield from self.batches
            return
        images, labels = self.arrays
        order = rng.permutation(len(images))
        for start in range(0, self.count * self.batch_size, self.batch_size):
            chosen = np.sort(order[start : start + self.batch_size])
            yield {self.model.inputs[0].name: images[chosen]}, labels[chosen]


def training_data(model: Model, dataset: Dataset, batch_size: int) -> TrainingData:
    """The dataset, whichever form it has; `batch_size` is for arrays.

    Arrays fill whole batches: the rest of each shuffled pass is left out, except where there are
    fewer images than one batch. Batches are counted by `len` where the dataset has it, else by one
    pass. Raises InputError for other forms, iterators that can be read once only, and no images.
    """
    if isinstance(dataset, tuple) and len(dataset) == 2 and isinstance(dataset[0], np.ndarray):
        images, labels = dataset
        if len(model.inputs) != 1:
            raise InputError(f"dataset: a model with {len(model.inputs)} inputs needs feeds")
        feeds, checked = _checked(model, ({model.inputs[0].name: images}, labels))
        size = min(batch_size, len(checked))
        arrays = feeds[model.inputs[0].name], checked
        return TrainingData(model, arrays, (), size, len(checked) // size)
    if isinstance(dataset, Images):
        if dataset.labels is None:
            raise InputError("dataset: expected labelled images, got images without labels")
        count = -(-len(dataset) // dataset.batch)
        return TrainingData(model, None, _Labelled(dataset, dataset.labels), dataset.batch, count)
    if not isinstance(dataset, Iterable):
        raise InputError(
            "dataset: expected (images, labels) arrays or an iterable of (feeds, labels), got "
            f"{type(dataset).__name__}"
        )
    if iter(dataset) is dataset:
        raise InputError("dataset: expected what can be read many times, got an iterator")
    count = len(dataset) if isinstance(dataset, Sized) else sum(1 for _ in dataset)
    if not count:
        raise InputError("dataset: expected at least one batch, got none")
    return TrainingData(model, None, dataset, batch_size, count)


@dataclass(frozen=True, slots=True, eq=False)
class _Labelled:
    images: Images
    labels: Labels

    def __iter__(self) -> Iterator[Batch]:
        start = 0
        for feeds in self.images:
            end = start + self.images.batch
            yield feeds, self.labels[start:end]
            start = end


def _checked(model: Model, batch: object) -> Batch:
    expected = ", ".join(map(str, model.inputs))
    if not (isinstance(batch, tuple) and len(batch) == 2 and isinstance(batch[0], Mapping)):
        raise InputError(f"dataset: expected (feeds, labels), got {type(batch).__name__}")
    feeds, labels = batch[0], np.asarray(batch[1])
    if feeds.keys() != {info.name for info in model.inputs}:
        raise InputError(f"dataset: expected feeds of {expected}, got {sorted(feeds)}")
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not labels.size:
        raise InputError(
            f"dataset: expected labels [N], integers, got {labels.dtype}{list(labels.shape)}"
        )
    for info in model.inputs:
        array = feeds[info.name]
        shape = (*labels.shape, *(info.shape or ())[1:])
        fits = isinstance(array, np.ndarray) and array.shape[:1] == labels.shape
        if not fits or array.dtype != info.dtype or not _matches(shape, array, info.shape is None):
            got = f"{array.dtype}{list(array.shape)}" if isinstance(array, np.ndarray) else array
            raise InputError(f"dataset: expected {info} for {labels.size} labels, got {got}")
    return feeds, labels.astype(np.int64)


def _matches(shape: tuple[object, ...], array: Array, any_rank: bool) -> bool:
    """Whether the array has the fixed ones of the model's dimensions behind the batch's."""
    return any_rank or (
        len(shape) == array.ndim
        and all(
            not isinstance(want, int) or want == got
            for want, got in zip(shape, array.shape, strict=True)
        )
    )
