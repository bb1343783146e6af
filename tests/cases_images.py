"""Cases of operators on images and channels: pixels moved, interpolation, normalization, PRelu."""

from __future__ import annotations

import numpy as np
from case_builders import Case, Shape, Values, make
from case_sizes import FULL, ODD, S7, S8

from sparing.ops import fused_spec as fs
from sparing.ops.image_spec import Over

OVERS: tuple[Over, ...] = ("space", "channels")


def _double(n: int) -> tuple[int, ...]:
    return tuple(i // 2 for i in range(2 * n))


def _moves() -> list[Case]:
    cases: list[Case] = []
    for element, fill in (("uint8", 77.0), ("float32", -1.5)):
        gather: list[tuple[str, tuple[int, ...], tuple[int, ...], Shape]] = [
            ("by 2", _double(5), _double(4), (1, 16, 5, 4)),
            ("down", (0, 2, 4), (0, 3), (2, 3, 5, 4)),
            ("uneven, reversed", (4, 4, 0), (3, 0, 0, 1, 2, 3, 3), (1, 33, 5, 4)),
            ("one pixel", (0, 0, 0), (0,) * 9, (1, 65, 1, 1)),
            ("reflected", (2, 1, 0, 1, 2, 3, 4, 3), (1, 0, 1, 2, 3, 2, 1), (2, 17, 5, 4)),
            ("padded", (-1, 0, 1, 2, -1, -1), (-1, -1, 0, 1, 2, 3, -1), (2, 5, 3, 4)),
            ("nothing but padding", (-1,), (-1, -1), (1, 1, 2, 2)),
            ("cropped", tuple(range(3, 40)), tuple(range(1, 30)), (1, 24, 41, 31)),
        ]
        for name, rows, columns, shape in gather:
            spec = fs.GatherPixels(rows, columns, element, fill)
            cases.append(make(f"gather {element} {name}", spec, shape))
        blocks: list[tuple[str, int, tuple[int, int, int, int], Shape]] = [
            ("2", 2, (0, 0, 0, 0), (2, 12, 3, 5)),
            ("2, cropped", 2, (1, 1, 1, 1), (1, 96, 7, 6)),
            ("3, cropped unevenly", 3, (4, 1, 0, 5), (2, 45, 4, 5)),
            ("3, one channel", 3, (0, 0, 0, 0), (1, 9, 6, 6)),
            ("1", 1, (0, 0, 0, 0), (1, 7, 2, 2)),
            ("2, large", 2, (0, 0, 0, 0), (1, 256, 20, 20)),
        ]
        for name, block, crop, shape in blocks:
            for first in (False, True):
                pixels = fs.DepthToSpace(block, first, crop, element)
                order = "CRD" if first else "DCR"
                cases.append(make(f"depth to space {element} {order} {name}", pixels, shape))
    return cases


def _taps(seed: int, size: int, length: int, taps: int) -> fs.Taps:
    rng = np.random.default_rng(seed)
    index = rng.integers(0, size, (length, taps), np.int32)
    return fs.Taps(index, rng.uniform(-0.5, 1, (length, taps)).astype(np.float32))


def _interpolations() -> list[Case]:
    cases: list[Case] = []
    sizes: list[tuple[str, Shape, int, int, int, int]] = [
        ("2 taps", (1, 16, 5, 7), 10, 14, 2, 2),
        ("2 taps, odd channels", (2, 37, 4, 3), 9, 5, 2, 2),
        ("2 taps, one channel", (1, 1, 6, 9), 3, 20, 2, 2),
        ("4 taps", (1, 19, 5, 6), 8, 7, 4, 4),
        ("rows alone", (1, 24, 5, 6), 8, 6, 2, 1),
        ("uneven taps", (1, 9, 5, 6), 8, 7, 1, 3),
        ("one pixel", (3, 33, 1, 1), 4, 4, 2, 2),
        ("many rows", (1, 64, 20, 15), 40, 30, 2, 2),
    ]
    for i, (name, shape, out_h, out_w, row_taps, column_taps) in enumerate(sizes):
        rows = _taps(2 * i, shape[2], out_h, row_taps)
        columns = _taps(2 * i + 1, shape[3], out_w, column_taps)
        multiplier = (1.0, float(np.float32(0.71)))[i % 2]
        spec = fs.InterpolateS8(rows, columns, 99, multiplier, (FULL, S8, ODD)[i % 3])
        cases.append(make(f"interpolate s8 {name}", spec, shape))
        for values in ("uniform", "special"):
            wide = fs.InterpolateF32(rows, columns)
            cases.append(make(f"interpolate f32 {name} {values}", wide, shape, values=values))
    halves = fs.Taps(np.array([[0, 1]], np.int32), np.full((1, 2), 0.5, np.float32))
    ties = fs.InterpolateS8(halves, halves, 128, 1.0, S8)
    return [*cases, make("interpolate s8 ties", ties, (1, 400, 2, 2))]


_SHAPES: tuple[Shape, ...] = (
    *((1, 1, 1, 1), (1, 3, 5, 7), (2, 16, 4, 4), (1, 65, 30, 11), (3, 33, 1, 1)),
    *((2, 130, 9, 8), (1, 8, 1, 3)),
)


def _by_channel() -> list[Case]:
    cases: list[Case] = []
    for i, shape in enumerate(_SHAPES):
        rng = np.random.default_rng(i)
        scale, bias = rng.normal(0, 1, (2, shape[1])).astype(np.float32)
        size = "x".join(map(str, shape))
        sx, zero, out = float(np.float32(0.02 + i / 99)), (128, 0, 255, 3)[i % 4], (S8, FULL, S7)
        slope = fs.PReluS8(zero, float(np.float32(0.8)), scale, out[i % 3])
        cases.append(make(f"prelu s8 {size}", slope, shape))
        draws: tuple[Values, ...] = ("uniform", "special")
        for values in draws:
            cases.append(
                make(f"prelu f32 {size} {values}", fs.PReluF32(scale), shape, values=values)
            )
        for over in OVERS:
            by = 40 * scale, 30 * bias
            spec = fs.NormalizeS8(over, *by, 1e-5, sx, zero, out[i % 3])
            cases.append(make(f"normalize s8 over {over} {size}", spec, shape))
            wide = fs.NormalizeF32(over, scale, bias, 1e-5)
            for values in draws:
                name = f"normalize f32 over {over} {size} {values}"
                cases.append(make(name, wide, shape, values=values))
    ones = np.ones(20, np.float32)
    for over in OVERS:
        spec = fs.NormalizeS8(over, ones, ones, 0.0, 1.0, 7, FULL)  # variance and epsilon 0
        cases.append(make(f"normalize s8 over {over} constant", spec, (1, 20, 6, 5), values="top"))
        large = fs.NormalizeS8(over, 50 * ones[:2], ones[:2], 1e-3, 1.0, 255, S8)
        cases.append(make(f"normalize s8 over {over} large", large, (1, 2, 300, 301)))
    return cases


def all_cases() -> list[Case]:
    return [*_moves(), *_interpolations(), *_by_channel()]
