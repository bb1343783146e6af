"""BatchNormalization."""

from __future__ import annotations

import numpy as np

from .checks import per_channel, require
from .element_types import is_float, widened
from .registry import Array, operator


@operator("BatchNormalization")
def batch_normalization(
    x: Array,
    scale: Array,
    bias: Array,
    mean: Array,
    variance: Array,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
    spatial: int = 1,  # opset 7 and 8
    outputs: int = 1,
) -> tuple[Array, ...]:
    """x [N, C, ...]; the others [C] -> y, and in training mode the running mean and variance.

    (x - mean) / sqrt(variance + epsilon) * scale + bias, in x's type (at least float32).
    """
    require(is_float(x.dtype), f"expected a float tensor, got {x.dtype}")
    require(x.ndim >= 2, f"expected x [N, C, ...], got {x.shape}")
    require(spatial == 1, "spatial: expected 1, got 0 (one mean a position is not supported)")
    require(training_mode == 1 or outputs == 1, f"expected 1 output in inference, got {outputs}")
    wide = widened(x)

    def shaped(values: Array, name: str) -> Array:
        return per_channel(values.astype(wide.dtype), x.ndim, name, x.shape[1])

    used_mean, used_variance = shaped(mean, "mean"), shaped(variance, "variance")
    running: tuple[Array, ...] = ()
    if training_mode:
        axes = (0, *range(2, x.ndim))
        batch_mean, batch_variance = wide.mean(axis=axes), wide.var(axis=axes)
        keep = wide.dtype.type(momentum)
        running = (
            (mean * keep + batch_mean * (1 - keep)).astype(mean.dtype),
            (variance * keep + batch_variance * (1 - keep)).astype(variance.dtype),
        )
        used_mean, used_variance = shaped(batch_mean, "mean"), shaped(batch_variance, "variance")
    factor = shaped(scale, "scale") / np.sqrt(used_variance + wide.dtype.type(epsilon))
    y = (wide - used_mean) * factor + shaped(bias, "bias")
    return (y.astype(x.dtype, copy=False), *running)
