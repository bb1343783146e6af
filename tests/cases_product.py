"""Cases of the integer matrix product and of the float32 convolution."""

from __future__ import annotations

from case_builders import Case, conv_f32, gemm_s8
from case_sizes import CHANNELS, PIXELS


def _gemm_s8() -> list[Case]:
    sizes = (
        *((1, 1, 1), (1, 10, 64), (2, 16, 3), (3, 17, 4), (5, 15, 5), (6, 32, 63), (7, 33, 65)),
        *((8, 64, 128), (13, 65, 31), (14, 130, 33), (64, 31, 130), (65, 4, 256), (1, 1000, 200)),
    )
    return [
        *(gemm_s8(f"{m}x{n}x{k}", m, n, k, x_zp=k % 256) for m, n, k in sizes),
        gemm_s8("ends", 9, 34, 515, weights="ends", values="ends", x_zp=128),
        gemm_s8("top", 9, 34, 515, weights="top", values="top"),
        gemm_s8("top, x_zp 255", 9, 34, 515, weights="top", values="ends", x_zp=255),
        gemm_s8("wrapping bias", 6, 20, 70, biases="wrap", x_zp=3),
        gemm_s8("int16", 6, 20, 70, weights="s16", x_zp=3),
        gemm_s8("all of int16", 6, 20, 515, weights="s16_full", values="top"),
        gemm_s8("int16 wraps", 9, 18, 515, weights="s16_high", values="top", x_zp=1),
        gemm_s8("7 bit", 6, 40, 129, x_max=127, x_zp=64),
        gemm_s8("zero weights", 6, 20, 70, sparsity=1.0),
        gemm_s8("zero rows", 6, 20, 70, weights="zero_rows"),
        gemm_s8("half zeros", 6, 20, 70, sparsity=0.5, x_zp=77),
    ]


_EXTREME = ("top", "alternating", "outliers")


def _windows_s8() -> list[Case]:
    """Weights and activation ranges for every size of window of csrc/gemm_s8/windows.h, and for
    none; sums at both ends of int16."""
    return [
        gemm_s8(
            *(f"windows, weights {weights}, x to {top}", 5, 50, 163),
            weights=weights,
            x_max=top,
            values="ends",
            x_zp=top // 3,
        )
        for weights in (*(f"up to {n}" for n in (7, 15, 20, 31, 40, 62, 127)), *_EXTREME)
        for top in (127, 255)
    ]


def _many_nonzeros() -> list[Case]:
    """So many a channel that each block of pixels has copies of its own for all columns of taps."""
    pads = (1, 1, 1, 1)
    rest = (1, 1, 1, 0)
    return [
        conv_f32("copies for taps", (2, 5, 7, 7), 200, pads=pads, sparsity=0.8, residual=True),
        conv_f32("copies for taps, stride 2", (1, 4, 19, 17), 300, strides=(2, 2), pads=rest),
        conv_f32(
            "copies for taps, dilation 2", (1, 3, 14, 13), 150, dilations=(2, 2), pads=(2, 1, 0, 2)
        ),
        conv_f32("copies for taps, 1x5", (1, 20, 6, 41), 60, (1, 5), pads=(0, 2, 0, 2)),
        conv_f32("copies for taps, 2 groups", (1, 8, 6, 11), 400, groups=2, pads=pads, lo=0.0),
    ]


def _winograd_f32() -> list[Case]:
    """Tiles of 4x4 cut off by borders, panels by the last channel."""
    pads = (1, 1, 1, 1)
    return [
        conv_f32("Winograd, 16 channels", (2, 16, 9, 14), 17, pads=pads, lo=0.0),
        conv_f32("Winograd, valid, 3x3", (1, 21, 3, 3), 33),
        conv_f32("Winograd, whole tiles", (1, 40, 12, 8), 64, pads=pads, residual=True),
        conv_f32("Winograd, pads 0,3,2,1", (3, 19, 6, 5), 31, pads=(0, 3, 2, 1), hi=1.0),
        conv_f32("Winograd, several blocks", (1, 70, 33, 30), 48, pads=pads, residual=True),
        conv_f32("Winograd, more channels", (1, 300, 9, 7), 24, pads=pads),
        conv_f32("Winograd, large and small", (1, 24, 9, 9), 20, pads=pads, values="scales"),
        conv_f32("Winograd, NaN and infinities", (1, 17, 9, 10), 18, pads=pads, values="special"),
    ]


