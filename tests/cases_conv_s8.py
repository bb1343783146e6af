"""Cases of the 8-bit convolution: tiles, windows, depthwise, numeric extremes, sparse weights."""

from __future__ import annotations

from case_builders import Case, Shape, Values, conv_s8
from case_sizes import CHANNELS, FULL, HIGH_ZERO, NARROW, ODD, PIXELS, S7, S8, U7

from sparing.ops import fused_spec as fs


def _tiles() -> list[Case]:
    cases = []
    for c, o in CHANNELS:
        cases.append(conv_s8(f"1x1 {c}->{o}", (1, c, 3, 5), o, (1, 1), x_zp=c % 256))
        cases.append(
            conv_s8(f"3x3 {c}->{o}", (1, c, 4, 6), o, pads=(1, 1, 1, 1), x_zp=3, sparsity=0.5)
        )
    for h, w in PIXELS:
        cases.append(conv_s8(f"1x1 at {h}x{w}", (1, 20, h, w), 18, (1, 1), output=S8, x_zp=9))
        cases.append(conv_s8(f"3x3 at {h}x{w}", (2, 6, h, w), 10, pads=(1, 1, 1, 1), x_zp=128))
    return cases


def _windows() -> list[Case]:
    x = (1, 8, 11, 12)
    return [
        conv_s8("5x5", x, 9, (5, 5), pads=(2, 2, 2, 2), x_zp=77),
        conv_s8(
            "7x7 stride 2, stem", (1, 3, 21, 19), 16, (7, 7), strides=(2, 2), pads=(3, 3, 3, 3)
        ),
        conv_s8("1x5", x, 7, (1, 5), pads=(0, 2, 0, 2), x_zp=5),
        conv_s8("5x1", x, 7, (5, 1), pads=(2, 0, 2, 0), x_zp=5),
        conv_s8("2x2 stride 2", x, 12, (2, 2), strides=(2, 2)),
        conv_s8("3x3 valid", x, 12),
        conv_s8("3x3 stride 2", x, 12, strides=(2, 2), pads=(1, 1, 1, 1), x_zp=1),
        conv_s8("3x3 stride 2x3", x, 12, strides=(2, 3), pads=(1, 1, 1, 1), x_zp=1),
        conv_s8("3x3 dilation 2", x, 12, dilations=(2, 2), pads=(2, 2, 2, 2), x_zp=200),
        conv_s8("3x3 dilation 1x3, stride 2x1", x, 5, dilations=(1, 3), strides=(2, 1), x_zp=2),
        conv_s8("3x3 pads 0,1,2,3", x, 12, pads=(0, 1, 2, 3), x_zp=255),
        conv_s8("3x3 pads 3,2,1,0 stride 2", x, 6, strides=(2, 2), pads=(3, 2, 1, 0), x_zp=255),
        conv_s8("3x3, whole windows in the padding", (1, 2, 2, 2), 3, pads=(4, 4, 4, 4), x_zp=50),
        conv_s8("1x1 padded", (1, 4, 3, 3), 5, (1, 1), pads=(1, 2, 0, 1), x_zp=90),
        conv_s8("1x1 in place, 40 columns", (1, 16, 19, 11), 40, (1, 1), x_max=127),
        conv_s8("1x1 in place, batch 2", (2, 64, 13, 17), 70, (1, 1), residual="accumulator"),
        conv_s8("1x1 stride 2", x, 33, (1, 1), strides=(2, 2), x_zp=90),
        conv_s8("1x1 stride 3, one pixel left", (1, 7, 3, 3), 9, (1, 1), strides=(3, 3)),
        conv_s8("one pixel, 3x3", (1, 40, 1, 1), 17, pads=(1, 1, 1, 1), x_zp=13),
        conv_s8("one pixel, batch 3", (3, 65, 1, 1), 33, (1, 1), x_zp=13),
        conv_s8("batch 2", (2, 12, 5, 7), 20, pads=(1, 1, 1, 1), x_zp=13, output=S8),
        conv_s8("batch 3, stride 2", (3, 5, 6, 5), 7, strides=(2, 2), pads=(1, 1, 1, 1)),
        conv_s8("2 groups", (1, 12, 5, 6), 14, groups=2, pads=(1, 1, 1, 1), x_zp=4),
        conv_s8("4 groups of 1x1", (2, 32, 3, 4), 64, (1, 1), groups=4, x_zp=4),
        conv_s8("3 groups to one output each", (1, 9, 5, 5), 3, groups=3, pads=(1, 1, 1, 1)),
        conv_s8("8 groups of 4", (2, 32, 6, 9), 32, groups=8, pads=(1, 1, 1, 1), x_zp=7),
        conv_s8("4 groups of 4, 1x1", (1, 16, 3, 5), 16, (1, 1), groups=4, x_zp=255),
        conv_s8("4 groups of 16", (2, 64, 6, 35), 64, groups=4, pads=(1, 0, 2, 1), x_zp=9),
        conv_s8("7 groups of 4, stride 2", (1, 28, 9, 70), 28, groups=7, strides=(2, 2), x_zp=3),
        conv_s8(
            "5 groups of 8, dilated, residual",
            (1, 40, 9, 8),
            40,
            groups=5,
            dilations=(2, 1),
            pads=(2, 1, 2, 1),
            residual="quantized",
        ),
        conv_s8("8 groups of 4, int16", (1, 32, 5, 5), 32, groups=8, weights="s16", x_zp=9),
        conv_s8("13 groups of 8", (1, 104, 5, 7), 104, groups=13, pads=(1, 1, 1, 1), x_zp=7),
        conv_s8("6 groups of 12, 5x5", (1, 72, 7, 8), 72, (5, 5), groups=6, pads=(2, 2, 2, 2)),
        conv_s8("4 groups of 20, stride 2", (1, 80, 9, 9), 24, groups=4, strides=(2, 2), x_zp=2),
        conv_s8("3 groups of 5, dilated", (1, 15, 9, 9), 21, groups=3, dilations=(2, 3), x_zp=2),
        conv_s8("dilated, few channels", (1, 3, 9, 9), 21, dilations=(2, 2), pads=(2, 2, 2, 2)),
        conv_s8("groups with channel multiplier", (1, 6, 5, 5), 12, groups=6, pads=(1, 1, 1, 1)),
        conv_s8("large K", (1, 130, 3, 3), 34, pads=(1, 1, 1, 1), x_zp=3),
        conv_s8("wide rows", (1, 3, 2, 300), 5, pads=(1, 1, 1, 1), x_zp=3),
        conv_s8("17 wide", (2, 20, 4, 17), 48, pads=(1, 1, 1, 1), x_zp=3, residual="quantized"),
        conv_s8("33 wide, valid", (1, 70, 5, 35), 80, residual="accumulator"),
        conv_s8("14 wide, stride 2", (2, 64, 9, 28), 64, strides=(2, 2), pads=(0, 0, 1, 1)),
        conv_s8("20 wide, 5x5 of 3 channels", (1, 3, 7, 20), 33, (5, 5), pads=(2, 2, 2, 2)),
        conv_s8("24 wide, 1x1 of 7 channels", (2, 7, 3, 24), 24, (1, 1), x_zp=200),
        conv_s8("19 wide, large K", (1, 160, 7, 19), 70, pads=(1, 1, 1, 1), residual="quantized"),
        conv_s8(
            "3x1, padding alone", (1, 5, 9, 1), 8, (3, 1), strides=(2, 3), pads=(1, 2, 0, 0), x_zp=7
        ),
        conv_s8("13 wide, dilated", (1, 12, 9, 17), 17, dilations=(2, 2), x_zp=9),
    ]


