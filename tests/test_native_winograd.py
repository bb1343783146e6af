"""The integer Winograd convolution at the ends of what it can represent, and at tile borders."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from case_builders import Case, Values, conv_s8
from case_sizes import S8
from kernel_checks import check, isas_to_test, require, thread_counts

from sparing.kernels import conditions
from sparing.kernels.packing_winograd import count_tiles, transform_weights, transforms_in_runs
from sparing.kernels.registry import KERNELS, Kernel
from sparing.ops import fused_spec as fs

WINOGRAD = [kernel for kernel in KERNELS if kernel.operator == "winograd_s8"]
PADS = (1, 1, 1, 1)
each_backend = pytest.mark.parametrize("kernel", WINOGRAD, ids=lambda kernel: kernel.backend)


def spec_of(case: Case) -> fs.ConvS8:
    assert isinstance(case.spec, fs.ConvS8)
    return case.spec


def judge(kernel: Kernel, case: Case) -> None:
    require(kernel.backend)
    assert not conditions.winograd_s8(spec_of(case))
    for isa in isas_to_test(kernel.backend):
        check(kernel, case, "nhwc", thread_counts(kernel), isa)


def with_weight(case: Case, weight: fs.Array) -> Case:
    """The case with other weights, no bias, and results near 0 and 255 for the largest sums."""
    outputs = len(weight)
    multiplier = np.full(outputs, 128 / 2**25, np.float32)
    bias = np.zeros(outputs, np.int32)
    return replace(
        case, spec=replace(spec_of(case), weight=weight, bias=bias, multiplier=multiplier)
    )


def test_transformed_weights_are_exact() -> None:
    """G g G' by float64, which holds these integers, at random and at the ends of int8."""
    g = np.array([[6, 0, 0], [1, 1, 1], [1, -1, 1], [1, 2, 4], [1, -2, 4], [0, 0, 6]], np.float64)
    rng = np.random.default_rng(0)
    weight = rng.integers(-128, 128, (40, 7, 3, 3)).astype(np.int8)
    weight[0], weight[1] = -128, 127
    weight[2] = np.array([[127, -128, 127], [-128, 127, -128], [127, -128, 127]])
    expected = g @ weight.astype(np.float64) @ g.T  # [O, C, 6, 6]
    got = transform_weights(weight)
    assert got.dtype == np.int16
    assert got.shape == (36, 40, 7)
    assert np.array_equal(got, expected.transpose(2, 3, 0, 1).reshape(36, 40, 7))
    assert np.abs(expected).max() == 49 * 128


@each_backend
@pytest.mark.parametrize("sign", [1, -1])
def test_largest_sums(kernel: Kernel, sign: int) -> None:
    """115 channels of 127 by 255 come to 0.999 of 2^25; one channel more is refused."""
    case = conv_s8("largest sums", (1, 116, 9, 7), 17, pads=PADS, output=S8, values="top")
    weight = np.full((17, 116, 3, 3), sign * 127, np.int8)
    assert conditions.winograd_s8(spec_of(with_weight(case, weight))) == "sums too large"
    weight[:, 115] = 0
    judge(kernel, with_weight(case, weight))


@each_backend
@pytest.mark.parametrize("values", ["top", "ends"])
def test_exactly_the_smallest_sum(kernel: Kernel, values: Values) -> None:
    """8 of 9 taps at -128 in 256 channels, times 128, are -2^25; +2^25 would not fit."""
    case = conv_s8("smallest", (1, 256, 6, 6), 3, pads=PADS, output=S8, x_max=128, values=values)
    weight = np.full((3, 256, 3, 3), -128, np.int8)
    weight[:, :, 1, 1] = 0
    judge(kernel, with_weight(case, weight))
    smallest = spec_of(with_weight(case, weight))
    more = replace(smallest, x_max=129)
    assert conditions.winograd_s8(more) == "sums too large"
    padded = replace(smallest, x_zero_point=129)
    assert conditions.winograd_s8(padded) == "sums too large"
    positive = np.where(weight == 0, 0, 64).astype(np.int8)
    twice = replace(smallest, weight=np.concatenate([positive, positive], axis=1))
    assert conditions.winograd_s8(twice) == "sums too large"


