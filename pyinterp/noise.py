"""Seeded noise as a model's input, for timing and for examples that have no data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .model import Array, TensorInfo


def noise_feeds(
    inputs: Sequence[TensorInfo], shapes: Mapping[str, Sequence[int]], seed: int = 0
) -> dict[str, Array]:
    """Normal noise for floats, uniform for integers (0 to 127) and booleans.

    Never zeros: they flatter sparse and saturating kernels.
    """
    rng = np.random.default_rng(seed)
    feeds: dict[str, Array] = {}
    for info in inputs:
        shape = tuple(shapes[info.name])
        if info.dtype.kind == "f":
            feeds[info.name] = rng.standard_normal(shape, np.float32).astype(info.dtype)
        else:
            highest = 1 if info.dtype.kind == "b" else 127
            feeds[info.name] = rng.integers(0, highest, shape, endpoint=True).astype(info.dtype)
    return feeds
