"""From what calibration counted to the range of a quantizer.

- "minmax": the extremes.
- "moving_average": an exponential mean of each image's extremes (Jacob et al., 2018,
  arXiv:1712.05877, section 3.1).
- "percentile": leaves out a fixed share of the values at each end.
- "mse": the least mean squared error of clipping and rounding together (Nagel et al., 2021,
  arXiv:2106.08295, section 3.1).
- "entropy": the least Kullback-Leibler divergence between the values' distribution and its
  quantized form (Migacz, "8-bit inference with TensorRT", GTC 2017).

The last three work on a histogram (`calibrate.Histogram`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
Range = tuple[float, float]

METHODS = ("minmax", "moving_average", "percentile", "mse", "entropy")

_SHARES = np.linspace(1.0, 0.3, 71)  # of the full range, tried as ends of the clipped one
_ROUNDS = 2


def mse_range(centers: F64, counts: F64, full: Range, levels: int) -> Range:
    """The range that `levels + 1` even steps serve best, by mean squared error.

    centers, counts: of the histogram's bins. full: the extremes, between which the ends are
    searched: both together, then each by itself.
    """

    def best(candidates: list[Range]) -> Range:
        errors = [float(_squared_error(centers, counts, c, levels)) for c in candidates]
        return candidates[int(np.argmin(errors))]

    low, high = min(full[0], 0.0), max(full[1], 0.0)
    chosen = best([(low * share, high * share) for share in _SHARES])
    for _ in range(_ROUNDS):
        if low < 0:
            chosen = best([chosen, *((low * share, chosen[1]) for share in _SHARES)])
        if high > 0:
            chosen = best([chosen, *((chosen[0], high * share) for share in _SHARES)])
    return chosen


def _squared_error(centers: F64, counts: F64, ends: Range, levels: int) -> np.float64:
    step = (ends[1] - ends[0]) / levels
    if step <= 0:
        return np.float64((counts * centers**2).sum())
    zero = np.rint(-ends[0] / step)
    q = np.clip(np.rint(centers / step), -zero, levels - zero)
    return np.float64((counts * (q * step - centers) ** 2).sum())


def entropy_range(centers: F64, counts: F64, full: Range, levels: int) -> Range:
    """The range whose quantized distribution diverges least from the clipped one.

    Both ends shrink together. What is clipped counts at the ends; a level spreads its counts
    evenly over those of its bins that are not empty.
    """
    low, high = min(full[0], 0.0), max(full[1], 0.0)
    candidates = [(low * share, high * share) for share in _SHARES]
    divergences = [_divergence(centers, counts, c, levels) for c in candidates]
    return candidates[int(np.argmin(divergences))]


def _divergence(centers: F64, counts: F64, ends: Range, levels: int) -> float:
    step = (ends[1] - ends[0]) / levels
    inside = (centers >= ends[0]) & (centers <= ends[1])
    if step <= 0 or not inside.any():
        return np.inf
    kept = counts[inside]
    p = kept.copy()
    p[0] += counts[centers < ends[0]].sum()
    p[-1] += counts[centers > ends[1]].sum()
    level = np.rint((centers[inside] - ends[0]) / step).astype(np.int64)
    filled = kept > 0
    sums = np.bincount(level, weights=kept, minlength=levels + 2)
    bins = np.bincount(level, weights=filled, minlength=levels + 2)
    q = np.where(filled, sums[level] / np.maximum(bins[level], 1), 0.0)
    p, q = p / p.sum(), q / max(q.sum(), 1e-300)
    tiny = 1e-12  # an empty end bin that takes clipped values has no q of its own
    some = p > 0
    return float((p[some] * np.log(p[some] / np.maximum(q[some], tiny))).sum())
