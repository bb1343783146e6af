"""3x3 weights in the Winograd domain; csrc/winograd_s8/winograd_s8.h has the arithmetic."""

from __future__ import annotations

import numpy as np

from .step import Array

TILE_OUT, TILE_IN = 4, 6  # outputs and inputs of a tile, along each axis
POSITIONS = TILE_IN * TILE_IN

# G of F(4, 3), each row scaled to be integer
_G = np.array([[6, 0, 0], [1, 1, 1], [1, -1, 1], [1, 2, 4], [1, -2, 4], [0, 0, 6]], np.int16)


def transform_weights(weight: Array) -> Array:
    """`G g G'` of each 3x3 kernel. weight: int8 [O, C, 3, 3]. Returns int16 [36, O, C].

    Exact in int16: at most 7 * 7 * 128 in magnitude.
    """
    outputs, channels = weight.shape[:2]
    taps = weight.transpose(2, 3, 0, 1).reshape(3, -1).astype(np.int16)  # [3, 3 * O * C]
    rows = (_G @ taps).reshape(TILE_IN, 3, -1)
    result: Array = np.matmul(_G, rows).reshape(POSITIONS, outputs, channels)
    return result
