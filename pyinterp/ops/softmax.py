"""Softmax and LogSoftmax."""

from __future__ import annotations

import math

import numpy as np

from .checks import axis_of, require
from .element_types import is_float, widened
from .registry import Array, operator


@operator("Softmax")
def softmax(x: Array, *, axis: int | None = None, opset: int) -> Array:
    """exp(x) / sum(exp(x)) along `axis` (last by default); before opset 13 over all axes from
    `axis` (1 by default) to the last taken together.
    """
    shifted = _shifted(x, axis, opset)
    powers = np.exp(shifted)
    return (powers / powers.sum(axis=1, keepdims=True)).astype(x.dtype).reshape(x.shape)


@operator("LogSoftmax")
def log_softmax(x: Array, *, axis: int | None = None, opset: int) -> Array:
    """The logarithm of Softmax, computed without forming it."""
    shifted = _shifted(x, axis, opset)
    logs = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return (shifted - logs).astype(x.dtype).reshape(x.shape)


def _shifted(x: Array, axis: int | None, opset: int) -> Array:
    """x less its maximum, as [outer, reduced, inner]; middle axis is what is summed over."""
    require(is_float(x.dtype), f"expected a float tensor, got {x.dtype}")
    at = axis_of((-1 if opset >= 13 else 1) if axis is None else axis, x.ndim)
    until = at + 1 if opset >= 13 else x.ndim
    outer, reduced = math.prod(x.shape[:at]), math.prod(x.shape[at:until])
    wide = widened(x).reshape(outer, reduced, math.prod(x.shape[until:]))
    return np.asarray(wide - wide.max(axis=1, keepdims=True, initial=-np.inf))
