"""Masks of sparse weights: decoding in C equals the reference in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from sparing.errors import ModelError
from sparing.kernels import bits
from sparing.model import SparseTensor


@pytest.fixture(params=["c", "numpy"], autouse=True)
def decoding(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "numpy":
        monkeypatch.setattr(bits, "native_module", lambda: None)
    elif bits.native_module() is None:
        pytest.skip("Sparing was installed without a C compiler")


@pytest.mark.parametrize("dtype", ["bool", "int8", "float16", "float32", "float64", "int64"])
@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 63, 64, 65, 1000])
def test_values_come_back_at_their_places(size: int, dtype: str) -> None:
    rng = np.random.default_rng(size)
    dense = rng.integers(1, 100, size).astype(dtype)
    dense[rng.random(size) < 0.7] = 0
    tensor = SparseTensor.from_dense(dense)
    assert bits.count_bits(tensor.mask) == len(tensor.values) == np.count_nonzero(dense)
    decoded = tensor.numpy()
    assert decoded.dtype == dense.dtype and np.array_equal(decoded, dense)


def test_masks_need_not_be_contiguous() -> None:
    dense = np.array([0, 5, 0, 7, 0, 0, 9, 0] * 9, np.int8)
    tensor = SparseTensor.from_dense(dense)
    wide = np.repeat(tensor.mask, 2)[::2]
    values = np.repeat(tensor.values, 2)[::2]
    assert np.array_equal(SparseTensor(wide, values, dense.shape).numpy(), dense)


@pytest.mark.parametrize(("mask", "values"), [([0b1010_0001], 3), ([0b1010_0000], 3), ([], 0)])
def test_masks_that_do_not_fit_are_refused(mask: list[int], values: int) -> None:
    with pytest.raises(ModelError, match="does not fit"):
        SparseTensor(np.array(mask, np.uint8), np.ones(values, np.int8), (5,))
