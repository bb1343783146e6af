"""MatMul and MatMulInteger, with NumPy's rules for stacks of matrices and for vectors."""

from __future__ import annotations

import numpy as np

from ..errors import ModelError
from .checks import require, same_dtype, size_checked
from .element_types import widened
from .registry import Array, operator


@operator("MatMul")
def matmul(a: Array, b: Array) -> Array:
    """a [..., M, K], b [..., K, N] -> [..., M, N] in the inputs' type."""
    dtype = same_dtype(a, b)
    check_product(a, b)
    return np.asarray(np.matmul(widened(a), widened(b))).astype(dtype, copy=False)


@operator("MatMulInteger")
def matmul_integer(
    a: Array, b: Array, a_zero_point: Array | None = None, b_zero_point: Array | None = None
) -> Array:
    """a, b u8 or s8 -> int32. Zero points: scalar, or one a row of a, or one a column of b."""
    return multiply_integers(a, b, a_zero_point, b_zero_point).astype(np.int32)


def multiply_integers(
    a: Array, b: Array, a_zero_point: Array | None, b_zero_point: Array | None
) -> Array:
    """(a - a_zero_point) @ (b - b_zero_point), exact (float64 BLAS below 2^53), as int64."""
    check_product(a, b)
    left, right = a.astype(np.float64), b.astype(np.float64)
    if a_zero_point is not None:
        left -= along_rows(a_zero_point, a, "a_zero_point").astype(np.float64)
    if b_zero_point is not None:
        right -= along_columns(b_zero_point, b, "b_zero_point").astype(np.float64)
    return np.asarray(np.matmul(left, right)).astype(np.int64)


def along_rows(values: Array, a: Array, name: str) -> Array:
    """A scalar, [M] or [..., M, 1] parameter of a [..., M, K], shaped to broadcast with it."""
    if values.ndim == 1 and values.size != 1:
        values = values[:, None]
    return _fitting(values, a, -1, name)


def along_columns(values: Array, b: Array, name: str) -> Array:
    """A scalar, [N] or [..., 1, N] parameter of b [..., K, N]."""
    return _fitting(values, b, -2, name)


def _fitting(values: Array, matrix: Array, reduced: int, name: str) -> Array:
    if values.size == 1:
        return values.reshape(())
    expected = list(matrix.shape)
    if matrix.ndim >= 2:
        expected[reduced] = 1
    shape = (1,) * (matrix.ndim - values.ndim) + values.shape
    require(
        len(shape) == len(expected)
        and all(n in (1, m) for n, m in zip(shape, expected, strict=True)),
        f"{name}: expected one value or a shape that broadcasts to {tuple(expected)},"
        f" got {values.shape}",
    )
    return values


def check_product(a: Array, b: Array) -> None:
    """ModelError unless a @ b exists and has a sane size."""
    require(a.ndim >= 1 and b.ndim >= 1, f"expected matrices, got {a.shape} and {b.shape}")
    rows, columns = a.shape[-2:-1], b.shape[-1:] if b.ndim > 1 else ()
    depth = b.shape[-2] if b.ndim > 1 else b.shape[0]
    require(
        a.shape[-1] == depth, f"expected [..., M, K] and [..., K, N], got {a.shape} and {b.shape}"
    )
    try:
        stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ModelError(f"stacks of {a.shape} and {b.shape} do not broadcast") from None
    size_checked((*stack, *rows, *columns), np.dtype(np.float64))
