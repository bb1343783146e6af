"""Calibration: the range that each activation takes on sample inputs.

One pass over the feeds, batch by batch, and a fixed amount of memory a tensor: the extremes, and
for percentiles a histogram whose bins are powers of two wide, so that widening merges whole bins
and neither loses nor moves a count. The result is the same in whatever order the batches come.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import InputError, QuantizationError
from ..model import Array, Model
from .calibration_methods import METHODS, entropy_range, mse_range
from .spool import Spool
from .submodel import Runner, single_images

Feeds: TypeAlias = Mapping[str, Array]
Progress: TypeAlias = Callable[[int], None]
Ranges: TypeAlias = dict[str, tuple[float, float]]

BINS = 8192  # a bin is between 1/8192 and 1/4096 of the range: finer than an 8-bit step by far
MOMENTUM = 0.9  # of moving averages: an image counts a tenth
CHUNK = 1 << 18  # values binned at a time: keeps the temporary indices small
SMALLEST_EXPONENT = -126  # float32's normal range
FINEST = 20  # bins are at least 2^-20 of the largest magnitude: float32 resolves no finer


class Extremes:
    """Smallest and largest value seen."""

    def __init__(self) -> None:
        self.low, self.high = math.inf, -math.inf

    def update(self, values: Array) -> None:
        """values: finite floats of any shape, at least one."""
        self.low = min(self.low, float(values.min()))
        self.high = max(self.high, float(values.max()))


class MovingAverage(Extremes):
    """Exponential means of the extremes of the arrays seen; the first one sets them."""

    def update(self, values: Array) -> None:
        """values: as for `Extremes`."""
        low, high = float(values.min()), float(values.max())
        if self.low > self.high:
            self.low, self.high = low, high
        self.low += (1 - MOMENTUM) * (low - self.low)
        self.high += (1 - MOMENTUM) * (high - self.high)


class Histogram(Extremes):
    """Counts over bins `[i * 2^exponent, (i + 1) * 2^exponent)`, i from `first` on."""

    def __init__(self) -> None:
        super().__init__()
        self.exponent = SMALLEST_EXPONENT
        self.first = 0
        self.counts = np.zeros(0, np.int64)

    def update(self, values: Array) -> None:
        super().update(values)
        self._cover()
        flat = values.reshape(-1)
        for start in range(0, flat.size, CHUNK):
            index = self._bin(flat[start : start + CHUNK]) - self.first
            self.counts += np.bincount(index, minlength=self.counts.size)

    def _bin(self, values: Array) -> Array:
        # Scaling by a power of two is exact in float64, for all that float32 holds.
        return np.floor(values * np.float64(2.0**-self.exponent)).astype(np.int64)

    def _cover(self) -> None:
        """Widen and extend the bins so that they hold [low, high]."""
        ends = np.array([self.low, self.high])
        before = self.exponent
        _, magnitude = math.frexp(float(np.abs(ends).max()))
        self.exponent = max(before, magnitude - FINEST)
        while np.diff(self._bin(ends))[0] >= BINS:
            self.exponent += 1
        first, last = (int(i) for i in self._bin(ends))
        counts = np.zeros(last - first + 1, np.int64)
        moved = (np.arange(self.counts.size) + self.first) >> (self.exponent - before)
        filled = self.counts > 0  # a bin without counts may lie outside
        np.add.at(counts, moved[filled] - first, self.counts[filled])
        self.first, self.counts = first, counts

    def centers(self) -> npt.NDArray[np.float64]:
        """Of the bins."""
        return np.ldexp(np.arange(self.counts.size) + self.first + 0.5, self.exponent)

    def percentile(self, percent: float) -> float:
        """The value below which `percent` of those seen lie, to within a bin's width."""
        rank = percent / 100 * (int(self.counts.sum()) - 1)
        cumulative = np.cumsum(self.counts)
        at = int(np.searchsorted(cumulative, math.floor(rank), side="right"))
        inside = (rank - (cumulative[at] - self.counts[at]) + 0.5) / self.counts[at]
        value = math.ldexp(self.first + at + min(float(inside), 1.0), self.exponent)
        return min(max(value, self.low), self.high)


