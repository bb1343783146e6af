"""The C kernels of sparse convolution: the packing's proofs, and cases at the edges of int16.

test_kernels_vs_reference.py runs the common cases; here stand those that this design makes hard.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from case_builders import Case, conv_f32, conv_s8, gemm_s8
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_checks import check, isas_to_test

from sparing.errors import ModelError
from sparing.kernels import registry
from sparing.kernels.csr_lanes import plan_lanes, tap_offsets
from sparing.kernels.csr_windows import MAX_WINDOW, pair_up
from sparing.kernels.packing_csr import MAX_WINDOWS, find_nonzeros, pack_csr
from sparing.kernels.step import Shape
from sparing.ops import fused_spec as fs

pytestmark = pytest.mark.skipif(
    "c" not in registry.available_backends(), reason="needs the compiled kernels"
)


def kernel(weight_format: str) -> registry.Kernel:
    """That of convolutions."""
    name = f"conv_{weight_format}.{weight_format}.c"
    (found,) = (k for k in registry.KERNELS if k.name == name)
    return found


def check_all(case: Case) -> None:
    for isa in isas_to_test("c"):
        found = kernel("csr_f32" if isinstance(case.spec, fs.ConvF32) else "csr_s8")
        check(found, case, found.layouts[0], (1, 2, 5), isa)


# ---- packing -------------------------------------------------------------------------------


def unpack(
    packed: Any, k_group: int, rows: int, channel_lanes: int, single: type = np.int32
) -> dict[tuple[int, int], float]:
    """Row and offset of each non-zero of packed rows, with its weight, where it stands alone of the
    type `single`."""
    found: dict[tuple[int, int], float] = {}
    entries, start = packed.entries, 0
    words, singles = entries[:, k_group:].view(np.int8), entries[:, 1].copy().view(single)
    for i, segment in enumerate(packed.segments):
        at = int(np.searchsorted(packed.part_segment, i, side="right")) - 1
        part_lanes = at % packed.parts * packed.channel_block * channel_lanes
        for entry in range(start, start + segment["steps"]):
            for place in range(k_group):
                value = singles[entry] if k_group == 1 else words[entry, place]
                if value:
                    key = int(segment["row"]), int(entries[entry, place]) + part_lanes
                    assert key not in found
                    found[key] = float(value)
        start += segment["steps"]
    assert start == len(entries)
    assert packed.segments["first"].sum() == packed.segments["last"].sum() == rows
    return found


@pytest.mark.parametrize("panels", [1, 3])
@pytest.mark.parametrize("channel_block", [2, 1000])
def test_float_parts_keep_every_weight(panels: int, channel_block: int) -> None:
    weight = np.random.default_rng(panels).standard_normal((10, 6, 1, 1)).astype(np.float32)
    weight[np.abs(weight) < 0.7] = 0
    nonzeros = find_nonzeros(weight, 1, 72, np.zeros((1, 1), np.int64), channel_block)
    packed = pack_csr(nonzeros, 1, panels, 0)
    assert packed.parts == (3 if channel_block == 2 else 1)
    assert (packed.entries[:, 0] < 72 * channel_block).all()  # counted from the part's channels
    expected = {
        (int(row), 72 * int(channel)): float(weight[row, channel, 0, 0])
        for row, channel in np.argwhere(weight[:, :, 0, 0])
    }
    assert unpack(packed, 1, 10, 72, np.float32) == expected


@pytest.mark.parametrize("k_group", [1, 2, 4])
@pytest.mark.parametrize("panels", [1, 3])
@pytest.mark.parametrize("channel_block", [2, 1000])
def test_packing_keeps_every_weight(k_group: int, panels: int, channel_block: int) -> None:
    rng = np.random.default_rng(k_group)
    weight = rng.integers(-127, 128, (10, 3, 3, 3)).astype(np.int8)
    weight[rng.random(weight.shape) < 0.7] = 0
    weight[4] = 0
    window = fs.Window((3, 3), pads=(1, 1, 1, 1))
    lanes = plan_lanes(window, (1, 6, 5, 5), 1, 1)
    taps = tap_offsets(lanes, window)
    nonzeros = find_nonzeros(weight, 2, lanes.channel_lanes, taps, channel_block)
    packed = pack_csr(nonzeros, k_group, panels, 255)
    expected = {
        (o, (o // 5 * 3 + c) * lanes.channel_lanes + int(taps[i, j])): float(weight[o, c, i, j])
        for o, c, i, j in np.ndindex(weight.shape)
        if weight[o, c, i, j]
    }
    assert len(expected) == np.count_nonzero(weight)
    assert len(packed.part_byte) == panels * packed.parts == len(packed.part_segment) - 1
    assert unpack(packed, k_group, 10, lanes.channel_lanes) == expected
    assert (packed.segments["steps"] <= MAX_WINDOWS * packed.window).all() or k_group != 2


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    rows=st.lists(st.lists(st.integers(-128, 127).filter(bool), max_size=40), max_size=6),
    x_max=st.sampled_from([1, 64, 127, 128, 200, 255]),
)
def test_windows_stay_within_int16(rows: list[list[int]], x_max: int) -> None:
    value = np.array([v for row in rows for v in row], np.int8)
    segment = np.repeat(np.arange(len(rows)), [len(row) for row in rows]).astype(np.int64)
    count = np.array([len(row) for row in rows], np.int64)
    pairing = pair_up(value, count, x_max)
    assert 1 <= pairing.window <= MAX_WINDOW
    assert (pairing.steps % pairing.window == 0).all()
    for i in range(len(rows)):
        slot, mine = pairing.slot[segment == i], value[segment == i].astype(int)
        assert len(set(slot.tolist())) == len(mine)  # no two non-zeros in one place
        assert (slot >= 0).all() and (slot < 2 * pairing.steps[i]).all()
        for size in (2, 2 * pairing.window):  # within a pair, and within a window
            group = slot // size
            high = np.bincount(group, np.maximum(mine, 0))
            low = np.bincount(group, np.minimum(mine, 0))
            assert (high * x_max <= 32767).all() and (low * x_max >= -32768).all()


def test_opposite_signs_share_pairs() -> None:
    value = np.tile([127, -127], 50).astype(np.int8)
    pairing = pair_up(value, np.array([100]), 255)
    assert pairing.steps.tolist() == [50] and pairing.window == 1


def test_narrow_values_share_windows() -> None:
    value = np.tile([15, -15], 50).astype(np.int8)
    pairing = pair_up(value, np.array([100]), 127)
    assert pairing.window == MAX_WINDOW == 4 and pairing.steps.tolist() == [52]


def test_packed_form_is_smaller_than_dense() -> None:
    case = conv_s8("memory", (1, 64, 8, 8), 64, pads=(1, 1, 1, 1), sparsity=0.9)
    step = kernel("csr_s8").prepare(case.spec, case.shapes, "nchw")
    assert isinstance(case.spec, fs.ConvS8)
    assert step.weight_bytes < case.spec.weight.size


# ---- results -------------------------------------------------------------------------------

PADS = (1, 1, 1, 1)


@pytest.mark.parametrize("weights", ["top", "ends"])
@pytest.mark.parametrize("values", ["top", "ends"])
def test_more_windows_than_two_int16_sums_hold(weights: str, values: Any) -> None:
    # 2700 non-zeros a row: single weights of 127 make up to 2700 windows
    check_all(conv_s8(f"{weights} {values}", (1, 300, 4, 5), 3, weights=weights, values=values))


def test_lowest_weights_and_highest_inputs() -> None:
    case = conv_s8("-128", (1, 70, 5, 5), 5, pads=PADS, values="top", x_zp=255)
    assert isinstance(case.spec, fs.ConvS8)
    check_all(replace(case, spec=replace(case.spec, weight=np.full_like(case.spec.weight, -128))))


@pytest.mark.parametrize("x_zp", [0, 127, 128, 255])
def test_zero_point_beyond_x_max(x_zp: int) -> None:
    # padded taps hold the zero point, which x_max says nothing about
    name = f"zero point {x_zp}"
    check_all(
        conv_s8(name, (1, 9, 6, 6), 5, pads=PADS, x_zp=x_zp, x_max=20, weights="top", values="top")
    )


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (3, 3), (7, 7), (9, 2)])
@pytest.mark.parametrize("stride", [1, 2])
def test_batches_of_small_images(size: tuple[int, int], stride: int) -> None:
    # several images run as one pass; 20 leave a shorter last one
    more: Any = {"pads": PADS, "strides": (stride, stride), "sparsity": 0.6}
    name = f"batch {size} {stride}"
    check_all(conv_s8(name, (20, 6, *size), 9, x_zp=33, residual="quantized", table=True, **more))
    check_all(conv_f32(name, (20, 6, *size), 9, residual=True, lo=0.0, **more))


@pytest.mark.parametrize(
    ("kernel_size", "pads", "strides", "dilations"),
    [
        ((1, 1), (0, 0, 0, 0), (2, 2), (1, 1)),
        ((1, 1), (2, 1, 0, 3), (1, 1), (1, 1)),
        ((2, 2), (0, 0, 0, 0), (3, 3), (1, 1)),
        ((5, 5), (2, 2, 2, 2), (1, 1), (1, 1)),
        ((7, 7), (3, 3, 3, 3), (2, 2), (1, 1)),
        ((3, 3), (4, 4, 4, 4), (2, 3), (2, 4)),
        ((1, 7), (0, 3, 0, 3), (1, 2), (1, 1)),
        ((3, 3), (9, 8, 7, 6), (1, 1), (1, 1)),
    ],
)
def test_windows_of_all_kinds(kernel_size: Any, pads: Any, strides: Any, dilations: Any) -> None:
    more: Any = {"pads": pads, "strides": strides, "dilations": dilations, "sparsity": 0.8}
    name = f"{kernel_size} {pads} {strides} {dilations}"
    # 67 columns: rows of more than a block; stride 2 from odd and even columns
    check_all(conv_s8(name, (2, 5, 12, 67), 11, kernel_size, x_zp=9, **more))
    check_all(conv_f32(name, (2, 5, 12, 67), 11, kernel_size, **more))


@pytest.mark.parametrize("groups", [2, 4, 12])
def test_groups(groups: int) -> None:
    more: Any = {"groups": groups, "pads": PADS, "sparsity": 0.5}
    check_all(conv_s8(f"{groups} groups", (1, 12, 9, 9), 24, x_zp=5, **more))
    check_all(conv_f32(f"{groups} groups", (1, 12, 9, 9), 24, **more))


@pytest.mark.parametrize("pixels", [(8, 8), (5, 13), (8, 9), (10, 10), (11, 12), (3, 43)])
def test_few_weights_read_the_input_in_place(pixels: tuple[int, int]) -> None:
    case = conv_s8(f"in place {pixels}", (2, 40, *pixels), 20, (1, 1), sparsity=0.95, x_zp=200)
    step = kernel("csr_s8").prepare(case.spec, case.shapes, "nchw")
    assert "in place" in step.detail
    check_all(case)
    check_all(conv_f32(f"in place {pixels}", (2, 40, *pixels), 20, (1, 1), sparsity=0.95))


def test_many_threads_split_channels_of_one_block() -> None:
    more: Any = {"pads": PADS, "sparsity": 0.7}
    check_all(conv_s8("one block", (1, 10, 4, 4), 70, residual="accumulator", **more))
    check_all(conv_f32("one block", (1, 10, 4, 4), 70, residual=True, **more))


def test_float_rows_cut_into_segments() -> None:
    # 1x1: segments of 128 channels or more; 3x3: of those whose taps fit L1
    check_all(conv_f32("segments 1x1", (1, 700, 5, 5), 9, (1, 1), residual=True, sparsity=0.5))
    check_all(conv_f32("segments 3x3", (1, 300, 9, 30), 9, pads=PADS, sparsity=0.5, lo=0.0, hi=1.0))


def test_float_clamp_passes_nan() -> None:
    spec = fs.ConvF32(
        fs.Window((1, 1)), 1, np.ones((1, 1, 1, 1), np.float32), np.zeros(1, np.float32), 0.0, 6.0
    )
    step = kernel("csr_f32").prepare(spec, [(1, 1, 1, 3)], "slab")
    x, y = np.zeros((1, 1, 64), np.float32), np.empty((1, 1, 64), np.float32)
    x[0, 0, :3] = np.nan, 7, -1
    step.run([x], y)
    assert np.isnan(y[0, 0, 0]) and y[0, 0, 1:3].tolist() == [6, 0]


# Slabs that are whole, with a tail that the one before takes along or that stands alone; images
# that share slabs, rows that cross them, taps that are all padding, rows of one pixel.
@pytest.mark.parametrize("size", [(8, 8), (9, 8), (5, 16), (11, 13), (1, 70), (66, 1), (16, 20)])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (3, 1), (1, 3)])
@pytest.mark.parametrize("kernel_size", [(1, 1), (3, 3), (2, 5)])
def test_slabs(size: Shape, strides: Any, kernel_size: Any) -> None:
    more: Any = {"sparsity": 0.6, "residual": True, "strides": strides}
    if kernel_size != (1, 1):
        more["pads"] = (1, 2, 2, 2)
    check_all(conv_f32(f"slabs {size}", (2, 7, *size), 9, kernel_size, **more))


def test_slabs_of_a_batch_of_pixels() -> None:
    """Images of one pixel: a matrix, whose rows are lanes."""
    for batch in (1, 3, 64, 70):
        check_all(conv_f32(f"rows {batch}", (batch, 30, 1, 1), 20, (1, 1), sparsity=0.7))


def test_slabs_that_are_copied_apart() -> None:
    """Dilation, groups, and images narrower than a vector."""
    more: Any = {"sparsity": 0.5, "pads": (2, 2, 2, 2), "dilations": (2, 2)}
    check_all(conv_f32("slabs dilated", (1, 6, 12, 12), 8, **more))
    check_all(conv_f32("slabs grouped", (1, 8, 9, 9), 12, groups=4, pads=PADS, sparsity=0.5))
    check_all(conv_f32("slabs narrow", (3, 5, 31, 3), 8, pads=(1, 0, 1, 0), sparsity=0.5))


PRODUCTS = [(2, 1, 1), (1, 70, 130), (33, 40, 64), (70, 100, 129), (200, 9, 30)]


@pytest.mark.parametrize(("m", "n", "k"), PRODUCTS)
def test_products(m: int, n: int, k: int) -> None:
    (product,) = (k for k in registry.KERNELS if k.name == "gemm_csr_s8.csr_s8.c")
    case = gemm_s8(f"sparse {m} {n} {k}", m, n, k, sparsity=0.8, x_zp=9, biases="wrap")
    for isa in isas_to_test("c"):
        check(product, case, "nchw", (1, 2, 5), isa)


def test_sizes_beyond_32_bits_are_refused() -> None:
    case = conv_s8("huge", (1, 1, 3, 3), 1)
    assert isinstance(case.spec, fs.ConvS8)
    with pytest.raises(ModelError, match="2147483647"):
        kernel("csr_s8").prepare(case.spec, [(1, 1, 50000, 50000)], "nchw")
    padded = fs.Window((3, 3), pads=(40000,) * 4, dilations=(30000, 30000))
    spec = replace(case.spec, window=padded)  # input and output fit, the padded planes do not
    with pytest.raises(ModelError, match="2147483647"):
        kernel("csr_s8").prepare(spec, [(1, 1, 3, 3)], "nchw")


@pytest.mark.parametrize("residual", ["", "accumulator", "quantized"])
def test_rows_in_several_segments(residual: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparing.kernels.native_sparse.L1_BYTES", 1000)
    monkeypatch.setattr("sparing.kernels.native_sparse.MIN_STEPS", 6)
    for groups in (1, 2):
        check_all(
            conv_s8(
                "segments",
                (2, 24, 9, 10),
                10,
                pads=(1, 1, 1, 1),
                groups=groups,
                sparsity=0.7,
                residual=residual,
            )
        )
    check_all(conv_s8("segments", (1, 90, 9, 10), 9, (1, 1), sparsity=0.5, residual=residual))