def _depthwise() -> list[Case]:
    def depthwise(name: str, x: Shape, **more: object) -> Case:
        options = {"pads": (1, 1, 1, 1), "groups": x[1], "x_zp": 5, **more}
        return conv_s8(f"depthwise {name}", x, x[1], **options)  # type: ignore[arg-type]

    cases = [depthwise(f"{c} channels", (1, c, 5, 4)) for c in (1, 3, 15, 16, 17, 31, 33, 64, 65)]
    return [
        *cases,
        depthwise("130 channels, batch 2", (2, 130, 3, 7), x_zp=128, output=S8),
        depthwise("stride 2", (1, 20, 8, 9), strides=(2, 2)),
        depthwise("stride 2, pads 0,0,1,1", (1, 20, 8, 8), strides=(2, 2), pads=(0, 0, 1, 1)),
        depthwise("5x5", (1, 18, 7, 7), kernel=(5, 5), pads=(2, 2, 2, 2), x_zp=255),
        depthwise("5x5 stride 2", (1, 33, 9, 8), kernel=(5, 5), pads=(2, 2, 2, 2), strides=(2, 2)),
        depthwise("dilation 2", (1, 24, 9, 9), dilations=(2, 2), pads=(2, 2, 2, 2)),
        depthwise("1x7", (1, 5, 3, 9), kernel=(1, 7), pads=(0, 3, 0, 3)),
        depthwise("1x1", (1, 19, 4, 4), kernel=(1, 1), pads=(0, 0, 0, 0)),
        depthwise("one pixel", (1, 48, 1, 1)),
        depthwise("ends", (1, 34, 6, 6), weights="ends", values="ends", x_zp=128),
        depthwise("top", (1, 16, 4, 4), weights="top", values="top"),
        depthwise("int16 weights", (1, 17, 5, 5), weights="s16", x_zp=100),
        depthwise("x_zp above x_max", (1, 17, 5, 5), weights="top", x_max=9, x_zp=255, output=S8),
        depthwise("wrapping bias", (1, 32, 4, 4), biases="wrap"),
        depthwise("7 bit", (1, 32, 6, 6), x_max=127, x_zp=64, output=S7),
        depthwise("table", (2, 100, 6, 5), table=True),
        depthwise("table, stride 2, few channels", (1, 7, 9, 70), strides=(2, 2), table=True),
        depthwise("residual, table", (1, 21, 5, 5), residual="quantized", table=True),
        depthwise("residual from the sum", (2, 21, 5, 5), residual="accumulator", output=S8),
        depthwise("zero weights", (1, 9, 5, 5), sparsity=1.0, output=S8),
        depthwise("ties", (1, 40, 8, 8), multipliers="ties", output=S8, x_zp=128),
    ]