def observed_ranges(
    model: Model,
    calibration: Iterable[Feeds],
    names: Iterable[str],
    method: str = "minmax",
    percentile: float = 99.99,
    levels: int = 255,
    progress: Progress | None = None,
    keep: Spool | None = None,
) -> Ranges:
    """Value name -> (low, high) over all feeds, for float values of the graph.

    calibration: feeds `{input: array}`, batch first; they are read once.
    method: "minmax" takes the extremes, "percentile" the given percentile and its mirror image
    (percentile 99.99 leaves out a ten-thousandth at each end). progress: called with the number of
    images after each batch. keep: takes the images, for later passes.
    Raises InputError for no feeds, or feeds and arguments that do not fit; QuantizationError,
    naming the tensor, for NaN and infinity.
    """
    if method not in METHODS:
        raise InputError(f"method: expected one of {', '.join(METHODS)}, got {method!r}")
    if not isinstance(percentile, (int, float)) or not 50 < percentile <= 100:
        raise InputError(f"percentile: expected above 50 and at most 100, got {percentile!r}")
    kind = {"minmax": Extremes, "moving_average": MovingAverage}.get(method, Histogram)
    wanted = set(names)
    order = [info.name for info in model.inputs] + [o for n in model.nodes for o in n.outputs]
    statistics: dict[str, Extremes] = {name: kind() for name in order if name in wanted}

    def observe(name: str, array: Array) -> None:
        if name in statistics and array.size:
            if not (np.isfinite(array.min()) and np.isfinite(array.max())):
                raise QuantizationError(f"calibration: {name!r} holds NaN or infinity")
            statistics[name].update(array)

    batches = 0
    runner = Runner(model, (info.name for info in model.inputs), statistics)
    for feeds in calibration:
        images = _checked(model, feeds)
        for single in single_images(model, feeds):
            for name, array in runner.run(single).items():
                observe(name, array)
            if keep is not None:
                keep.append(single)
        batches += 1
        if progress is not None:
            progress(images)
    unseen = sorted(name for name, seen in statistics.items() if seen.low > seen.high)
    if not batches or unseen:
        raise InputError(
            f"calibration: expected feeds with at least one image, got {batches} batches"
            " (an iterator that was read before is empty)"
        )
    return {name: _range(seen, method, percentile, levels) for name, seen in statistics.items()}


def _range(seen: Extremes, method: str, percentile: float, levels: int) -> tuple[float, float]:
    full = seen.low, seen.high
    if not isinstance(seen, Histogram):
        return full
    if method == "percentile":
        return seen.percentile(100 - percentile), seen.percentile(percentile)
    search = mse_range if method == "mse" else entropy_range
    return search(seen.centers(), seen.counts.astype(np.float64), full, levels)


def _checked(model: Model, feeds: Feeds) -> int:
    """The number of images in a batch, which must fit the model's inputs."""
    expected = ", ".join(map(str, model.inputs))
    if not isinstance(feeds, Mapping):
        raise InputError(f"calibration: expected feeds of {expected}, got {type(feeds).__name__}")
    images = 0
    for info in model.inputs:
        array = feeds.get(info.name)
        if not isinstance(array, np.ndarray):
            raise InputError(f"calibration: expected feeds of {expected}, got {sorted(feeds)}")
        fits = info.shape is None or (
            len(info.shape) == array.ndim
            and all(
                not isinstance(want, int) or want == got
                for want, got in zip(info.shape, array.shape, strict=True)
            )
        )
        if array.dtype != info.dtype or not fits:
            raise InputError(f"calibration: expected {info}, got {array.dtype}{list(array.shape)}")
        images = array.shape[0] if array.ndim else 1
    return images
