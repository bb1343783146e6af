"""Exact integer Winograd convolution, 3x3 with stride 1: twin of csrc/winograd_s8.

csrc/winograd_s8/winograd_s8.h has the matrices and the proof that the sums are exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import int16, int32

from ...ops.fused_spec import ConvS8
from ..packing_winograd import POSITIONS, TILE_OUT, transform_weights
from ..step import Array, Layout, Shape, Step
from .base import JitStep, compiled
from .epilogue import Epilogue
from .gemm import Product

BLOCK_BYTES = 512 * 1024  # of transformed inputs and products: they should stay in L2
INVERSE_OF_9 = np.int32(954437177)  # modulo 2^32


@compiled
def _input_axis(
    d0: int, d1: int, d2: int, d3: int, d4: int, d5: int
) -> tuple[int, int, int, int, int, int]:
    """B' of six values; all fit int16."""
    even, odd = int32(d4 - 4 * d2), int32(d3 - 4 * d1)
    difference, twice = int32(d4 - d2), int32(2 * (d3 - d1))
    return (
        int32(4 * (d0 - d2) + difference),
        int32(even + odd),
        int32(even - odd),
        int32(difference + twice),
        int32(difference - twice),
        int32(d5 - d3 - 2 * twice),
    )


@compiled
def _transform_inputs(image: Array, first: int, v: Array) -> None:
    """Tiles of whole rows of tiles, beginning at row of tiles `first`.

    image: uint8 [4 * tiles_y + 2, 4 * tiles_x + 2, C], padded. v: int16 [36, tiles, >= C].
    """
    channels, across = image.shape[2], (image.shape[1] - 2) // 4
    half = np.empty((6, 6, channels), np.int16)
    for tile in range(v.shape[1]):
        y, x = first + tile // across, tile % across
        for i in range(6):
            row = image[4 * y + i, 4 * x : 4 * x + 6]
            for c in range(channels):
                r0, r1, r2, r3, r4, r5 = _input_axis(
                    int32(row[0, c]), int32(row[1, c]), int32(row[2, c]),
                    int32(row[3, c]), int32(row[4, c]), int32(row[5, c]),
                )  # fmt: skip
                half[i, 0, c], half[i, 1, c], half[i, 2, c] = int16(r0), int16(r1), int16(r2)
                half[i, 3, c], half[i, 4, c], half[i, 5, c] = int16(r3), int16(r4), int16(r5)
        for j in range(6):
            for c in range(channels):
                r0, r1, r2, r3, r4, r5 = _input_axis(
                    int32(half[0, j, c]), int32(half[1, j, c]), int32(half[2, j, c]),
                    int32(half[3, j, c]), int32(half[4, j, c]), int32(half[5, j, c]),
                )  # fmt: skip
                v[j, tile, c], v[6 + j, tile, c] = int16(r0), int16(r1)
                v[12 + j, tile, c], v[18 + j, tile, c] = int16(r2), int16(r3)
                v[24 + j, tile, c], v[30 + j, tile, c] = int16(r4), int16(r5)


@compiled
def _output_axis(m0: int, m1: int, m2: int, m3: int, m4: int, m5: int) -> tuple[int, int, int, int]:
    """A' of six values, modulo 2^32."""
    p, q, u, v = int32(m1 + m2), int32(m2 - m1), int32(m3 + m4), int32(m3 - m4)
    return int32(m0 + u - 4 * p), int32(2 * q + v), int32(u - p), int32(q + 2 * v + m5)


@compiled
def _transform_outputs(m: Array, sums: Array) -> None:
    """m: int32 [36, tiles, O]. sums: int32 [rows, W, O], the tiles' pixels that exist."""
    height, width, outputs = sums.shape
    across = (width + 3) // 4
    half = np.empty((4, 6, outputs), np.int32)
    for tile in range(m.shape[1]):
        y, x = tile // across * 4, tile % across * 4
        for j in range(6):
            for o in range(outputs):
                s0, s1, s2, s3 = _output_axis(
                    m[j, tile, o], m[6 + j, tile, o], m[12 + j, tile, o],
                    m[18 + j, tile, o], m[24 + j, tile, o], m[30 + j, tile, o],
                )  # fmt: skip
                half[0, j, o], half[1, j, o], half[2, j, o], half[3, j, o] = s0, s1, s2, s3
        for i in range(min(4, height - y)):
            halvings = min(i, 2)
            for o in range(outputs):
                s = _output_axis(
                    half[i, 0, o], half[i, 1, o], half[i, 2, o],
                    half[i, 3, o], half[i, 4, o], half[i, 5, o],
                )  # fmt: skip
                for j in range(min(4, width - x)):
                    scaled = int32(s[j] * INVERSE_OF_9)
                    sums[y + i, x + j, o] = scaled >> (6 - halvings - min(j, 2))


class _WinogradS8(JitStep):
    """Whole rows of tiles are transformed, multiplied, transformed back and requantized."""

    def __init__(self, spec: ConvS8, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        self._x_zero_point = spec.x_zero_point
        self._epilogue = Epilogue(spec)
        self._products = [Product(matrix) for matrix in transform_weights(spec.weight)]
        self._top, self._left = spec.window.pads[:2]
        _, out_h, out_w, outputs = self.output.shape
        self._tiles_y, self._tiles_x = -(-out_h // TILE_OUT), -(-out_w // TILE_OUT)
        row_bytes = POSITIONS * self._tiles_x * (2 * self._products[0].k_padded + 4 * outputs)
        self._block = max(1, BLOCK_BYTES // row_bytes)  # rows of tiles
        self.weight_bytes = self._epilogue.weight_bytes
        self.weight_bytes += sum(product.nbytes for product in self._products)

    def _pad(self, image: Array) -> Array:
        size = TILE_OUT * self._tiles_y + 2, TILE_OUT * self._tiles_x + 2
        padded = np.full((*size, image.shape[2]), self._x_zero_point, np.uint8)
        inside = padded[self._top :, self._left :][: image.shape[0], : image.shape[1]]
        inside[...] = image[: inside.shape[0], : inside.shape[1]]
        return padded

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        _, out_h, out_w, outputs = output.shape
        for n, image in enumerate(inputs[0]):
            padded = self._pad(image)
            for first in range(0, self._tiles_y, self._block):
                rows = slice(TILE_OUT * first, min(TILE_OUT * (first + self._block), out_h))
                sums = np.empty((rows.stop - rows.start, out_w, outputs), np.int32)
                _transform_outputs(self._multiply(padded, first, outputs), sums)
                out = output[n, rows].reshape(-1, outputs)
                residual = inputs[1][n, rows].reshape(-1, outputs) if len(inputs) == 2 else None
                self._epilogue.rows(sums.reshape(-1, outputs), residual, out)

    def _multiply(self, padded: Array, first: int, outputs: int) -> Array:
        """The products of some rows of tiles, int32 [36, tiles, O]."""
        tiles = self._tiles_x * min(self._block, self._tiles_y - first)
        v = np.zeros((POSITIONS, tiles, self._products[0].k_padded), np.int16)
        _transform_inputs(padded, first, v)
        m = np.empty((POSITIONS, tiles, outputs), np.int32)
        for position, product in enumerate(self._products):
            m[position] = product(v[position])[:, :outputs]
        return m


def winograd_s8(spec: ConvS8, shapes: Sequence[Shape], layout: Layout, threads: int) -> Step:
    return _WinogradS8(spec, shapes, layout)