# the largest products, for both signs of the sum: (name, weights, inputs, x_zp, output)
ENDS: tuple[tuple[str, str, Values, int, fs.OutputRange], ...] = (
    ("top weights and inputs", "top", "top", 0, FULL),
    ("weights and inputs at their ends", "ends", "ends", 0, S8),
    ("weights and inputs at their ends, x_zp 128", "ends", "ends", 128, S8),
    ("weights at their ends, padding only", "ends", "top", 255, S8),
    ("top weights, x_zp 255", "top", "ends", 255, HIGH_ZERO),
    ("x_zp 255", "normal", "uniform", 255, S8),
)


def _numbers() -> list[Case]:
    x, pads = (1, 33, 6, 7), (1, 1, 1, 1)
    ends = [
        conv_s8(name, x, 18, pads=pads, weights=w, values=v, x_zp=zp, output=out)
        for name, w, v, zp, out in ENDS
    ]
    residuals = [
        conv_s8(f"residual {mode}, {size}", (2, c, 5, 6), o, k, pads=p, residual=mode, output=out)
        for mode in ("accumulator", "quantized", "quantized_ties")
        for size, c, o, k, p, out in (
            ("3x3", 8, 17, (3, 3), pads, S8),
            ("1x1", 40, 64, (1, 1), (0, 0, 0, 0), FULL),
            ("7 bit", 6, 5, (3, 3), pads, S7),
        )
    ]
    multipliers = [
        conv_s8(
            f"multipliers {kind}, {side}", x, 35, pads=pads, multipliers=kind, output=out, x_zp=zp
        )
        for kind in ("ties", "extreme")
        for side, out, zp in (("signed", S8, 128), ("odd", ODD, 100), ("narrow", NARROW, 90))
    ]
    return [
        *ends,
        *residuals,
        *multipliers,
        conv_s8("table", x, 20, pads=pads, table=True),
        conv_s8("table, 70 channels", x, 70, pads=pads, table=True),
        conv_s8("table after residual", x, 20, pads=pads, table=True, residual="quantized"),
        conv_s8("table after 7-bit residual", x, 9, pads=pads, table=True, residual="accumulator"),
        conv_s8("7-bit input and output", x, 34, pads=pads, x_max=127, output=U7),
        conv_s8("7-bit signed", x, 34, pads=pads, x_max=127, x_zp=64, output=S7),
        conv_s8("7-bit, ends", x, 34, weights="ends", values="ends", x_max=127, x_zp=64, output=S7),
        # Clip(-6, -1) before: padding holds a zero point that no input reaches
        conv_s8("x_zp above x_max", x, 18, pads=pads, weights="top", x_max=9, x_zp=255, output=S8),
        conv_s8("x_max 1", x, 34, pads=pads, x_max=1, values="top"),
        conv_s8("int16 weights", x, 34, pads=pads, weights="s16", x_zp=128),
        conv_s8("int16 weights, 1x1", (1, 33, 4, 5), 31, (1, 1), weights="s16", values="ends"),
        conv_s8("all of int16", x, 18, pads=pads, weights="s16_full", values="ends"),
        conv_s8("int16 wraps", (1, 48, 5, 5), 9, pads=pads, weights="s16_high", values="top"),
        conv_s8("int16 weights, grouped", (1, 10, 5, 5), 6, groups=2, weights="s16", x_zp=9),
        conv_s8("wrapping bias", x, 18, pads=pads, biases="wrap", output=S8),
        conv_s8("wrapping bias, top", x, 18, weights="top", values="top", biases="wrap", x_zp=255),
        conv_s8("wrapping bias, 1x1", (1, 64, 8, 8), 32, (1, 1), biases="wrap", multipliers="ties"),
        conv_s8("zero rows", x, 21, pads=pads, weights="zero_rows", x_zp=11),
        conv_s8("narrow output", x, 21, pads=pads, output=NARROW),
        conv_s8("one value out", x, 4, pads=pads, output=fs.OutputRange(9, 9, 9)),
    ]


