"""Calling one reference operator, for the tests of `sparing.ops`."""

from __future__ import annotations

from typing import Any

import numpy as np

from sparing import ops
from sparing.model import Array, Node


def run(
    op_type: str, *inputs: Array | None, opset: int = 21, outputs: int = 1, **attributes: Any
) -> Any:
    """The only output, or the tuple of several."""
    names = tuple("" if a is None else f"x{i}" for i, a in enumerate(inputs))
    node = Node(op_type, names, tuple(f"y{i}" for i in range(outputs)), attributes)
    results = ops.run(node, list(inputs), opset)
    return results[0] if outputs == 1 else results


def f32(*values: Any) -> Array:
    return np.array(values, np.float32)


def i64(*values: int) -> Array:
    return np.array(values, np.int64)


def requantized(acc: int, m: np.float32, low: int, high: int, zero: int) -> int:
    """The rule of the numeric contract for one value, with Python's own rounding."""
    f = round(float(np.float32(np.float32(acc) * m)))
    return min(max(f, low - zero), high - zero) + zero
