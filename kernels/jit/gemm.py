"""Integer matrix product of uint8 rows with int8 or int16 weights, in two forms.

Long rows: dot products, four rows by four rows at a time, because each loaded vector then serves
four products; LLVM turns the inner loop into vpmaddwd (or its VNNI form) by itself. Short rows,
where adding up a vector's lanes would cost more than the products: sums of weight columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import int32

from ...ops.fused_spec import GemmS8
from ..step import Array, Layout, Shape, Step
from ..sums import fold_zero_point
from .base import JitStep, compiled

K_ALIGN = 64  # rows are zero-filled to whole vectors: LLVM's tail loops are slow
TILE = 4


def _round_up(n: int, to: int) -> int:
    return -(-n // to) * to


@compiled
def _tile(a: Array, i: int, w: Array, j: int, out: Array) -> None:
    """out[i:i+4, j:j+4] = a[i:i+4] @ w[j:j+4].T, modulo 2^32."""
    a0, a1, a2, a3 = a[i], a[i + 1], a[i + 2], a[i + 3]
    w0, w1, w2, w3 = w[j], w[j + 1], w[j + 2], w[j + 3]
    s00 = s01 = s02 = s03 = int32(0)
    s10 = s11 = s12 = s13 = int32(0)
    s20 = s21 = s22 = s23 = int32(0)
    s30 = s31 = s32 = s33 = int32(0)
    for k in range(a.shape[1]):
        x0, x1, x2, x3 = int32(a0[k]), int32(a1[k]), int32(a2[k]), int32(a3[k])
        y0, y1, y2, y3 = int32(w0[k]), int32(w1[k]), int32(w2[k]), int32(w3[k])
        s00 = int32(s00 + x0 * y0)
        s01 = int32(s01 + x0 * y1)
        s02 = int32(s02 + x0 * y2)
        s03 = int32(s03 + x0 * y3)
        s10 = int32(s10 + x1 * y0)
        s11 = int32(s11 + x1 * y1)
        s12 = int32(s12 + x1 * y2)
        s13 = int32(s13 + x1 * y3)
        s20 = int32(s20 + x2 * y0)
        s21 = int32(s21 + x2 * y1)
        s22 = int32(s22 + x2 * y2)
        s23 = int32(s23 + x2 * y3)
        s30 = int32(s30 + x3 * y0)
        s31 = int32(s31 + x3 * y1)
        s32 = int32(s32 + x3 * y2)
        s33 = int32(s33 + x3 * y3)
    out[i, j], out[i, j + 1], out[i, j + 2], out[i, j + 3] = s00, s01, s02, s03
    out[i + 1, j], out[i + 1, j + 1], out[i + 1, j + 2], out[i + 1, j + 3] = s10, s11, s12, s13
    out[i + 2, j], out[i + 2, j + 1], out[i + 2, j + 2], out[i + 2, j + 3] = s20, s21, s22, s23
    out[i + 3, j], out[i + 3, j + 1], out[i + 3, j + 2], out[i + 3, j + 3] = s30, s31, s32, s33


@compiled
def _row_tile(a: Array, i: int, w: Array, j: int, out: Array) -> None:
    """As `_tile`, for a single row of a."""
    row = a[i]
    w0, w1, w2, w3 = w[j], w[j + 1], w[j + 2], w[j + 3]
    s0 = s1 = s2 = s3 = int32(0)
    for k in range(a.shape[1]):
        x = int32(row[k])
        s0 = int32(s0 + x * int32(w0[k]))
        s1 = int32(s1 + x * int32(w1[k]))
        s2 = int32(s2 + x * int32(w2[k]))
        s3 = int32(s3 + x * int32(w3[k]))
    out[i, j], out[i, j + 1], out[i, j + 2], out[i, j + 3] = s0, s1, s2, s3


@compiled
def _multiply_rows(a: Array, w: Array, out: Array) -> None:
    """out = a @ w.T modulo 2^32. a: uint8 [M, K]; w: packed [N, K], N % 4 == 0; out: int32 [M, N].

    The rows of w go round slowest: four of them stay in L1 while a, small enough for L2, passes.
    """
    m = a.shape[0]
    whole = m // 4 * 4
    for j in range(0, w.shape[0], 4):
        for i in range(0, whole, 4):
            _tile(a, i, w, j, out)
        for i in range(whole, m):
            _row_tile(a, i, w, j, out)


@compiled
def _multiply_columns(a: Array, w: Array, out: Array) -> None:
    """out = a @ w modulo 2^32. a: uint8 [M, K]; w: [K, N], K % 4 == 0; out: int32 [M, N]."""
    for i in range(a.shape[0]):
        row, total = a[i], out[i]
        total[:] = 0
        for k in range(0, w.shape[0], 4):
            x0, x1, x2, x3 = int32(row[k]), int32(row[k + 1]), int32(row[k + 2]), int32(row[k + 3])
            w0, w1, w2, w3 = w[k], w[k + 1], w[k + 2], w[k + 3]
            for j in range(total.size):
                total[j] = int32(
                    total[j]
                    + x0 * int32(w0[j])
                    + x1 * int32(w1[j])
                    + x2 * int32(w2[j])
                    + x3 * int32(w3[j])
                )


class Product:
    """`a @ weight.T` for weights [N, K], packed. a's rows are zero-filled to `k_padded`."""

    def __init__(self, weight: Array) -> None:
        n, k = weight.shape
        whole = _round_up(k, K_ALIGN)
        # rates of both forms in GMAC/s, fitted to measurements (Zen 4, K 16..320, N 16..256)
        self._by_columns = 35 * n / (n + 48) > 56 * k / (whole + 110)
        if self._by_columns:
            self._weight = np.zeros((_round_up(k, TILE), n), weight.dtype)
            self._weight[:k] = weight.T
            self.k_padded, self._n = self._weight.shape
        else:
            self._weight = np.zeros((_round_up(n, TILE), whole), weight.dtype)
            self._weight[:n, :k] = weight
            self._n, self.k_padded = self._weight.shape
        self.nbytes = self._weight.nbytes

    def __call__(self, a: Array) -> Array:
        """a: uint8 [M, k_padded]. Returns sums modulo 2^32, int32 [M, >= N]."""
        out = np.empty((a.shape[0], self._n), np.int32)
        (_multiply_columns if self._by_columns else _multiply_rows)(a, self._weight, out)
        return out


@compiled
def _add_bias(sums: Array, bias: Array, out: Array) -> None:
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = int32(sums[i, j] + bias[j])


class _GemmS8(JitStep):
    def __init__(self, spec: GemmS8, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        self._product = Product(spec.weight)
        self._bias = fold_zero_point(spec.bias, spec.weight, spec.x_zero_point)
        self.weight_bytes = self._product.nbytes + self._bias.nbytes

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        (x,) = inputs
        m, k = x.shape
        if k != self._product.k_padded:
            rows = np.zeros((m, self._product.k_padded), np.uint8)
            rows[:, :k] = x
            x = rows
        _add_bias(self._product(x), self._bias, output)


def gemm_s8(spec: GemmS8, shapes: Sequence[Shape], layout: Layout, threads: int) -> Step:
    return _GemmS8(spec, shapes, layout)