def _sparse() -> list[Case]:
    pads = (1, 1, 1, 1)
    return [
        conv_s8(
            f"{k[0]}x{k[1]} {s:.0%} zeros at {h}x{w}",
            (1, 24, h, w),
            19,
            k,
            pads=p,
            sparsity=s,
            x_zp=zp,
            output=S8,
        )
        for s in (0.9, 1.0)
        for k, p, h, w, zp in (
            ((1, 1), (0, 0, 0, 0), 8, 8, 0),
            ((1, 1), (0, 0, 0, 0), 9, 15, 77),
            ((3, 3), pads, 8, 8, 128),
            ((3, 3), pads, 14, 14, 3),
        )
    ] + [
        conv_s8(
            "sparse stride 2", (1, 24, 15, 14), 18, strides=(2, 2), pads=pads, sparsity=0.9, x_zp=7
        ),
        conv_s8("sparse 1x1 stride 2", (2, 24, 9, 8), 18, (1, 1), strides=(2, 2), sparsity=0.9),
        conv_s8(
            "sparse dilation 2",
            (1, 24, 9, 9),
            18,
            dilations=(2, 2),
            pads=(2, 2, 2, 2),
            sparsity=0.8,
        ),
        conv_s8(
            "sparse 5x5, pads 1,2,0,3",
            (1, 9, 9, 9),
            6,
            (5, 5),
            pads=(1, 2, 0, 3),
            sparsity=0.9,
            x_zp=200,
        ),
        conv_s8(
            "sparse ends",
            (1, 65, 9, 9),
            18,
            pads=pads,
            sparsity=0.8,
            weights="ends",
            values="ends",
            x_zp=128,
        ),
        conv_s8(
            "sparse top", (1, 65, 9, 9), 18, pads=pads, sparsity=0.5, weights="top", values="top"
        ),
        conv_s8(
            "sparse one sign, x_zp 255",
            (1, 64, 8, 8),
            8,
            (1, 1),
            sparsity=0.7,
            weights="top",
            values="ends",
            x_zp=255,
            output=HIGH_ZERO,
        ),
        conv_s8(
            "sparse, x_zp above x_max",
            (1, 65, 9, 9),
            18,
            pads=pads,
            sparsity=0.7,
            weights="top",
            x_max=9,
            x_zp=255,
            output=S8,
        ),
        conv_s8(
            "sparse 7 bit",
            (1, 65, 9, 9),
            18,
            pads=pads,
            sparsity=0.9,
            x_max=127,
            x_zp=64,
            output=S7,
        ),
        conv_s8(
            "sparse residual",
            (2, 33, 7, 7),
            20,
            pads=pads,
            sparsity=0.9,
            residual="quantized",
            output=S8,
        ),
        conv_s8(
            "sparse residual, table",
            (1, 33, 7, 7),
            20,
            (1, 1),
            sparsity=0.9,
            residual="accumulator",
            table=True,
        ),
        conv_s8("sparse wrapping bias", (1, 33, 7, 7), 20, pads=pads, sparsity=0.9, biases="wrap"),
        conv_s8(
            "sparse ties",
            (1, 33, 9, 7),
            20,
            pads=pads,
            sparsity=0.9,
            multipliers="ties",
            output=S8,
            x_zp=99,
        ),
        conv_s8("sparse batch 3, one pixel", (3, 70, 1, 1), 40, (1, 1), sparsity=0.9, x_zp=9),
        conv_s8("sparse wide rows", (1, 5, 3, 150), 6, pads=pads, sparsity=0.7, x_zp=9),
    ]


