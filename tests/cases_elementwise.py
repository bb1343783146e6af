"""Cases of everything that is no product: element by element, pooling, concatenation."""

from __future__ import annotations

import numpy as np
from case_builders import Case, Shape, make
from case_sizes import FULL, ODD, S7, S8, U7

from sparing.ops import fused_spec as fs

# shapes of operators that go element by element: below, at and above vector lengths
_ELEMENTS: tuple[Shape, ...] = (
    (1, 1, 1, 1),
    (1, 3, 5, 7),
    (2, 16, 4, 4),
    (1, 65, 3, 11),
    (3, 33, 1, 1),
)


def _elementwise() -> list[Case]:
    ranges = {"u8": FULL, "s8": S8, "s7": S7, "odd": ODD}
    scales = (0.0123, 0.5, 2.0**-20, 2.0**40, 2.0**-64)  # 1e30 / 2^-64 overflows
    f32 = [float(np.float32(scale)) for scale in scales]
    cases: list[Case] = []
    for i, shape in enumerate(_ELEMENTS):
        for key, out in ranges.items():
            scale = f32[i % 2]
            where = f"{'x'.join(map(str, shape))} {key}"
            ma, mb = float(np.float32(0.6 + i / 7)), (0.5, float(np.float32(1.3)))[i % 2]
            cases += [
                make(f"quantize {where}", fs.Quantize(scale, out), shape),
                make(f"dequantize {where}", fs.Dequantize(scale, out.zero_point), shape),
                make(f"add {where}", fs.AddS8(3, ma, 130, mb, out), shape, shape),
                make(f"mul {where}", fs.MulS8(7, 128, 0.015625, out), shape, shape),
                make(f"gate {where}", fs.MulS8(0, 40, 0.0078125, out), shape, (*shape[:2], 1, 1)),
                make(f"rescale {where}", fs.RescaleS8(99, ma, out), shape),
            ]
        table = np.random.default_rng(i).permutation(256).astype(np.uint8)
        cases.append(make(f"table {shape}", fs.TableS8(table), shape))
    shape = _ELEMENTS[1]
    for scale in f32:
        cases += [
            make(f"quantize by {scale:g}", fs.Quantize(scale, S8), shape, values="special"),
            make(f"dequantize by {scale:g}", fs.Dequantize(scale, 255), shape),
            make(f"add by {scale:g}", fs.AddS8(0, scale, 255, 0.5, ODD), shape, shape),
            make(f"mul by {scale:g}", fs.MulS8(255, 0, scale, ODD), shape, shape),
            make(f"rescale by {scale:g}", fs.RescaleS8(255, scale, ODD), shape),
        ]
    return [
        *cases,
        make("add ties", fs.AddS8(128, 0.5, 128, 0.5, S8), (1, 64, 16, 16), (1, 64, 16, 16)),
        make(
            "rescale only clamps", fs.RescaleS8(37, 1.0, fs.OutputRange(37, 40, 90)), (1, 5, 9, 9)
        ),
        make("table, 2-D", fs.TableS8(np.arange(255, -1, -1, dtype=np.uint8)), (3, 37)),
        make("quantize, 2-D", fs.Quantize(f32[0], S7), (5, 13)),
        make("dequantize, 2-D", fs.Dequantize(f32[0], 4), (5, 13)),
        make("add, 2-D", fs.AddS8(1, 0.25, 2, 0.75, U7), (3, 41), (3, 41)),
        make("mul, 2-D", fs.MulS8(1, 2, 0.125, U7), (3, 41), (3, 41)),
    ]


def _concat() -> list[Case]:
    half = fs.RescaleS8(12, 0.5, S8)
    return [
        make("concat copies", fs.ConcatS8((None, None)), (1, 3, 4, 5), (1, 6, 4, 5)),
        make("concat one part", fs.ConcatS8((half,)), (1, 3, 4, 5)),
        make("concat rescales", fs.ConcatS8((None, half)), (1, 16, 3, 3), (1, 33, 3, 3)),
        make(
            "concat four, batch 2",
            fs.ConcatS8((half, None, fs.RescaleS8(0, float(np.float32(1.7)), ODD), None)),
            *((2, c, 5, 3) for c in (1, 64, 31, 17)),
        ),
        make("concat one pixel", fs.ConcatS8((None, half)), (3, 5, 1, 1), (3, 70, 1, 1)),
    ]


def _windowed() -> list[Case]:
    """Pooling: (name, input, window)."""
    w = fs.Window
    pools: list[tuple[str, Shape, fs.Window]] = [
        ("2x2 stride 2", (1, 16, 8, 8), w((2, 2), (2, 2))),
        ("3x3 stride 2 padded", (2, 17, 9, 8), w((3, 3), (2, 2), (1, 1, 1, 1))),
        ("3x3 same", (1, 33, 5, 6), w((3, 3), (1, 1), (1, 1, 1, 1))),
        ("3x3 stride 2 ceil", (1, 5, 8, 10), w((3, 3), (2, 2), ceil_mode=True)),
        ("3x3 stride 2 ceil padded", (1, 5, 8, 7), w((3, 3), (2, 2), (1, 1, 1, 1), ceil_mode=True)),
        (
            "2x3 stride 3 ceil, pads 1,0,0,2",
            (1, 64, 7, 9),
            w((2, 3), (3, 3), (1, 0, 0, 2), ceil_mode=True),
        ),
        ("pads 0,1,1,0", (1, 65, 6, 6), w((2, 2), (1, 1), (0, 1, 1, 0))),
        ("dilation 2", (1, 3, 7, 9), w((3, 3), (1, 1), (2, 2, 2, 2), (2, 2))),
        ("1x4", (1, 31, 2, 9), w((1, 4), (1, 2))),
        ("global 7x7", (2, 130, 7, 7), w((7, 7))),
        ("one pixel", (1, 20, 1, 1), w((1, 1))),
        ("one pixel, 3x3", (1, 20, 1, 1), w((3, 3), (1, 1), (1, 1, 1, 1))),
    ]
    sx, sy = float(np.float32(0.031)), float(np.float32(0.027))
    cases: list[Case] = []
    for name, shape, window in pools:
        cases.append(make(f"max pool {name}", fs.MaxPoolS8(window), shape))
        for include in (True, False):
            spec = fs.AveragePoolS8(window, include, sx, 77, sy, S8)
            cases.append(make(f"average pool {name}, pad {include}", spec, shape))
    ties = fs.AveragePoolS8(w((2, 2), (2, 2)), True, 1.0, 0, 1.0, FULL)
    top = fs.AveragePoolS8(w((7, 7)), True, 1.0, 0, 1.0, ODD)
    return [
        *cases,
        make("average pool ties", ties, (1, 16, 10, 10)),
        make("average pool top", top, (1, 16, 7, 7), values="top"),
        make("max pool zeros", fs.MaxPoolS8(pools[2][2]), (1, 5, 4, 4), values="ends"),
    ]


def all_cases() -> list[Case]:
    return [
        *_elementwise(),
        *_concat(),
        *_windowed(),
    ]
