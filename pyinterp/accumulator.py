"""Sums of quantized layers that provably stay in int32: docs/numeric-contract.md."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from .errors import QuantizationError
from .kernels.sums import count_weights, extremes, reach
from .ops.fused_spec import ConvS8

INT32 = np.iinfo(np.int32)
LARGEST_CHANGE = 1 / 16  # of an output's step

I64 = npt.NDArray[np.int64]


def fit_accumulator(spec: ConvS8, x_lo: int, x_hi: int, label: str) -> ConvS8:
    """The layer with sums that stay in int32 for all inputs in [x_lo, x_hi].

    Quantizers give a channel whose weights are tiny a scale at which its bias fits int32 just
    barely, and the sum not always. Such a channel gets a coarser scale, a power of two times its
    own. Raises QuantizationError, naming layer and channel, where that would change an output by
    more than LARGEST_CHANGE of its step: the only condition that refuses a model, with any backend.
    """
    low, high = x_lo - spec.x_zero_point, x_hi - spec.x_zero_point
    counts = count_weights(spec.weight)
    furthest = max(abs(low), abs(high)) * (counts.most - counts.least)
    if furthest + max(map(abs, extremes(spec.bias))) < 2**31:
        return spec  # nearly always, and quicker to find than what each channel can reach
    least, most = reach(spec.weight, low, high)
    bias = spec.bias.astype(np.int64)
    bad = ((bias + most > INT32.max) | (bias + least < INT32.min)).nonzero()[0]
    if not bad.size:
        return spec
    spec = replace(
        spec, weight=spec.weight.copy(), bias=spec.bias.copy(), multiplier=spec.multiplier.copy()
    )
    for channel in bad.tolist():
        weight = spec.weight[channel].astype(np.int64)
        coarse, coarse_bias, scale = _coarsened(weight, int(bias[channel]), low, high)
        change = np.abs(weight - scale * coarse).sum() * max(abs(low), abs(high))
        change += abs(int(bias[channel]) - scale * coarse_bias)
        if change * float(spec.multiplier[channel]) > LARGEST_CHANGE:
            reached = f"{bias[channel] + least[channel]}..{bias[channel] + most[channel]}"
            raise QuantizationError(
                f"{label!r}, output channel {channel}: its sum can reach {reached}, beyond int32"
            )
        spec.weight[channel], spec.bias[channel] = coarse, coarse_bias
        spec.multiplier[channel] *= np.float32(scale)
    return spec


def _coarsened(weight: I64, bias: int, low: int, high: int) -> tuple[I64, int, int]:
    """Weights and bias divided by the least power of two, rounded half to even, with which no sum
    leaves int32; and that power."""
    scale = 1
    while True:
        scale *= 2
        coarse = np.rint(weight / scale).astype(np.int64)
        coarse_bias = round(bias / scale)
        ends = low * coarse, high * coarse
        least = coarse_bias + int(np.minimum(*ends).sum())
        most = coarse_bias + int(np.maximum(*ends).sum())
        if INT32.min <= least and most <= INT32.max:
            return coarse, coarse_bias, scale