@each_backend
def test_signs_of_each_position(kernel: Kernel) -> None:
    """Inputs and weights whose signs follow the transforms' rows, for the largest V and U."""
    signs = np.sign(np.array([[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 2, -1, -2, 1, 0]]))
    tiles = [np.outer(a, b) > 0 for a in signs for b in signs]
    tiles += [np.outer(a, b) < 0 for a in signs for b in signs]
    channels = 2 * len(tiles)
    case = conv_s8("signs", (1, channels, 6, 6), 24, output=S8, weights="ends")

    class Chosen(Case):
        def inputs(self) -> list[fs.Array]:
            x = np.array(tiles + tiles[::-1], np.uint8)[None] * np.uint8(255)
            return [x]

    judge(kernel, Chosen(case.name, case.spec, case.shapes, case.seed))


@each_backend
@pytest.mark.parametrize("height", range(1, 10))
def test_tile_borders(kernel: Kernel, height: int) -> None:
    for width in (1, 2, 3, 4, 5, 8, 9, 17, 18):
        pads = (height % 3 + 1, width % 2 + 1, 3 - height % 2, 1 + height % 3)
        name = f"borders {height}x{width}"
        judge(kernel, conv_s8(name, (2, 5, height, width), 6, pads=pads, x_zp=77, output=S8))


@each_backend
@pytest.mark.parametrize("channels", [1, 2, 15, 16, 17, 31, 33, 48, 63, 64, 65, 100])
def test_channel_counts(kernel: Kernel, channels: int) -> None:
    """Around whole vectors of every instruction set, for inputs and outputs."""
    outputs = 130 - channels
    judge(kernel, conv_s8(f"{channels} channels", (1, channels, 7, 6), outputs, pads=PADS, x_zp=9))


@each_backend
@pytest.mark.parametrize("residual", ["", "accumulator", "quantized"])
def test_many_blocks(kernel: Kernel, residual: str) -> None:
    """Several blocks of tiles and of columns, ending within rows of tiles and across images."""
    x = (3, 40, 30, 29)
    judge(kernel, conv_s8("blocks", x, 130, pads=PADS, x_zp=200, residual=residual, table=True))


@each_backend
def test_few_tiles_many_columns(kernel: Kernel) -> None:
    """So few tiles that threads share the columns."""
    judge(kernel, conv_s8("columns", (1, 70, 5, 6), 330, pads=PADS, x_zp=3, output=S8))


@each_backend
@pytest.mark.parametrize(
    ("x", "outputs"), [((2, 267, 6, 7), 250), ((1, 270, 13, 16), 250), ((1, 530, 29, 32), 500)]
)
def test_large_weights_and_few_tiles(
    kernel: Kernel, x: tuple[int, int, int, int], outputs: int
) -> None:
    """So large that some instruction sets transform them in each run, a part at a time; the last in
    several blocks of tiles."""
    case = conv_s8("large", x, outputs, pads=PADS, x_zp=31, residual="quantized", sparsity=0.5)
    assert transforms_in_runs("avx2", count_tiles(x[0], *x[2:]), spec_of(case).weight)
    judge(kernel, case)


def test_weights_are_transformed_once_where_they_are_small_or_tiles_many() -> None:
    weight = np.zeros((512, 512, 3, 3), np.int8)
    assert transforms_in_runs("avx2", 64, weight) and transforms_in_runs("avx2", 16, weight[:128])
    assert not transforms_in_runs("avx2", 65, weight)
    assert not transforms_in_runs("avx2", 17, weight[:128])
    assert not transforms_in_runs("avx2", 1, weight[:127])
    assert not transforms_in_runs("avx512vnni", 1, weight)


def test_weight_bytes_are_those_of_the_packed_form() -> None:
    require("c")
    (kernel,) = (kernel for kernel in WINOGRAD if kernel.backend == "c")
    case = conv_s8("bytes", (1, 32, 8, 8), 64, pads=PADS)
    assert kernel.prepare(case.spec, case.shapes, "nhwc").weight_bytes == 36 * 32 * 64 * 2


def test_conditions() -> None:
    x = (1, 8, 9, 9)
    refused = {
        "not 3x3 with stride 1 and dilation 1": [
            conv_s8("1x3", x, 4, (1, 3)),
            conv_s8("strides", x, 4, strides=(1, 2)),
            conv_s8("dilations", x, 4, dilations=(2, 1)),
        ],
        "grouped": [conv_s8("groups", x, 4, groups=2)],
        "weights wider than int8": [conv_s8("int16", x, 4, weights="s16")],
    }
    for reason, cases in refused.items():
        for case in cases:
            assert conditions.winograd_s8(spec_of(case)) == reason, case
