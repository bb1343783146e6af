"""Cases of float operators without weights: poolings, sums, products and activations."""

from __future__ import annotations

import numpy as np
from case_builders import Case, Shape, Values, make

from sparing.ops import fused_spec as fs

# below, at and above vector lengths; the last ones are worth several threads
_SHAPES: tuple[Shape, ...] = ((1, 1, 1, 1), (1, 3, 5, 7), (2, 16, 4, 4), (1, 65, 30, 11))


def _pools() -> list[Case]:
    w = fs.Window
    pools: list[tuple[str, Shape, fs.Window]] = [
        ("2x2 stride 2", (1, 16, 8, 8), w((2, 2), (2, 2))),
        ("3x3 stride 2 padded", (2, 17, 9, 8), w((3, 3), (2, 2), (1, 1, 1, 1))),
        ("3x3 stride 2 ceil", (1, 5, 8, 10), w((3, 3), (2, 2), ceil_mode=True)),
        ("3x3 stride 2 ceil padded", (1, 5, 8, 7), w((3, 3), (2, 2), (1, 1, 1, 1), ceil_mode=True)),
        (
            "2x3 stride 3 ceil, pads 1,0,0,2",
            (1, 64, 7, 9),
            w((2, 3), (3, 3), (1, 0, 0, 2), ceil_mode=True),
        ),
        ("dilation 2", (1, 3, 7, 9), w((3, 3), (1, 1), (2, 2, 2, 2), (2, 2))),
        ("many rows", (1, 33, 40, 20), w((3, 3), (1, 1), (1, 1, 1, 1))),
        ("global 7x7", (2, 530, 7, 7), w((7, 7))),
        ("one pixel, 3x3", (1, 20, 1, 1), w((3, 3), (1, 1), (1, 1, 1, 1))),
        ("special", (1, 19, 8, 9), w((3, 3), (2, 2), (1, 1, 1, 1))),
    ]
    cases: list[Case] = []
    for name, shape, window in pools:
        values: Values = "special" if name == "special" else "uniform"
        cases.append(make(f"max pool f32 {name}", fs.MaxPoolF32(window), shape, values=values))
        for include in (True, False):
            spec = fs.AveragePoolF32(window, include)
            name_of = f"average pool f32 {name}, pad {include}"
            cases.append(make(name_of, spec, shape, values=values))
    return cases


def _pointwise() -> list[Case]:
    sixth = float(np.float32(1 / 6))
    specs: list[fs.Spec] = [
        *(fs.ActivationF32("clip", 0.0, np.inf), fs.ActivationF32("clip", -0.5, 0.25)),
        fs.ActivationF32("hard_sigmoid", float(np.float32(0.2)), 0.5),
        *(fs.ActivationF32("hard_swish", sixth, 0.5), fs.ActivationF32("sigmoid")),
        *(fs.ActivationF32("silu"), fs.ActivationF32("tanh"), fs.ActivationF32("gelu")),
        *(fs.ActivationF32("leaky_relu", 0.125), fs.ActivationF32("elu", 0.75)),
    ]
    pairs: list[fs.Spec] = [fs.AddF32(), fs.AddF32(0.0), fs.MulF32(), fs.MulF32(-0.25, 1.0)]
    cases: list[Case] = []
    for shape in (*_SHAPES, (3, 41)):
        for values in ("uniform", "special"):
            where = f"{'x'.join(map(str, shape))} {values}"
            for spec in specs:
                cases.append(make(f"{spec} {where}", spec, shape, values=values))
            for spec in pairs:
                cases.append(make(f"{spec} {where}", spec, shape, shape, values=values))
                if len(shape) == 4:
                    gate = (*shape[:2], 1, 1)
                    cases.append(make(f"{spec} {where} gate", spec, shape, gate, values=values))
    return cases


def all_cases() -> list[Case]:
    return [*_pools(), *_pointwise()]
