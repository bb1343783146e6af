"""Reductions: ReduceMean, ReduceSum, ReduceMax and their relatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .checks import axes_of, integers, require
from .element_types import integer_range, is_float, widened
from .registry import Array, Ints, operator

# (array, axes, keepdims) -> array
Reduction = Callable[[Array, Ints, bool], Any]


def _log_sum_exp(x: Array, axes: Ints, keep: bool) -> Array:
    require(is_float(x.dtype), f"expected a float tensor, got {x.dtype}")
    peak = x.max(axis=axes, keepdims=True, initial=-np.inf)
    peak = np.where(np.isfinite(peak), peak, peak.dtype.type(0))
    logs = np.log(np.exp(x - peak).sum(axis=axes, keepdims=True)) + peak
    return np.asarray(logs if keep else logs.squeeze(axes))


def _max(x: Array, axes: Ints, keep: bool) -> Any:
    return x.max(axis=axes, keepdims=keep, initial=_extreme(x, False))


def _min(x: Array, axes: Ints, keep: bool) -> Any:
    return x.min(axis=axes, keepdims=keep, initial=_extreme(x, True))


def _extreme(x: Array, highest: bool) -> Any:
    """What an empty minimum or maximum gives."""
    if x.dtype == np.bool_:
        return highest
    if is_float(x.dtype):
        return np.inf if highest else -np.inf
    return integer_range(x.dtype)[highest]


# name -> the reduction, and the opset in which `axes` became an input
_REDUCTIONS: dict[str, tuple[Reduction, int]] = {
    "ReduceL1": (lambda x, axes, keep: np.abs(x).sum(axis=axes, keepdims=keep), 18),
    "ReduceL2": (lambda x, axes, keep: np.sqrt((x * x).sum(axis=axes, keepdims=keep)), 18),
    "ReduceLogSum": (lambda x, axes, keep: np.log(x.sum(axis=axes, keepdims=keep)), 18),
    "ReduceLogSumExp": (_log_sum_exp, 18),
    "ReduceMax": (_max, 18),
    "ReduceMean": (lambda x, axes, keep: x.mean(axis=axes, keepdims=keep), 18),
    "ReduceMin": (_min, 18),
    "ReduceProd": (lambda x, axes, keep: x.prod(axis=axes, keepdims=keep), 18),
    "ReduceSum": (lambda x, axes, keep: x.sum(axis=axes, keepdims=keep), 13),
    "ReduceSumSquare": (lambda x, axes, keep: (x * x).sum(axis=axes, keepdims=keep), 18),
}


def _register(name: str, reduction: Reduction, axes_are_input_from: int) -> None:
    def reduced(
        x: Array,
        axes_input: Array | None = None,
        *,
        axes: Ints | None = None,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
        opset: int,
    ) -> Array:
        if opset >= axes_are_input_from:
            require(axes is None, f"axes is an input from opset {axes_are_input_from} on")
            axes = None if axes_input is None else integers(axes_input, "axes")
        else:
            require(axes_input is None, f"axes is an attribute before opset {axes_are_input_from}")
        if not axes:
            # NumPy reduces over no axes for (), element by element, as the no-op form asks.
            axes = () if noop_with_empty_axes else tuple(range(x.ndim))
        over = axes_of(axes, x.ndim)
        return np.asarray(reduction(widened(x), over, bool(keepdims))).astype(x.dtype, copy=False)

    operator(name)(reduced)


for _name, (_reduction, _opset) in _REDUCTIONS.items():
    _register(_name, _reduction, _opset)
