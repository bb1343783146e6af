"""Sparse convolutions, channels first: each non-zero weight adds a shifted plane to the sums."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import int32

from ...ops.fused_spec import ConvF32, ConvS8, GemmS8
from ..step import Array, Layout, Shape, Step
from ..sums import fold_zero_point
from .base import JitStep, compiled
from .epilogue import Epilogue
from .images import PhasePlanes
from .planes import finish_f32

PLANE_PIXELS = 1024  # a tile's sums stay in L1 while all non-zeros of an output pass
LANES = 16  # rows of a matrix that are computed together


def csr_from_dense(weight: Array) -> tuple[Array, Array, Array]:
    """Compressed sparse rows of a weight [O, ...]: row_start, columns, values.

    row_start: int64 [O + 1]; columns: int64 [nnz], the position in a row, ascending; values: [nnz].
    """
    rows = weight.reshape(weight.shape[0], -1)
    where, columns = np.nonzero(rows)
    row_start = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(np.bincount(where, minlength=len(rows)), out=row_start[1:])
    return row_start, columns, rows[where, columns]


@compiled
def _accumulate_s8(
    x: Array, start: int, length: int, row_start: Array, offsets: Array, weights: Array,
    bias: Array, sums: Array,
) -> None:  # fmt: skip
    """sums[o, p] = bias[o] + sum over row o's entries of weight * x[offset + start + p].

    Four entries at a time, so that a loaded sum serves four products.
    """
    for o in range(bias.size):
        total = sums[o, :length]
        total[:] = bias[o]
        end = row_start[o + 1]
        whole = row_start[o] + (end - row_start[o]) // 4 * 4
        for e in range(row_start[o], whole, 4):
            at0, at1 = start + offsets[e], start + offsets[e + 1]
            at2, at3 = start + offsets[e + 2], start + offsets[e + 3]
            x0, x1 = x[at0 : at0 + length], x[at1 : at1 + length]
            x2, x3 = x[at2 : at2 + length], x[at3 : at3 + length]
            w0, w1 = int32(weights[e]), int32(weights[e + 1])
            w2, w3 = int32(weights[e + 2]), int32(weights[e + 3])
            for p in range(length):
                total[p] = int32(
                    total[p]
                    + w0 * int32(x0[p])
                    + w1 * int32(x1[p])
                    + w2 * int32(x2[p])
                    + w3 * int32(x3[p])
                )
        for e in range(whole, end):
            at = start + offsets[e]
            x0, w0 = x[at : at + length], int32(weights[e])
            for p in range(length):
                total[p] = int32(total[p] + w0 * int32(x0[p]))


@compiled
def _accumulate_f32(
    x: Array, start: int, length: int, row_start: Array, offsets: Array, weights: Array,
    bias: Array, sums: Array,
) -> None:  # fmt: skip
    """As `_accumulate_s8`, in float32."""
    for o in range(bias.size):
        total = sums[o, :length]
        total[:] = bias[o]
        end = row_start[o + 1]
        whole = row_start[o] + (end - row_start[o]) // 4 * 4
        for e in range(row_start[o], whole, 4):
            at0, at1 = start + offsets[e], start + offsets[e + 1]
            at2, at3 = start + offsets[e + 2], start + offsets[e + 3]
            x0, x1 = x[at0 : at0 + length], x[at1 : at1 + length]
            x2, x3 = x[at2 : at2 + length], x[at3 : at3 + length]
            w0, w1, w2, w3 = weights[e], weights[e + 1], weights[e + 2], weights[e + 3]
            for p in range(length):
                pairs = (w0 * x0[p] + w1 * x1[p]) + (w2 * x2[p] + w3 * x3[p])
                total[p] = total[p] + pairs
        for e in range(whole, end):
            at = start + offsets[e]
            x0, w0 = x[at : at + length], weights[e]
            for p in range(length):
                total[p] = total[p] + w0 * x0[p]


class _Sparse:
    """Non-zero weights of a convolution, and where in the planes each begins to read."""

    def __init__(self, weight: Array, groups: int, planes: PhasePlanes) -> None:
        self.row_start, columns, self.values = csr_from_dense(weight)
        channel, tap = np.divmod(columns, planes.offsets.size)
        outputs, per_group = weight.shape[:2]
        first = np.arange(outputs) // (outputs // groups) * per_group  # channel of each row's group
        channel += np.repeat(first, np.diff(self.row_start))
        self.offsets = channel * planes.channel_size + planes.offsets.reshape(-1)[tap]
        self.weight_bytes = self.row_start.nbytes + self.values.nbytes + self.offsets.nbytes


class _ConvCsrS8(JitStep):
    def __init__(self, spec: ConvS8, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        self._planes = PhasePlanes(spec.window, *shapes[0][2:])
        self._weight = _Sparse(spec.weight, spec.groups, self._planes)
        self._x_zero_point = spec.x_zero_point
        self._epilogue = Epilogue(spec)
        self.weight_bytes = self._weight.weight_bytes + self._epilogue.weight_bytes

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        planes, weight = self._planes, self._weight
        tiles = planes.tiles(PLANE_PIXELS)
        sums = np.empty((output.shape[1], planes.run_length(tiles[0])), np.int32)
        for n, image in enumerate(inputs[0]):
            x = planes.of(image, self._x_zero_point)
            residual = inputs[1][n] if len(inputs) == 2 else None
            for rows in tiles:
                _accumulate_s8(
                    x, rows.start * planes.row_size, planes.run_length(rows), weight.row_start,
                    weight.offsets, weight.values, self._epilogue.bias, sums,
                )  # fmt: skip
                self._epilogue.planes(sums, planes.row_size, rows, residual, output[n])


class _GemmCsrS8(JitStep):
    def __init__(self, spec: GemmS8, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        rows, self._k = shapes[0]
        self._lanes = -(-max(rows, 1) // LANES) * LANES  # whole vectors, so that loops have no tail
        self._row_start, columns, self._values = csr_from_dense(spec.weight)
        self._offsets = columns * self._lanes
        self._bias = fold_zero_point(spec.bias, spec.weight, spec.x_zero_point)
        arrays = (self._row_start, self._values, self._offsets, self._bias)
        self.weight_bytes = sum(array.nbytes for array in arrays)

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        rows = len(output)
        x = np.zeros((self._k, self._lanes), np.uint8)  # rows become lanes
        x[:, :rows] = inputs[0].T
        sums = np.empty((output.shape[1], self._lanes), np.int32)
        _accumulate_s8(
            x.reshape(-1), 0, self._lanes, self._row_start, self._offsets, self._values,
            self._bias, sums,
        )  # fmt: skip
        output[...] = sums[:, :rows].T


class _ConvCsrF32(JitStep):
    def __init__(self, spec: ConvF32, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        self._planes = PhasePlanes(spec.window, *shapes[0][2:])
        self._weight = _Sparse(spec.weight, spec.groups, self._planes)
        self._bias = np.array(spec.bias, np.float32)
        self._clamp = np.float32(spec.lo), np.float32(spec.hi)
        self.weight_bytes = self._weight.weight_bytes + self._bias.nbytes

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        planes, weight = self._planes, self._weight
        tiles = planes.tiles(PLANE_PIXELS)
        sums = np.empty((output.shape[1], planes.run_length(tiles[0])), np.float32)
        for n, image in enumerate(inputs[0]):
            x = planes.of(image, 0.0)
            residual = inputs[1][n] if len(inputs) == 2 else None
            for rows in tiles:
                _accumulate_f32(
                    x, rows.start * planes.row_size, planes.run_length(rows), weight.row_start,
                    weight.offsets, weight.values, self._bias, sums,
                )  # fmt: skip
                finish_f32(sums, planes.row_size, rows, residual, self._clamp, output[n])


def conv_csr_s8(spec: ConvS8, shapes: Sequence[Shape], layout: Layout, threads: int) -> Step:
    return _ConvCsrS8(spec, shapes, layout)


def gemm_csr_s8(spec: GemmS8, shapes: Sequence[Shape], layout: Layout, threads: int) -> Step:
    return _GemmCsrS8(spec, shapes, layout)


def conv_csr_f32(spec: ConvF32, shapes: Sequence[Shape], layout: Layout, threads: int) -> Step:
    return _ConvCsrF32(spec, shapes, layout)