def _blocks() -> list[Case]:
    """Blocks of four input channels that are zero together, in windows of every kind."""

    def blocks(name: str, x: Shape, outputs: int, kernel: int = 3, **more: object) -> Case:
        options = {"sparsity": 0.8, "together": 4, "pads": (kernel // 2,) * 4, "x_zp": 7, **more}
        return conv_s8(f"blocks {name}", x, outputs, (kernel, kernel), **options)  # type: ignore[arg-type]

    return [
        blocks("5x5", (1, 8, 11, 12), 9, 5),
        blocks("7x7 stride 2, table", (1, 12, 17, 14), 10, 7, strides=(2, 2), table=True),
        blocks("3x3, 65 outputs", (2, 40, 6, 11), 65, output=S8),
        blocks("3x3 dilation 2, stride 2", (1, 8, 19, 21), 6, dilations=(2, 2), strides=(2, 2)),
        blocks("3x3 pads 0,1,2,3", (1, 8, 9, 10), 12, pads=(0, 1, 2, 3), x_zp=255),
        blocks("1x1 in place", (1, 64, 9, 11), 30, 1, sparsity=0.97),
        blocks("1x1, few pixels, batch 3", (3, 132, 2, 3), 34, 1, output=S7),
        blocks("1x1 stride 2", (2, 36, 17, 9), 7, 1, strides=(2, 2), residual="accumulator"),
        blocks("2 groups", (1, 24, 7, 10), 14, groups=2, residual="quantized", output=S8),
        blocks("all zero", (1, 16, 5, 5), 6, sparsity=1.0, output=S8),
        blocks("dense", (1, 48, 8, 9), 20, sparsity=0.0, x_max=127),
        blocks("ends", (1, 64, 8, 9), 22, weights="ends", values="ends", x_zp=128),
        blocks("top", (1, 64, 8, 9), 22, weights="top", values="top", output=HIGH_ZERO),
        blocks("wide rows", (1, 8, 3, 150), 6),
        blocks("wide rows, stride 2", (1, 4, 4, 163), 5, strides=(2, 2)),
        blocks("zero rows, wrapping bias", (1, 32, 9, 9), 13, weights="zero_rows", biases="wrap"),
    ]


def _outliers() -> list[Case]:
    """Full-range weights, where AVX2 multiplies activations far from the zero point apart."""

    def full(name: str, x: Shape, outputs: int, kernel: int = 1, **more: object) -> Case:
        options = {
            **{"weights": "minmax 127", "values": "relu", "pads": (kernel // 2,) * 4},
            **more,
        }
        return conv_s8(f"full range {name}", x, outputs, (kernel, kernel), **options)  # type: ignore[arg-type]

    return [
        full("64->256", (1, 64, 7, 9), 256),
        full("x_zp 32, batch 2, 24 of 88 outputs left", (2, 132, 5, 5), 88, x_zp=32, table=True),
        full("two chunks", (1, 700, 4, 4), 224, x_zp=3, residual="quantized", output=S8),
        full("3x3 stride 2", (1, 31, 9, 8), 168, 3, strides=(2, 2), x_zp=9),
        full("2 groups, residual", (1, 256, 6, 5), 256, groups=2, residual="accumulator"),
        full("uniform inputs", (1, 700, 4, 4), 224, values="uniform"),
        full("inputs at their ends", (1, 96, 5, 7), 128, values="ends"),
        full("top inputs", (1, 96, 5, 7), 128, values="top"),
        full("middle, 96->384", (1, 96, 7, 9), 384, x_zp=128, values="middle"),
        full("middle, 3x3, batch 2", (2, 32, 5, 6), 120, 3, x_zp=100, values="middle"),
        full("middle, two chunks", (1, 700, 4, 4), 224, x_zp=131, values="middle", output=S8),
        full("middle, uniform inputs", (1, 131, 4, 4), 200, x_zp=140, residual="accumulator"),
        full("middle, inputs at their ends", (1, 96, 5, 7), 128, x_zp=127, values="ends"),
        full("high zero point", (1, 128, 5, 7), 160, x_zp=255, values="uniform"),
    ]


def all_cases() -> list[Case]:
    return [
        *_tiles(),
        *_windows(),
        *_depthwise(),
        *_numbers(),
        *_sparse(),
        *_blocks(),
        *_outliers(),
    ]
