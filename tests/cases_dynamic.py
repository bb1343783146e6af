"""Cases of dynamic quantization: ranges, and convolutions of what was quantized by them."""

from __future__ import annotations

import numpy as np
from case_builders import Case, Pads, Pair, Shape, Values, draw_weights, make, seed_of
from case_sizes import CHANNELS, PIXELS

from sparing.ops import fused_spec as fs

RANGE = (2,)
# below, at and above 32 values, which the C loops look at together; the last ones are worth threads
_SHAPES: tuple[Shape, ...] = (
    *((1, 1, 1, 1), (1, 3, 2, 5), (2, 16, 1, 1), (1, 33, 1, 1), (3, 41), (7,)),
    *((2, 16, 4, 4), (1, 65, 30, 11)),
)


def dynamic_conv(
    name: str,
    x: Shape,
    outputs: int,
    kernel: Pair = (3, 3),
    *,
    strides: Pair = (1, 1),
    pads: Pads = (0, 0, 0, 0),
    dilations: Pair = (1, 1),
    depthwise: bool = False,
    weights: str = "normal",
    lo: float = -np.inf,
    hi: float = np.inf,
    values: Values = "uniform",
) -> Case:
    rng = np.random.default_rng(seed_of(name) + 1)
    groups = x[1] if depthwise else 1
    weight = draw_weights(rng, (outputs, x[1] // groups, *kernel), weights, 0.0)
    spec = fs.DynamicConv(
        fs.Window(kernel, strides, pads, dilations),
        groups,
        weight,
        rng.uniform(0.001, 0.1, outputs).astype(np.float32),
        rng.normal(0, 10, outputs).astype(np.float32),
        lo,
        hi,
    )
    return make(f"dynamic conv {name}", spec, x, RANGE, values=values)


def _dense() -> list[Case]:
    x = (1, 8, 11, 12)
    cases = [dynamic_conv(f"1x1 {c}->{o}", (1, c, 3, 5), o, (1, 1)) for c, o in CHANNELS]
    cases += [
        dynamic_conv(f"3x3 {c}->{o}", (1, c, 4, 6), o, pads=(1, 1, 1, 1)) for c, o in CHANNELS
    ]
    for h, w in PIXELS:
        cases.append(dynamic_conv(f"1x1 at {h}x{w}", (1, 20, h, w), 18, (1, 1), lo=0.0, hi=6.0))
        cases.append(dynamic_conv(f"3x3 at {h}x{w}", (2, 6, h, w), 10, pads=(1, 1, 1, 1), lo=-3.0))
    return [
        *cases,
        dynamic_conv("5x5", x, 9, (5, 5), pads=(2, 2, 2, 2)),
        dynamic_conv("stem", (1, 3, 21, 19), 16, (7, 7), strides=(2, 2), pads=(3, 3, 3, 3)),
        dynamic_conv("stride 2x3", x, 12, strides=(2, 3), pads=(1, 0, 1, 2)),
        dynamic_conv("dilation 2", x, 12, dilations=(2, 2), pads=(2, 2, 2, 2)),
        dynamic_conv("1x1 padded", (1, 4, 3, 3), 5, (1, 1), pads=(1, 2, 0, 1)),
        dynamic_conv("whole windows in the padding", (1, 2, 2, 2), 3, pads=(4, 4, 4, 4)),
        dynamic_conv("matrix", (5, 130, 1, 1), 70, (1, 1)),
        dynamic_conv("large matrix", (3, 700, 1, 1), 1000, (1, 1)),
        dynamic_conv("many rows", (2, 24, 40, 20), 40, (1, 1)),
        dynamic_conv("ends", x, 33, weights="ends", values="ends"),
        dynamic_conv("top", (1, 600, 3, 3), 35, weights="top", values="top"),
        dynamic_conv("int16", x, 33, weights="s16"),
        dynamic_conv("int16, 1x1", (1, 70, 5, 3), 17, (1, 1), weights="s16"),
        dynamic_conv("sums that wrap", (1, 80, 5, 5), 20, weights="s16_high", values="top"),
    ]


def _depthwise() -> list[Case]:
    pads = (1, 1, 1, 1)
    cases = [
        dynamic_conv(f"depthwise, {c} channels", (1, c, 5, 7), c, pads=pads, depthwise=True)
        for c in (1, 2, 7, 8, 9, 31, 32, 33, 64, 70)
    ]
    x = (2, 20, 11, 12)
    return [
        *cases,
        dynamic_conv("depthwise", x, 20, pads=pads, depthwise=True),
        dynamic_conv("depthwise valid", x, 20, depthwise=True, lo=0.0, hi=6.0),
        dynamic_conv(
            "depthwise 5x5 stride 2", x, 20, (5, 5), strides=(2, 2), pads=(2, 1, 0, 2),
            depthwise=True,
        ),
        dynamic_conv(
            "depthwise dilated", x, 20, dilations=(2, 3), pads=(2, 3, 2, 3), depthwise=True
        ),
        dynamic_conv("depthwise 1x5", x, 20, (1, 5), pads=(0, 2, 0, 2), depthwise=True),
        dynamic_conv(
            "depthwise, whole windows in the padding", (1, 9, 2, 3), 9, pads=(5, 4, 5, 6),
            depthwise=True,
        ),
        dynamic_conv("depthwise of one pixel", (3, 40, 1, 1), 40, pads=pads, depthwise=True),
        dynamic_conv("depthwise, bands", (1, 130, 40, 33), 130, pads=pads, depthwise=True),
        dynamic_conv("depthwise int16", x, 20, weights="s16", depthwise=True, values="ends"),
        dynamic_conv(
            "depthwise, largest sums", (1, 3, 20, 17), 3, (16, 16), weights="top", depthwise=True,
            values="top",
        ),
    ]  # fmt: skip


def all_cases() -> list[Case]:
    cases: list[Case] = []
    for shape in _SHAPES:
        where = "x".join(map(str, shape))
        drawn: tuple[Values, ...] = ("uniform", "special", "scales")
        for values in drawn:
            name = f"{where} {values}"
            cases.append(make(f"dynamic range {name}", fs.DynamicRange(), shape, values=values))
            spec = fs.DynamicQuantize()
            cases.append(make(f"dynamic quantize {name}", spec, shape, RANGE, values=values))
    return [*cases, *_dense(), *_depthwise()]
