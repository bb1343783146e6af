"""Sums of weights by channel, against plain int64 arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from sparing.kernels import sums
from sparing.kernels.sums import channel_sums, reach


@pytest.mark.parametrize("dtype", [np.int8, np.int16])
@pytest.mark.parametrize("shape", [(3, 5, 2, 2), (4, 1), (2, 0), (2, 3 * 2**16 + 7)])
def test_sums_and_reach(shape: tuple[int, ...], dtype: type) -> None:
    info = np.iinfo(dtype)
    weight = np.random.default_rng(0).integers(info.min, info.max, shape, dtype, endpoint=True)
    wide = weight.reshape(len(weight), -1).astype(np.int64)
    assert np.array_equal(channel_sums(weight), wide.sum(axis=1))
    for low, high in ((0, 255), (-128, 127), (3, 9), (-9, -3)):
        least, most = reach(weight, low, high)
        assert np.array_equal(least, np.minimum(low * wide, high * wide).sum(axis=1))
        assert np.array_equal(most, np.maximum(low * wide, high * wide).sum(axis=1))


@pytest.mark.parametrize("value", [-(2**15), 2**15 - 1])
def test_the_largest_sums_do_not_wrap(value: int) -> None:
    weight = np.full((1, 2 * sums.BLOCK), value, np.int16)
    assert channel_sums(weight)[0] == value * 2 * sums.BLOCK
