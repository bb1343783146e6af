"""C kernels of the dense int8 products, where their own shapes have edges.

tests/test_kernels_vs_reference.py takes every kernel through typical cases; this file walks
around the panels, tiles, blocks and vectors of these ones, in every instruction set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from case_builders import Case, conv_s8, gemm_s8
from case_sizes import FULL, HIGH_ZERO, S8
from kernel_checks import check, forced_isa, isas_to_test

from sparing.errors import ModelError
from sparing.kernels.registry import KERNELS
from sparing.ops import fused_spec as fs

pytest.importorskip("sparing.kernels._native", reason="built without a C compiler")

from sparing.kernels import native, native_dense, packing
from sparing.kernels.grouped import round_up
from sparing.kernels.native_products import choose_gemm
from sparing.kernels.packing_depthwise import find_chunks, output_rows, pack_depthwise

BY_NAME = {kernel.name: kernel for kernel in KERNELS}
ISAS = isas_to_test("c")
SAME = (1, 1, 1, 1)


def run(name: str, cases: Sequence[Case], isa: str, threads: Sequence[int] = (1,)) -> None:
    kernel = BY_NAME[f"{name}.dense_s8.c"]
    for case in cases:
        check(kernel, case, kernel.layouts[0], threads, isa)


# ---- packing -------------------------------------------------------------------------------


@pytest.mark.parametrize("nr", [16, 64])
@pytest.mark.parametrize("k_group", [1, 2, 4])
def test_panels_hold_each_weight_once_where_the_header_says(nr: int, k_group: int) -> None:
    rng = np.random.default_rng(nr + k_group)
    for outputs, k in ((1, 1), (15, 3), (16, 4), (17, 5), (64, 8), (65, 9), (150, 30)):
        rows = rng.integers(1, 128, (3, outputs, k), np.int8)
        k_padded = round_up(k, k_group)
        packed = packing.pack_panels(rows, nr, k_group)
        assert packed.ctypes.data % 64 == 0
        assert packed.size == 3 * round_up(outputs, 16) * k_padded
        expected = np.zeros_like(packed)
        for g, o, i in np.ndindex(rows.shape):
            panel = o // nr
            columns = min(nr, round_up(outputs, 16) - panel * nr)
            start = (g * round_up(outputs, 16) + panel * nr) * k_padded
            within = (i // k_group * columns + o % nr) * k_group + i % k_group
            expected[start + within] = rows[g, o, i]
        assert np.array_equal(packed, expected)


def test_depthwise_chunks_cover_every_channel_and_are_nearly_full() -> None:
    for nr in (16, 32, 64):
        for channels in range(1, 300):
            chunks = find_chunks(channels, nr)
            covered = {c for first, width in chunks for c in range(first, first + width)}
            assert set(range(channels)) <= covered
            assert all(width in (16, 32, 64) and width <= nr for _, width in chunks)
            ends = [first + width for first, width in chunks]
            assert max(ends) == max(channels, 16)  # kernels read no channel beyond the last
            assert all(b[0] >= a for a, b in zip(ends[:-2], chunks[1:-1], strict=True))


@pytest.mark.parametrize(("nr", "k_group"), [(64, 4), (32, 4), (32, 2), (16, 1)])
def test_depthwise_weights_stand_where_the_header_says(nr: int, k_group: int) -> None:
    rng = np.random.default_rng(k_group)
    for channels, kernel_h, stride in ((3, 3, 1), (16, 5, 2), (40, 2, 1), (100, 3, 2)):
        weight = rng.integers(1, 128, (channels, kernel_h, 3)).astype(np.int16)
        rows = output_rows(kernel_h, stride, 1, k_group)
        packed = pack_depthwise(weight, rows, nr, k_group, stride)
        chunks = find_chunks(channels, nr)
        padded_h = round_up(kernel_h, k_group)
        taken = packed.reshape(len(chunks), rows, 3, -1, nr, k_group)
        assert taken.shape[3] == padded_h // k_group
        for c, r, j, g, lane, i in np.ndindex(taken.shape):
            first, width = chunks[c]
            within = lane  # channels 0-3 of every 16, then 4-7, ...
            if nr > 16:
                lanes = nr // 16
                within = lane // 4 % lanes * 16 + lane // (4 * lanes) * 4 + lane % 4
            channel, tap = first + within % width, g * k_group + i - r * stride
            exists = channel < channels and 0 <= tap < kernel_h
            assert taken[c, r, j, g, lane, i] == (weight[channel, tap, j] if exists else 0)


def test_bias_folds_the_zero_point_modulo_2_32() -> None:
    weight = np.full((2, 1000), 127, np.int8)
    folded = native_dense.folded_bias(weight, np.array([-(2**31), 7], np.int32), 255)
    expected = (np.array([-(2**31), 7], np.int64) - 255 * 127000).astype(np.uint32).view(np.int32)
    assert np.array_equal(folded[:2], expected)


# ---- which micro-kernel --------------------------------------------------------------------


@pytest.mark.parametrize("isa", ISAS)
def test_weights_take_as_many_bytes_as_they_need(isa: str) -> None:
    with forced_isa(isa):
        for dtype in (np.int8, np.int16):
            weight = np.zeros((40, 8), dtype)
            assert choose_gemm(weight).weight_bytes == weight.itemsize
            depthwise = native_dense.choose_depthwise(weight)
            assert depthwise.weight_bytes >= weight.itemsize
            here = native.isas()
            assert depthwise.isa in here[here.index(native.isa()) :]  # its own or a lower one


@pytest.mark.parametrize(
    ("pair", "x_max", "x_zero_point", "fits"),
    [
        ((64, 64), 255, 0, True),
        ((65, 64), 255, 0, False),
        ((65, 64), 254, 0, True),
        ((65, 64), 254, 255, False),  # the padding holds 255
        ((-64, -64), 255, 0, True),
        ((-65, -64), 255, 0, False),
        ((-65, -64), 254, 0, True),
        ((127, -127), 255, 0, True),
        ((127, 127), 129, 0, True),
        ((-127, -127), 130, 0, False),
    ],
)
def test_depthwise_products_are_added_in_int16_only_where_they_fit(
    pair: tuple[int, int], x_max: int, x_zero_point: int, fits: bool
) -> None:
    if "avx2" not in ISAS:
        pytest.skip("a matter of AVX2")
    case = conv_s8(f"pair {pair}", (1, 40, 5, 7), 40, pads=SAME, groups=40, x_zp=x_zero_point)
    assert isinstance(case.spec, fs.ConvS8)
    weight = np.zeros_like(case.spec.weight)
    # neighbours in a quad of the first output row of a band, and of the second
    weight[7, 0, :2, 1] = weight[33, 0, 1:, 2] = pair
    spec = replace(case.spec, weight=weight, x_max=x_max)
    with forced_isa("avx2"):
        step = native_dense.depthwise_s8(spec, case.shapes, "nhwc", 1)
    assert ("quads" in step.detail) == fits
    run("depthwise_s8", [replace(case, spec=spec, values="top")], "avx2")


def test_only_multipliers_that_keep_sums_in_int32_are_said_to_fit() -> None:
    spec = conv_s8("plain", (1, 4, 3, 3), 3).spec
    added = conv_s8("added", (1, 4, 3, 3), 3, residual="quantized").spec
    assert isinstance(spec, fs.ConvS8) and isinstance(added, fs.ConvS8) and added.residual
    small = np.array([0.5, 2**-30, 0.1], np.float32)
    assert native_dense.fits_int32(replace(spec, multiplier=small))
    assert native_dense.fits_int32(replace(added, multiplier=small))
    for name in ("multiplier", "conv_multiplier"):
        residual = replace(added.residual, **{name: np.float32(2**21)})
        assert not native_dense.fits_int32(replace(added, multiplier=small, residual=residual))


@pytest.mark.parametrize(
    ("multiplier", "bias", "weights", "x_zero_point", "fits"),
    [
        (0.5, -(2**31), 127, 0, True),
        (np.nextafter(np.float32(0.5), np.float32(1)), -(2**31), 0, 0, False),
        (1000, 2**20, 0, 0, True),  # no weights, whose scale says nothing
        (1000, 2**21, 0, 0, False),
        (900, 0, 127, 0, True),  # 36 weights of 127 times 255
        (1000, 0, 127, 0, False),
        (1000, 0, -127, 0, False),
        (1800, 0, 127, 127, True),
        (1800, 0, 127, 0, False),
        (0.6, 2**31 - 1, 127, 0, False),  # wraps
        (np.inf, 1, 0, 0, False),
        (np.nan, 0, 0, 0, False),
    ],
)
def test_how_far_sums_reach_counts_for_large_multipliers(
    multiplier: float, bias: int, weights: int, x_zero_point: int, fits: bool
) -> None:
    case = conv_s8("plain", (1, 4, 3, 3), 3, x_zp=x_zero_point)
    assert isinstance(case.spec, fs.ConvS8)
    weight = np.zeros_like(case.spec.weight)
    weight[1] = weights
    biases, multipliers = np.zeros(3, np.int32), np.full(3, 0.01, np.float32)
    biases[1], multipliers[1] = bias, multiplier
    spec = replace(case.spec, weight=weight, bias=biases, multiplier=multipliers)
    assert native_dense.fits_int32(spec) == fits


def test_detail_names_the_micro_kernel() -> None:
    case = conv_s8("detail", (1, 8, 4, 4), 8)
    with forced_isa("portable"):
        step = native_dense.conv_s8(case.spec, case.shapes, "nhwc", 1)  # type: ignore[arg-type]
        assert step.detail in {kernel.name for kernel in native.ukernels("gemm_s8")}
    assert step.weight_bytes == 16 * 8 * 9  # int8, columns rounded up to 16


# ---- tiles, panels, blocks -----------------------------------------------------------------


@pytest.mark.parametrize("isa", ISAS)
def test_output_channels_around_panels(isa: str) -> None:
    counts = (1, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 47, 48, 49, 63, 64, 65, 79, 80, 81, 127, 129)
    run("conv_s8", [conv_s8(f"to {o}", (1, 6, 3, 5), o, pads=SAME, x_zp=9) for o in counts], isa)


@pytest.mark.parametrize("isa", ISAS)
def test_pixels_around_tiles_and_blocks(isa: str) -> None:
    counts = (*range(1, 15), 17, 18, 23, 24, 25, 95, 96, 97, 191, 193)
    cases = [conv_s8(f"{n} pixels", (1, 8, 1, n), 18, (1, 1), x_zp=3) for n in counts]
    images = [conv_s8(f"{n} images", (n, 16, 2, 2), 70, (1, 1), x_zp=3) for n in (2, 5, 25)]
    run("conv_s8", cases + images, isa)


@pytest.mark.parametrize("isa", ISAS)
def test_k_around_groups_and_pieces_of_copying(isa: str) -> None:
    counts = (*range(1, 21), 31, 32, 33, 63, 65, 127, 128, 129)
    cases = [conv_s8(f"k {c}", (1, c, 3, 7), 5, (1, 1), x_zp=200) for c in counts]
    strided = [conv_s8(f"k {c}, /2", (1, c, 5, 7), 5, (1, 1), strides=(2, 2)) for c in counts]
    run("conv_s8", cases + strided, isa)


@pytest.mark.parametrize("isa", ISAS)
def test_long_patches_make_low_blocks(isa: str) -> None:
    # a patch of 46,800 bytes: a block of patches is as low as a tile
    case = conv_s8("long patch", (1, 1872, 6, 6), 17, (5, 5), pads=(2, 2, 2, 2), x_zp=77)
    run("conv_s8", [case], isa, threads=(1, 5))


@pytest.mark.parametrize("isa", ISAS)
def test_every_way_to_share_the_work_gives_the_same_bits(isa: str) -> None:
    cases = [
        conv_s8("many blocks", (2, 32, 25, 24), 48, pads=SAME, x_zp=5),
        conv_s8("few blocks, many panels", (1, 64, 7, 7), 330, pads=SAME, x_zp=5),
        conv_s8("one pixel, many panels", (1, 512, 1, 1), 1000, (1, 1), x_zp=5),
        conv_s8("groups", (1, 96, 14, 14), 192, groups=4, pads=SAME, x_zp=5),
        conv_s8("groups of one panel", (1, 64, 28, 28), 64, groups=16, pads=SAME, x_zp=5),
    ]
    run("conv_s8", cases, isa, threads=(1, 2, 5))
    run("gemm_s8", [gemm_s8("1 row", 1, 700, 600), gemm_s8("rows", 201, 90, 300)], isa, (1, 2, 5))
    wide = conv_s8("wide", (2, 200, 15, 15), 200, groups=200, pads=SAME, x_zp=5)
    run("depthwise_s8", [wide], isa, threads=(1, 2, 5))


@pytest.mark.parametrize("isa", ISAS)
def test_nothing_in_or_nothing_to_sum(isa: str) -> None:
    spec = gemm_s8("empty", 1, 17, 8).spec
    assert isinstance(spec, fs.GemmS8)
    bias = np.arange(17, dtype=np.int32) - 5
    nothing = fs.GemmS8(np.zeros((17, 0), np.int8), bias, 3)
    no_image = conv_s8("no image", (1, 4, 3, 3), 8).spec
    assert isinstance(no_image, fs.ConvS8)
    with forced_isa(isa):
        for threads in (1, 3):
            step = native_dense.gemm_s8(nothing, [(2, 0)], "nchw", threads)
            y = np.empty((2, 17), np.int32)
            step.run([np.empty((2, 0), np.uint8)], y)
            assert np.array_equal(y, [bias, bias])
            step = native_dense.gemm_s8(spec, [(0, 8)], "nchw", threads)
            step.run([np.empty((0, 8), np.uint8)], np.empty((0, 17), np.int32))
            step = native_dense.conv_s8(no_image, [(0, 4, 3, 3)], "nhwc", threads)
            step.run([np.empty((0, 3, 3, 4), np.uint8)], np.empty((0, 1, 1, 8), np.uint8))


# ---- windows -------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", ISAS)
def test_patches_that_leave_the_image_on_every_side(isa: str) -> None:
    cases = [
        conv_s8("all sides", (1, 5, 3, 3), 4, (7, 7), pads=(3, 3, 3, 3), x_zp=201),
        conv_s8("padding wider than the image", (1, 3, 2, 2), 4, (5, 5), pads=(4, 4, 4, 4), x_zp=9),
        conv_s8("only padding", (1, 3, 1, 1), 4, (1, 1), pads=(2, 3, 2, 3), x_zp=250),
        conv_s8("dilation past both sides", (1, 3, 4, 3), 4, dilations=(3, 4), pads=(3, 4, 3, 4)),
        conv_s8("groups", (1, 6, 3, 3), 4, (5, 5), groups=2, pads=(3, 3, 3, 3), x_zp=201),
        conv_s8("stride past the kernel", (1, 3, 9, 9), 4, (1, 1), strides=(3, 3), x_zp=1),
        conv_s8("1x1 with padding", (1, 4, 3, 3), 4, (1, 1), pads=SAME, x_zp=77),
        conv_s8("1x1 cropped by its stride", (2, 4, 4, 5), 4, (1, 1), strides=(1, 2), x_zp=77),
    ]
    run("conv_s8", cases, isa)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("channels", [3, 16, 20, 32, 45, 100])
@pytest.mark.parametrize("weights", ["ends", "up to 64"])  # in int16, and in quads
def test_depthwise_runs(isa: str, channels: int, weights: str) -> None:
    def depthwise(
        name: str,
        size: tuple[int, int],
        kernel: tuple[int, int],
        pads: tuple[int, int, int, int],
        strides: tuple[int, int] = (1, 1),
        dilations: tuple[int, int] = (1, 1),
        weights: str = weights,
    ) -> Case:
        return conv_s8(
            f"{channels} channels, {name}",
            (1, channels, *size),
            channels,
            kernel,
            pads=pads,
            strides=strides,
            dilations=dilations,
            weights=weights,
            groups=channels,
            x_zp=131,
            output=S8,
        )

    cases = [
        depthwise("no run inside", (2, 2), (5, 5), (2, 2, 2, 2)),
        depthwise("wide padding", (3, 4), (3, 3), (5, 6, 5, 6)),
        depthwise("long runs", (2, 300), (3, 3), SAME),
        depthwise("long strided runs", (5, 601), (3, 3), SAME, strides=(2, 2)),
        depthwise("dilated, strided", (9, 17), (3, 3), (2, 3, 2, 3), (2, 3), (2, 3)),
        depthwise("2x3", (6, 7), (2, 3), (0, 1, 1, 1)),
        depthwise("5x5", (7, 9), (5, 5), (2, 2, 2, 2)),
        depthwise("7x7", (8, 8), (7, 7), (3, 3, 3, 3)),
        depthwise("9x1", (12, 3), (9, 1), (4, 0, 4, 0)),
        depthwise("1x3", (5, 9), (1, 3), (0, 1, 0, 1)),
        depthwise("int16 weights", (6, 7), (3, 3), SAME, weights="s16_full"),
    ]
    run("depthwise_s8", cases, isa)


@pytest.mark.parametrize("isa", ISAS)
def test_depthwise_tasks_hold_several_bands(isa: str) -> None:
    shape = (2, 80, 71, 33)  # of more bytes than a task's input
    bands = conv_s8(
        "bands", shape, 80, pads=SAME, groups=80, x_zp=7, residual="accumulator", table=True
    )
    strided = conv_s8(
        "strided", shape, 80, pads=SAME, groups=80, strides=(2, 2), weights="up to 63"
    )
    run("depthwise_s8", [bands, strided], isa, threads=(1, 2, 3))


# ---- epilogue ------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("residual", ["", "accumulator", "quantized", "quantized_ties"])
def test_epilogue_of_every_count_of_channels_and_pixels(isa: str, residual: str) -> None:
    # vectors hold 64, 32 or 16 channels of 1, 2 or 4 pixels; both have remainders
    cases = [
        conv_s8(
            f"{residual} epilogue {o}, {n}",
            (1, 4, 1, n),
            o,
            (1, 1),
            residual=residual,
            output=S8 if o % 2 else HIGH_ZERO,
            multipliers="ties" if o % 3 else "spread",
            table=o % 5 == 0,
        )
        for o in (1, 4, 5, 13, 16, 17, 24, 29, 32, 33, 48, 50, 56, 63, 64, 65, 96, 100)
        for n in (1, 2, 3, 4, 6, 7)
    ]
    run("conv_s8", cases, isa)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("residual", ["", "accumulator", "quantized"])
def test_epilogue_at_the_ends_of_the_contract(isa: str, residual: str) -> None:
    # products up to 2^95, far beyond int32, and sums that wrap
    narrow = fs.OutputRange(zero_point=3, lo=2, hi=9)
    cases = [
        conv_s8(
            f"{residual} {zp} {biases} {out}",
            (1, 16, 3, 5),
            37,
            (1, 1),
            residual=residual,
            multipliers="extreme",
            biases=biases,
            weights="ends",
            values="ends",
            x_zp=zp,
            output=out,
        )
        for zp in (0, 128, 255)
        for biases in ("normal", "wrap")
        for out in (FULL, S8, HIGH_ZERO, narrow)
    ]
    run("conv_s8", cases, isa)


# ---- errors --------------------------------------------------------------------------------


def test_too_large_an_activation_is_refused() -> None:
    case = conv_s8("small", (1, 4, 2, 2), 4, (1, 1))
    with pytest.raises(ModelError, match="2147483647 elements"):
        native_dense.conv_s8(case.spec, [(1, 4, 40000, 40000)], "nhwc", 1)  # type: ignore[arg-type]
    product = gemm_s8("small", 2, 3, 4)
    with pytest.raises(ModelError, match="2147483647 elements"):
        native_dense.gemm_s8(product.spec, [(2**30, 4)], "nchw", 1)  # type: ignore[arg-type]


def test_an_input_of_other_channels_is_refused() -> None:
    case = conv_s8("small", (1, 4, 2, 2), 4, (1, 1))
    with pytest.raises(ModelError, match="does not fit weight"):
        native_dense.conv_s8(case.spec, [(1, 5, 2, 2)], "nhwc", 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("isa", ISAS)
def test_without_input_channels_the_bias_is_what_remains(isa: str) -> None:
    shape = (1, 0, 3, 20)
    cases = [
        conv_s8("no input channels, 1x1", shape, 8, (1, 1)),
        conv_s8("no input channels", shape, 8, pads=(1, 1, 1, 1)),
    ]
    run("conv_s8", cases, isa, (1, 2))
