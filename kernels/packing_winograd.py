"""3x3 weights in the Winograd domain; csrc/winograd_s8/winograd_s8.h has the arithmetic."""

from __future__ import annotations

import numpy as np

from .step import Array

TILE_OUT, TILE_IN = 4, 6  # outputs and inputs of a tile, along each axis
POSITIONS = TILE_IN * TILE_IN
TAPS = 9

# Where there are few tiles, reading large transformed weights from memory takes about as long as to
# transform them anew in each run, unless products are as fast as those of AVX-512. So many tiles at
# most, for weights of so many kernels (2^16: 4.7 MB when transformed); they are one block of the C
# driver, which transforms each weight once.
FEW_TILES = ((2**18, 64), (2**16, 16))


def count_tiles(batch: int, height: int, width: int) -> int:
    """Tiles of outputs of the given size."""
    return batch * -(-height // TILE_OUT) * -(-width // TILE_OUT)


def transforms_in_runs(isa: str, tiles: int, weight: Array) -> bool:
    """Whether the kernel of this instruction set keeps weights [O, C, 3, 3] untransformed."""
    kernels = weight.shape[0] * weight.shape[1]
    most = next((most for large, most in FEW_TILES if kernels >= large), 0)
    return tiles <= most and isa in ("avx2", "avxvnni")


def transform_weights(weight: Array) -> Array:
    """`G g G'` of each 3x3 kernel. weight: int8 [O, C, 3, 3]. Returns int16 [36, O, C].

    Exact in int16: at most 7 * 7 * 128 in magnitude.
    """
    outputs, channels = weight.shape[:2]
    taps = np.ascontiguousarray(weight.transpose(2, 3, 0, 1), np.int16)
    columns = np.empty((3, TILE_IN, outputs, channels), np.int16)
    for row, transformed in zip(taps, columns, strict=True):
        _transform(row, transformed)
    result = np.empty((TILE_IN, TILE_IN, outputs, channels), np.int16)
    _transform(columns, result)
    return result.reshape(POSITIONS, outputs, channels)


def _transform(g: Array, out: Array) -> None:
    """out [6, ...] = G g, g [3, ...]; G of F(4, 3) with each row scaled to be integer."""
    outer, far = g[0] + g[2], g[0] + 4 * g[2]
    out[0] = 6 * g[0]
    np.add(outer, g[1], out=out[1])
    np.subtract(outer, g[1], out=out[2])
    np.add(far, 2 * g[1], out=out[3])
    np.subtract(far, 2 * g[1], out=out[4])
    out[5] = 6 * g[2]