def _conv_f32() -> list[Case]:
    pads = (1, 1, 1, 1)
    x = (1, 9, 8, 11)
    return [
        *(conv_f32(f"1x1 {c}->{o}", (1, c, 3, 5), o, (1, 1)) for c, o in CHANNELS),
        *(conv_f32(f"3x3 at {h}x{w}", (2, 6, h, w), 10, pads=pads) for h, w in PIXELS),
        conv_f32("3x3 valid", x, 16),
        conv_f32("3x3 stride 2, Relu", x, 17, strides=(2, 2), pads=pads, lo=0.0),
        conv_f32(
            "3x3 dilation 2, Relu6", x, 8, dilations=(2, 2), pads=(2, 2, 2, 2), lo=0.0, hi=6.0
        ),
        conv_f32(
            "7x7 stride 2, stem", (1, 3, 17, 15), 16, (7, 7), strides=(2, 2), pads=(3, 3, 3, 3)
        ),
        conv_f32("1x5, pads 0,1,0,3", x, 7, (1, 5), pads=(0, 1, 0, 3)),
        conv_f32("pads 3,2,1,0 stride 2x3", x, 7, strides=(2, 3), pads=(3, 2, 1, 0)),
        conv_f32("2 groups", (1, 12, 5, 6), 14, groups=2, pads=pads),
        conv_f32("8 groups of 4", (2, 32, 6, 9), 32, groups=8, pads=pads),
        conv_f32("10 groups to 3 outputs", (1, 20, 5, 6), 30, groups=10, pads=pads),
        conv_f32("depthwise", (2, 19, 6, 7), 19, groups=19, pads=pads),
        *(
            conv_f32(f"depthwise, {c} channels", (1, c, 6, 9), c, groups=c, pads=pads)
            for c in (3, 5, 8, 12)
        ),
        conv_f32(
            "depthwise 5x5 stride 2",
            (1, 16, 9, 8),
            16,
            (5, 5),
            groups=16,
            strides=(2, 2),
            pads=(2, 2, 2, 2),
        ),
        conv_f32("residual", (2, 12, 6, 5), 33, pads=pads, residual=True),
        conv_f32("residual, 1x1, Relu", (1, 40, 7, 7), 16, (1, 1), residual=True, lo=0.0),
        conv_f32("one pixel", (3, 40, 1, 1), 17, pads=pads),
        conv_f32("one row", (1, 300, 1, 1), 250, (1, 1), residual=True, lo=0.0),
        conv_f32("one row of large K", (1, 4200, 1, 1), 120, (1, 1), residual=True),
        conv_f32("one row of patches, 2 groups", (1, 700, 3, 3), 90, groups=2),
        conv_f32("two rows", (2, 70, 1, 1), 135, (1, 1), residual=True, hi=1.0),
        conv_f32("two rows of large K", (2, 4200, 1, 1), 72, (1, 1), residual=True),
        conv_f32("large K", (1, 130, 4, 4), 34, pads=pads),
        conv_f32("large K, more sums than wait", (1, 330, 9, 13), 410, (1, 1), residual=True),
        conv_f32("large K, uneven blocks of pixels", (1, 40, 15, 15), 400, pads=pads, lo=0.0),
        conv_f32("half zeros", x, 12, pads=pads, sparsity=0.5),
        conv_f32("90% zeros, 3x3", (1, 33, 9, 13), 20, pads=pads, sparsity=0.9),
        conv_f32(
            "90% zeros, stride 2", (1, 33, 9, 13), 20, strides=(2, 2), pads=pads, sparsity=0.9
        ),
        conv_f32(
            "90% zeros, dilation 2",
            (1, 33, 9, 13),
            6,
            dilations=(2, 2),
            pads=(2, 2, 2, 2),
            sparsity=0.9,
        ),
        conv_f32("90% zeros, 1x1, 64 pixels", (1, 64, 8, 8), 20, (1, 1), sparsity=0.9),
        conv_f32(
            "90% zeros, 1x1, 65 pixels",
            (2, 64, 5, 13),
            20,
            (1, 1),
            sparsity=0.9,
            residual=True,
            hi=1.0,
        ),
        conv_f32(
            "90% zeros, 1x1, stride 2", (1, 150, 9, 9), 20, (1, 1), strides=(2, 2), sparsity=0.9
        ),
        conv_f32(
            "90% zeros, pads 0,1,2,3", (1, 7, 9, 9), 20, pads=(0, 1, 2, 3), sparsity=0.9, lo=0.0
        ),
        *_many_nonzeros(),
        *_winograd_f32(),
        conv_f32("zero weights", x, 5, pads=pads, sparsity=1.0),
        conv_f32("zero rows", x, 5, pads=pads, zero_rows=True),
        conv_f32("NaN and infinities, 1x1", (1, 5, 6, 7), 18, (1, 1), values="special"),
        conv_f32(
            "NaN and infinities, 3x3, Relu6",
            (1, 3, 6, 7),
            9,
            pads=pads,
            lo=0.0,
            hi=6.0,
            values="special",
        ),
    ]


def all_cases() -> list[Case]:
    return [
        *_gemm_s8(),
        *_windows_s8(),
        *_conv_f32(),
    ]
