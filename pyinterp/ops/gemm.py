"""Gemm: alpha * A' B' + beta * C."""

from __future__ import annotations

import numpy as np

from ..errors import ModelError
from .checks import require, same_dtype, size_checked
from .element_types import is_float, widened
from .registry import Array, operator


@operator("Gemm")
def gemm(
    a: Array,
    b: Array,
    c: Array | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,  # ONNX's spelling
    transB: int = 0,
) -> Array:
    """a [M, K] (or [K, M] with transA), b [K, N] (or [N, K]), c broadcast to [M, N] -> [M, N]."""
    dtype = same_dtype(a, b) if c is None else same_dtype(a, b, c)
    require(a.ndim == 2 and b.ndim == 2, f"expected matrices, got {a.shape} and {b.shape}")
    left, right = widened(a.T if transA else a), widened(b.T if transB else b)
    require(
        left.shape[1] == right.shape[0],
        f"expected [M, K] and [K, N], got {left.shape} and {right.shape}",
    )
    shape = size_checked((left.shape[0], right.shape[1]), left.dtype)
    y = left @ right
    if alpha != 1.0:
        y *= left.dtype.type(alpha) if is_float(left.dtype) else int(alpha)
    if c is not None:
        try:
            addend = np.broadcast_to(widened(c), shape)
        except ValueError:
            raise ModelError(
                f"c: expected a shape that broadcasts to {shape}, got {c.shape}"
            ) from None
        y += addend if beta == 1.0 else addend * left.dtype.type(beta)
    return y.astype(dtype, copy=False)
