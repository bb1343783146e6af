"""LRN, InstanceNormalization, LayerNormalization, GroupNormalization, MeanVarianceNormalization,
LpNormalization and RMSNormalization.
"""

from __future__ import annotations

import math

import numpy as np

from .checks import axes_of, axis_of, broadcast_shape, per_channel, require
from .element_types import dtype_of, is_float, widened
from .registry import Array, Ints, operator


@operator("LRN")
def lrn(
    x: Array, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> Array:
    """x / (bias + alpha / size * sum of squares over `size` neighbouring channels) ** beta."""
    require(is_float(x.dtype), f"expected a float tensor, got {x.dtype}")
    require(x.ndim >= 2 and size >= 1, f"expected [N, C, ...] and size >= 1, got {x.shape}, {size}")
    wide = widened(x)
    squares = wide * wide
    channels = x.shape[1]
    sums = np.empty_like(squares)
    for c in range(channels):
        first, last = c - (size - 1) // 2, c + size // 2
        sums[:, c] = squares[:, max(0, first) : min(channels, last + 1)].sum(axis=1)
    kind = wide.dtype.type
    y = wide / (kind(bias) + kind(alpha / size) * sums) ** kind(beta)
    return y.astype(x.dtype, copy=False)


def _normalized(x: Array, axes: Ints, epsilon: float) -> tuple[Array, Array, Array]:
    """(x - mean) / sqrt(variance + epsilon) over the axes, the mean, and the inverse deviation."""
    mean = x.mean(axis=axes, keepdims=True)
    centred = x - mean
    variance = (centred * centred).mean(axis=axes, keepdims=True)
    inverse = 1 / np.sqrt(variance + x.dtype.type(epsilon))
    return centred * inverse, mean, inverse


@operator("InstanceNormalization")
def instance_normalization(x: Array, scale: Array, bias: Array, *, epsilon: float = 1e-5) -> Array:
    """Each channel of each image normalized over its positions; scale and bias [C]."""
    require(x.ndim >= 3, f"expected [N, C, spatial...], got {x.shape}")
    wide = widened(x)
    factor = per_channel(scale.astype(wide.dtype), x.ndim, "scale", x.shape[1])
    offset = per_channel(bias.astype(wide.dtype), x.ndim, "bias", x.shape[1])
    normalized, _, _ = _normalized(wide, tuple(range(2, x.ndim)), epsilon)
    return (normalized * factor + offset).astype(x.dtype, copy=False)


@operator("LayerNormalization")
def layer_normalization(
    x: Array,
    scale: Array,
    bias: Array | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
    outputs: int = 1,
) -> tuple[Array, ...]:
    """Normalized over all axes from `axis` on; also the mean and the inverse deviation.

    stash_type is the type in which mean and deviation are computed.
    """
    axes = tuple(range(axis_of(axis, x.ndim), x.ndim))
    normalized, mean, inverse = _normalized(x.astype(dtype_of(stash_type)), axes, epsilon)
    y = normalized.astype(x.dtype) * _fitting(scale, x, "scale")
    if bias is not None:
        y = y + _fitting(bias, x, "bias")
    return (y.astype(x.dtype, copy=False), mean, inverse)[:outputs]


@operator("RMSNormalization")
def rms_normalization(
    x: Array, scale: Array, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Array:
    """x / sqrt(mean of squares + epsilon) over all axes from `axis` on, times scale."""
    axes = tuple(range(axis_of(axis, x.ndim), x.ndim))
    wide = x.astype(dtype_of(stash_type))
    squares = (wide * wide).mean(axis=axes, keepdims=True)
    normalized = wide / np.sqrt(squares + wide.dtype.type(epsilon))
    return (normalized.astype(x.dtype) * _fitting(scale, x, "scale")).astype(x.dtype, copy=False)


def _fitting(values: Array, x: Array, name: str) -> Array:
    require(broadcast_shape(values, x) == x.shape, f"{name}: {values.shape} does not fit {x.shape}")
    return values


@operator("GroupNormalization")
def group_normalization(
    x: Array,
    scale: Array,
    bias: Array,
    *,
    num_groups: int,
    epsilon: float = 1e-5,
    stash_type: int = 1,
    opset: int,
) -> Array:
    """Channels normalized in groups; scale and bias [C], in opset 18 to 20 [num_groups]."""
    require(
        x.ndim >= 3 and num_groups >= 1 and x.shape[1] % num_groups == 0,
        f"num_groups: {num_groups} does not fit {x.shape}",
    )
    wide = x.astype(dtype_of(stash_type))
    grouped = wide.reshape(x.shape[0], num_groups, math.prod(x.shape[1:]) // num_groups)
    normalized = _normalized(grouped, (2,), epsilon)[0].reshape(x.shape)
    if opset < 21:
        size = x.shape[1] // num_groups
        require(scale.shape == bias.shape == (num_groups,), "expected scale and bias [num_groups]")
        scale, bias = np.repeat(scale, size), np.repeat(bias, size)
    factor = per_channel(scale.astype(wide.dtype), x.ndim, "scale", x.shape[1])
    offset = per_channel(bias.astype(wide.dtype), x.ndim, "bias", x.shape[1])
    return (normalized * factor + offset).astype(x.dtype, copy=False)


@operator("MeanVarianceNormalization")
def mean_variance_normalization(x: Array, *, axes: Ints = (0, 2, 3)) -> Array:
    """(x - mean) / (deviation + 1e-9) over the axes."""
    wide = widened(x)
    over = axes_of(axes, x.ndim)
    centred = wide - wide.mean(axis=over, keepdims=True)
    deviation = np.sqrt((centred * centred).mean(axis=over, keepdims=True))
    return (centred / (deviation + wide.dtype.type(1e-9))).astype(x.dtype, copy=False)


@operator("LpNormalization")
def lp_normalization(x: Array, *, axis: int = -1, p: int = 2) -> Array:
    """x divided by its 1- or 2-norm along `axis`; 0 where the norm is."""
    require(p in (1, 2), f"p: expected 1 or 2, got {p}")
    wide, at = widened(x), axis_of(axis, x.ndim)
    norm = np.abs(wide).sum(axis=at, keepdims=True)
    if p == 2:
        norm = np.sqrt((wide * wide).sum(axis=at, keepdims=True))
    zero = norm == 0
    y = np.where(zero, wide.dtype.type(0), wide / np.where(zero, wide.dtype.type(1), norm))
    return y.astype(x.dtype, copy=False)
