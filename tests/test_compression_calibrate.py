"""Calibration finds ranges in one pass, in fixed memory, in any order of the batches."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from typing import Any

import models
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sparing.compression.calibrate import BINS, Extremes, Histogram, observed_ranges
from sparing.errors import InputError, QuantizationError
from sparing.formats.onnx_reader import read_onnx
from sparing.interpreter import run_graph
from sparing.model import Model

F32 = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def net() -> Model:
    return read_onnx(models.residual_net())


def feeds(count: int, batch: int = 2, seed: int = 0) -> list[dict[str, F32]]:
    rng = np.random.default_rng(seed)
    return [{"input": rng.normal(size=(batch, 3, 8, 8)).astype(np.float32)} for _ in range(count)]


def test_minmax_is_the_range_over_all_batches(net: Model) -> None:
    names = ["input", "conv1_relu", "logits"]
    seen: dict[str, list[F32]] = {name: [] for name in names}

    def observe(name: str, array: npt.NDArray[Any]) -> None:
        if name in seen:
            seen[name].append(array)

    for batch in feeds(3):
        run_graph(net, batch, observe=observe)
    ranges = observed_ranges(net, feeds(3), names)
    for name, arrays in seen.items():
        every = np.concatenate(arrays)
        # The fastest backend runs the graph: sums of up to 72 products in another order.
        bound = 72 * 2.0**-24 * float(np.abs(every).max()) * 4
        assert np.abs(np.subtract(ranges[name], (every.min(), every.max()))).max() <= bound


def test_a_one_shot_iterator_serves_and_progress_counts_images(net: Model) -> None:
    steps: list[int] = []
    for method in ("minmax", "percentile"):
        once = observed_ranges(net, iter(feeds(3)), ["logits"], method, progress=steps.append)
        assert once == observed_ranges(net, feeds(3), ["logits"], method)
    assert steps == [2] * 6


@pytest.mark.parametrize("percent", [90.0, 99.0, 99.9, 100.0])
@pytest.mark.parametrize("kind", ["normal", "laplace", "relu", "tail", "shifted"])
def test_percentiles_match_numpy_within_a_bin(kind: str, percent: float) -> None:
    rng = np.random.default_rng(3)
    values = {
        "normal": lambda: rng.normal(size=40_000),
        "laplace": lambda: rng.laplace(size=40_000) * 1e-6,
        "relu": lambda: np.maximum(rng.normal(size=40_000), 0) * 1e5,
        "tail": lambda: rng.standard_t(2, size=40_000),
        "shifted": lambda: rng.normal(size=40_000) + 300,
    }[kind]().astype(np.float32)
    histogram = Histogram()
    for part in np.split(values, [10, 300, 9_000]):
        histogram.update(part)
    width = 2.0**histogram.exponent
    # The bins span the range with at most BINS and, unless float32 itself is coarser, half of it.
    assert width <= 2 * float(np.ptp(values)) / (BINS - 2)
    for p in (percent, 100 - percent):
        # numpy interpolates between the order statistics on both sides; so may the histogram,
        # which knows each of them to within one bin.
        below = np.percentile(values, p, method="lower") - width
        above = np.percentile(values, p, method="higher") + width
        assert below <= histogram.percentile(p) <= above


floats = st.floats(-(2.0**100), 2.0**100, width=32)
arrays = hnp.arrays(np.float32, st.integers(1, 40), elements=floats)


@settings(deadline=None)
@given(st.lists(arrays, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_the_histogram_keeps_every_count_in_any_order(parts: list[F32], random: Any) -> None:
    forward, shuffled = Histogram(), Histogram()
    for part in parts:
        forward.update(part)
    mixed = list(parts)
    random.shuffle(mixed)
    for part in mixed:
        shuffled.update(part)
    every = np.concatenate(parts)
    assert int(forward.counts.sum()) == every.size
    assert forward.counts.size <= BINS
    assert (forward.low, forward.high) == (every.min(), every.max())
    assert (forward.exponent, forward.first) == (shuffled.exponent, shuffled.first)
    assert np.array_equal(forward.counts, shuffled.counts)
    index = np.floor(every.astype(np.float64) / 2.0**forward.exponent).astype(np.int64)
    expected = np.bincount(index - forward.first, minlength=forward.counts.size)
    assert np.array_equal(forward.counts, expected)
    assert forward.percentile(100) <= forward.high and forward.percentile(0) >= forward.low


def test_constant_values_have_their_own_percentile() -> None:
    for value in (0.0, 1.0, -3e-30, 1e30):
        histogram = Histogram()
        histogram.update(np.full(100, value, np.float32))
        assert histogram.percentile(99) == histogram.percentile(1) == np.float32(value)


@pytest.mark.parametrize("statistics", [Extremes, Histogram])
def test_memory_does_not_grow_with_the_values_seen(statistics: type[Extremes]) -> None:
    rng = np.random.default_rng(0)

    def peak(batches: int) -> int:
        seen = statistics()
        tracemalloc.start()
        for _ in range(batches):
            seen.update(rng.normal(size=20_000).astype(np.float32))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(2)  # first calls allocate what stays: caches of NumPy and of the interpreter
    # Wider extremes may take up to twice the bins, in two arrays; the values are 15 MB.
    assert peak(200) < peak(10) + 2 * 8 * BINS


@pytest.mark.parametrize("method", ["minmax", "percentile"])
def test_memory_does_not_grow_with_the_number_of_images(net: Model, method: str) -> None:
    def stream(count: int) -> Iterator[dict[str, F32]]:
        rng = np.random.default_rng(0)
        for _ in range(count):
            yield {"input": rng.normal(size=(4, 3, 8, 8)).astype(np.float32)}

    def collect(_: int) -> None:
        gc.collect()  # NumPy's sliding windows leave cycles behind

    def peak(count: int) -> int:
        tracemalloc.start()
        observed_ranges(net, stream(count), ["input", "logits"], method, progress=collect)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    gc.collect()
    gc.freeze()  # so that each collection looks at new objects only
    try:
        peak(2)
        # 190 more batches are 584 kB. Small objects in the interpreter's free lists come to some
        # 10 kB; two histograms may take up to twice the bins, in two arrays.
        bound = 100_000 + (2 * 2 * 8 * BINS if method == "percentile" else 0)
        assert peak(200) < peak(10) + bound
    finally:
        gc.unfreeze()


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "at least one image, got 0 batches"),
        ([{"input": np.zeros((0, 3, 8, 8), np.float32)}], "at least one image"),
        ([{"image": np.zeros((1, 3, 8, 8), np.float32)}], r"input: float32\[N, 3, 8, 8\], got"),
        ([{"input": np.zeros((1, 3, 8, 8))}], r"got float64\[1, 3, 8, 8\]"),
        ([{"input": np.zeros((1, 3, 8, 9), np.float32)}], r"got float32\[1, 3, 8, 9\]"),
        ([{"input": np.zeros((3, 8, 8), np.float32)}], r"got float32\[3, 8, 8\]"),
        ([np.zeros((1, 3, 8, 8), np.float32)], "got ndarray"),
        ([{"input": [[1.0]]}], "expected feeds of input"),
    ],
)
def test_wrong_feeds_are_named(net: Model, batches: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        observed_ranges(net, batches, ["logits"])


def test_an_iterator_that_was_read_before_is_an_error(net: Model) -> None:
    once = iter(feeds(2))
    observed_ranges(net, once, ["logits"])
    with pytest.raises(InputError, match="read before is empty"):
        observed_ranges(net, once, ["logits"])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_name_the_tensor(net: Model, value: float) -> None:
    (batch,) = feeds(1)
    batch["input"][1, 2, 3, 4] = value
    with pytest.raises(QuantizationError, match="'input' holds NaN or infinity"):
        observed_ranges(net, [batch], ["logits", "input"])


@pytest.mark.parametrize(
    "arguments", [{"method": "median"}, {"percentile": 50}, {"percentile": "high"}]
)
def test_wrong_arguments_are_named(net: Model, arguments: dict[str, Any]) -> None:
    (name,) = arguments
    with pytest.raises(InputError, match=f"^{name}: expected"):
        observed_ranges(net, feeds(1), ["logits"], **arguments)
