"""Sums and counts of weights, against plain int64 arithmetic."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from sparing.kernels import sums
from sparing.kernels.step import Array
from sparing.kernels.sums import count_nonzeros, count_weights, per_weight, reach


@pytest.fixture(params=["as installed", "NumPy"])
def counting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the C kernels where they are installed, and without them."""
    if request.param == "NumPy":
        monkeypatch.setattr(sums, "native_module", lambda: None)


def weights(shape: tuple[int, ...], dtype: type) -> Array:
    info, rng = np.iinfo(dtype), np.random.default_rng(0)
    values = rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    values[rng.random(shape) < 0.7] = 0
    return values


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize("dtype", [np.int8, np.int16])
@pytest.mark.parametrize(
    "shape",
    [(3, 5, 2, 2), (4, 1), (2, 0), (2, 3 * 2**16 + 7), (5, 8, 3, 3), (7, 12), (0, 4)]
    + [(3, columns, 1, 1) for columns in (24, 32, 36, 93, 100)],
)
def test_counts_and_reach(shape: tuple[int, ...], dtype: type) -> None:
    weight = weights(shape, dtype)
    wide = weight.astype(np.int64).reshape(shape[0], int(np.prod(shape[1:])))
    counts = count_weights(weight)
    assert np.array_equal(counts.sums, wide.sum(axis=1))
    assert np.array_equal(counts.positive, np.maximum(wide, 0).sum(axis=1))
    assert counts.most == max(counts.positive, default=0)
    assert counts.least == min(np.minimum(wide, 0).sum(axis=1), default=0)
    assert counts.nonzeros == count_nonzeros(weight) == np.count_nonzero(weight)
    if shape[1] % 4 == 0:
        words = weight.reshape(shape[0], shape[1] // 4, 4, *shape[2:])
        assert counts.blocks == np.count_nonzero(words.any(axis=2))
    for low, high in ((0, 255), (-128, 127), (3, 9), (-9, -3)):
        least, most = reach(weight, low, high)
        assert np.array_equal(least, np.minimum(low * wide, high * wide).sum(axis=1))
        assert np.array_equal(most, np.maximum(low * wide, high * wide).sum(axis=1))


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize(
    ("value", "dtype"), [(-(2**15), np.int16), (2**15 - 1, np.int16), (-128, np.int8)]
)
def test_the_largest_sums_do_not_wrap(value: int, dtype: type) -> None:
    size = 2 * sums.BLOCK if dtype == np.int16 else 2**25  # beyond int32 either way
    assert count_weights(np.full((1, size), value, dtype)).sums[0] == value * size


def test_answers_are_kept_as_long_as_a_weight_that_cannot_change() -> None:
    asked = []

    @per_weight
    def ask(weight: Array) -> int:
        asked.append(weight[0])
        return len(asked)

    weight = np.array([7])
    assert (ask(weight), ask(weight)) == (1, 2)  # may have changed in between
    weight.flags.writeable = False
    assert (ask(weight), ask(weight)) == (3, 3)
    other = np.array([8])
    other.flags.writeable = False
    assert (ask(other), ask(weight)) == (4, 3)
    del weight
    gc.collect()
    again = np.array([7])
    again.flags.writeable = False
    assert ask(again) == 5


def test_floats_are_counted() -> None:
    assert count_nonzeros(np.array([[0.0, -0.0, 1e-40, np.nan]], np.float32)) == 2
