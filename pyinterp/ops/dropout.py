"""Dropout."""

from __future__ import annotations

import numpy as np

from .checks import require, scalar
from .element_types import widened
from .registry import Array, operator


@operator("Dropout")
def dropout(
    x: Array,
    ratio_input: Array | None = None,
    training_mode: Array | None = None,
    *,
    ratio: float | None = None,  # before opset 12
    seed: int | None = None,
    opset: int,
    outputs: int,
) -> tuple[Array, ...]:
    """x itself; in training mode x with a share `ratio` set to 0 and the rest scaled up.

    The second output, where asked for, is the mask of what is kept. Training mode draws from
    NumPy's legacy generator, as ONNX's reference does, so that a seed gives the same mask.
    """
    if opset >= 12:
        require(ratio is None, "ratio is an input from opset 12 on")
        ratio = None if ratio_input is None else float(scalar(ratio_input, "ratio"))
    else:
        require(ratio_input is None, "ratio is an attribute before opset 12")
    share = 0.5 if ratio is None else ratio
    require(0 <= share < 1, f"ratio: expected 0 <= ratio < 1, got {share}")
    training = training_mode is not None and bool(scalar(training_mode, "training_mode"))
    require(seed is None or 0 <= seed < 2**32, f"seed: expected 0 to 2^32 - 1, got {seed}")
    if not training or share == 0:
        return (x, np.ones(x.shape, np.bool_))[:outputs]
    mask = np.random.RandomState(seed).uniform(0, 1.0, x.shape) >= share
    wide = widened(x)
    y = (mask * wide * wide.dtype.type(1 / (1 - share))).astype(x.dtype)
    return (y, mask)[:outputs]
