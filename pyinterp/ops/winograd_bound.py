"""The error bound of the float32 Winograd convolution F(4x4, 3x3).

Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (CVPR 2016); the matrices are
those of csrc/conv_f32/winograd.h. Each output is a sum of products of sums, and every rounding on
the way changes one of these terms by a factor 1 + d, |d| <= u (Higham, Accuracy and Stability of
Numerical Algorithms, section 3.1). So with at most n roundings on the way of any term

    |kernel - exact| <= gamma(n) * (A' (sum |U| |V|) A + |b| + |r|),
    |U| = |G| |g| |G'|,  |V| = |B'| |d| |B|,  gamma(n) = n u / (1 - n u)

with the magnitudes of A' and A. It is larger than the bound of a plain sum, since what cancels in
exact arithmetic counts: a large input raises it for all 16 outputs of its tiles. An input that is
not finite, or so large that a sum on the way overflows, may make all of them NaN or infinite.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .fused import conv_f32_bound
from .fused_spec import ConvF32

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
TILE_OUT, TILE_IN = 4, 6

INPUT_TRANSFORM = np.array(  # B'
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float64,
)
WEIGHT_TRANSFORM = (  # G
    np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], np.float64)
    / 24
)
OUTPUT_TRANSFORM = np.array(  # A'
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    np.float64,
)
# Of both input transforms, both output transforms, a weight, and the addition of the bias. Products
# and their sum take another for each channel, and one more.
ROUNDINGS = 2 * 3 + 2 * 3 + 1 + 1


def exact_and_bound(
    operator: str, spec: ConvF32, x: F32, residual: F32 | None = None
) -> tuple[F64, F64]:
    """The float64 result and the largest error of the kernel `operator`, both [N, O, H', W']."""
    exact, bound = conv_f32_bound(spec, x, residual)
    return exact, winograd_bound(spec, x, residual) if operator == "winograd_f32" else bound


def winograd_bound(spec: ConvF32, x: F32, residual: F32 | None = None) -> F64:
    """Largest error, [N, O, H', W']; infinite where anything may result."""
    height, width = spec.window.output_size(x.shape[2], x.shape[3])
    tiles_h, tiles_w = -(-height // TILE_OUT), -(-width // TILE_OUT)
    top, left = spec.window.pads[:2]
    batch, channels = x.shape[:2]
    padded: npt.NDArray[Any] = np.zeros(
        (batch, channels, tiles_h * TILE_OUT + 2, tiles_w * TILE_OUT + 2)
    )
    rows = min(x.shape[2], padded.shape[2] - top)
    columns = min(x.shape[3], padded.shape[3] - left)
    padded[:, :, top : top + rows, left : left + columns] = np.abs(x[:, :, :rows, :columns])
    d = np.lib.stride_tricks.sliding_window_view(padded, (TILE_IN, TILE_IN), (2, 3))
    with np.errstate(all="ignore"):
        tiles = d[:, :, ::TILE_OUT, ::TILE_OUT]
        v = np.einsum("ik,nchwkl,jl->nchwij", _size(INPUT_TRANSFORM), tiles, _size(INPUT_TRANSFORM))
        weight = np.abs(spec.weight.astype(np.float64))
        g = _size(WEIGHT_TRANSFORM)
        u = np.einsum("ik,ockl,jl->ocij", g, weight, g)
        m = np.einsum("ocij,nchwij->nohwij", u, v)
        a = _size(OUTPUT_TRANSFORM)
        s = np.einsum("ik,nohwkl,jl->nohwij", a, m, a).transpose(0, 1, 2, 4, 3, 5)
        sums = s.reshape(batch, len(weight), tiles_h * TILE_OUT, tiles_w * TILE_OUT)
        size = sums[:, :, :height, :width] + np.abs(spec.bias.astype(np.float64))[:, None, None]
        if residual is not None:
            size = size + np.abs(residual.astype(np.float64))
        n = channels + 1 + ROUNDINGS + (residual is not None)
        unit = 2.0**-24
        bound: F64 = n * unit / (1 - n * unit) * size
    return np.where(size < np.finfo(np.float32).max, bound, np.inf)


def _size(matrix: F64) -> F64:
    return np.abs(matrix)
