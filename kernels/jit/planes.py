"""The end of a float32 convolution over planes: residual, clamp, and the output's own rows."""

from __future__ import annotations

import numpy as np

from ..step import Array
from .base import compiled

_NO_PLANES = np.zeros((1, 1, 1), np.float32)  # stands for a residual that is not there


@compiled
def _finish(
    sums: Array, stride: int, first: int, last: int, has_residual: bool, residual: Array,
    lo: np.float32, hi: np.float32, out: Array,
) -> None:  # fmt: skip
    for o in range(out.shape[0]):
        for y in range(first, last):
            row = sums[o, (y - first) * stride : (y - first) * stride + out.shape[2]]
            for x in range(out.shape[2]):
                value = row[x]
                if has_residual:
                    value += residual[o, y, x]
                if value < lo:  # false for NaN, which passes
                    value = lo
                elif value > hi:
                    value = hi
                out[o, y, x] = value


def finish_f32(
    sums: Array,
    stride: int,
    rows: range,
    residual: Array | None,
    clamp: tuple[np.float32, np.float32],
    out: Array,
) -> None:
    """Some rows of an image. sums: float32 [O, >= len(rows) * stride], rows `stride` apart.

    residual, out: float32 [O, H, W].
    """
    other = _NO_PLANES if residual is None else residual
    start, stop = rows.start, rows.stop
    _finish(sums, stride, start, stop, residual is not None, other, *clamp, out)
