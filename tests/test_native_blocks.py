"""The C kernels of 1x4 blocks and their layout: the packing's proofs, and conversions."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from case_builders import conv_s8
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_checks import check, forced_isa, from_layout, isas_to_test, run_guarded, to_layout

from sparing.kernels import registry
from sparing.kernels.csr_windows import BLOCK_WINDOWS, window_up
from sparing.kernels.packing_csr import find_blocks, pack_csr
from sparing.kernels.reference import TransposeStep, from_nchw, to_nchw
from sparing.kernels.step import ArraySpec, Layout, in_layout
from sparing.kernels.sums import count_weights
from sparing.ops import fused_spec as fs

LAYOUTS: tuple[Layout, ...] = ("nchw", "nhwc", "nc4hw4")
FLOAT_LAYOUTS: tuple[Layout, ...] = ("nchw", "nhwc", "slab")
needs_c = pytest.mark.skipif(
    "c" not in registry.available_backends(), reason="needs the compiled kernels"
)


def unpack(entries: fs.Array, segments: fs.Array) -> dict[tuple[int, int], list[int]]:
    """The weights at each row and offset; a block that was cut in two adds up again."""
    found: dict[tuple[int, int], list[int]] = {}
    words = np.ascontiguousarray(entries[:, 1]).view(np.int8).reshape(-1, 4)
    rows = np.repeat(segments["row"], segments["steps"])
    for row, offset, word in zip(rows, entries[:, 0], words, strict=True):
        if word.any():
            before = found.setdefault((int(row), int(offset)), [0] * 4)
            assert not any(a and b for a, b in zip(before, word, strict=True))
            found[int(row), int(offset)] = [int(a + b) for a, b in zip(before, word, strict=True)]
    return found


@pytest.mark.parametrize("x_max", [0, 127, 255])
@pytest.mark.parametrize("panels", [1, 3])
def test_packing_keeps_every_weight(x_max: int, panels: int) -> None:
    rng = np.random.default_rng(x_max + panels)
    weight = rng.integers(-128, 128, (10, 8, 3, 3)).astype(np.int8)
    weight[rng.random(weight.shape) < 0.7] = 0
    weight[4] = 0
    taps = np.arange(9).reshape(3, 3)
    packed = pack_csr(find_blocks(weight, 2, 100, taps, x_max), 1, panels, x_max, together=4)
    expected = {}
    for o, word, i, j in np.ndindex(10, 2, 3, 3):
        block = weight[o, 4 * word : 4 * word + 4, i, j].tolist()
        if any(block):
            expected[o, (o // 5 * 2 + word) * 100 + 3 * i + j] = block
    assert unpack(packed.entries, packed.segments) == expected
    assert len(expected) == count_weights(weight).blocks
    assert packed.segments["first"].sum() == packed.segments["last"].sum() == 10
    for begin, end in zip(packed.part_segment, packed.part_segment[1:], strict=False):
        rows = packed.segments["row"][begin:end]  # words of the output are not torn apart
        assert {r // 4 for r in rows if r < 8}.isdisjoint(
            {r // 4 for r in set(range(8)) - set(rows.tolist())}
        )


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    rows=st.lists(st.lists(st.integers(-128, 127), max_size=60), max_size=5),
    x_max=st.sampled_from([1, 64, 127, 200, 255]),
)
def test_windows_stay_within_int16(rows: list[list[int]], x_max: int) -> None:
    blocks = np.zeros((len(rows), 4 * 15, 1, 1), np.int8)
    for row, values in zip(blocks, rows, strict=True):
        row[: len(values), 0, 0] = values
    found = find_blocks(blocks, 1, 1, np.zeros((1, 1), np.int64), x_max)
    value = found.value.view(np.int8).reshape(-1, 4)
    row = np.repeat(np.arange(len(rows)), found.count[0])
    windows = window_up(found.value, found.count[0], x_max)
    assert windows.window in (1, *BLOCK_WINDOWS) and (windows.steps % windows.window == 0).all()
    for number in range(len(rows)):
        slot, mine = windows.slot[row == number], value[row == number].astype(int)
        assert len(set(slot.tolist())) == len(slot)
        assert (slot >= 0).all() and (slot < windows.steps[number]).all()
        for size in (1, windows.window):  # in a block, and in a window
            for pair in (mine[:, :2], mine[:, 2:]):
                high = np.bincount(slot // size, np.maximum(pair, 0).sum(axis=1))
                low = np.bincount(slot // size, np.minimum(pair, 0).sum(axis=1))
                assert (high * x_max <= 32767).all() and (low * x_max >= -32768).all()


@needs_c
def test_narrow_weights_share_windows() -> None:
    (kernel,) = (k for k in registry.KERNELS if k.name == "conv_block_s8.block_s8.c")
    case = conv_s8("blocks narrow", (1, 64, 8, 8), 16, (1, 1), x_max=127)
    assert isinstance(case.spec, fs.ConvS8)
    if "avx2" not in isas_to_test("c"):
        pytest.skip("only AVX2 adds in int16")
    for most, window in ((127, 1), (15, 4)):
        weight = np.full(case.spec.weight.shape, most, np.int8)
        spec = replace(case.spec, weight=weight)
        with forced_isa("avx2"):
            step = kernel.prepare(spec, case.shapes, "nc4hw4")
        assert f"windows of {window}" in step.detail


@needs_c
def test_many_threads_split_the_channels_of_one_block() -> None:
    (kernel,) = (k for k in registry.KERNELS if k.name == "conv_block_s8.block_s8.c")
    more: Any = {"pads": (1, 1, 1, 1), "sparsity": 0.7, "together": 4}
    case = conv_s8("blocks, one of lanes", (1, 12, 4, 4), 70, residual="accumulator", **more)
    for isa in isas_to_test("c"):
        check(kernel, case, "nc4hw4", (1, 2, 5), isa)


# ---- the layout ----------------------------------------------------------------------------

SHAPES = [(1, 1, 1, 1), (2, 4, 3, 5), (1, 8, 16, 16), (3, 17, 7, 9), (1, 130, 1, 1), (1, 3, 40, 50)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("before", "after"), list(permutations(LAYOUTS, 2)))
@pytest.mark.parametrize("backend", ["c", "numpy"])
def test_conversions(shape: tuple[int, ...], before: Layout, after: Layout, backend: str) -> None:
    x = np.random.default_rng(shape[1]).integers(0, 256, shape, dtype=np.uint8)
    steps = [TransposeStep(shape, before, after, x.dtype)]
    if backend == "c":
        native = pytest.importorskip("sparing.kernels.native_elementwise")
        steps = [native.transpose(shape, before, after, x.dtype, threads) for threads in (1, 3)]
    for step in steps:
        given = to_layout(x, before)
        assert step.inputs == (ArraySpec(in_layout(shape, before), x.dtype),)
        y = np.empty(step.output.shape, np.uint8)
        step.run([np.ascontiguousarray(given)], y)
        assert y.shape == in_layout(shape, after)
        assert np.array_equal(from_layout(y, after, shape), x)
        if after == "nc4hw4" and shape[1] % 4:
            assert not y[:, -1, ..., shape[1] % 4 :].any()  # filled up with zeros


@pytest.mark.parametrize("shape", [*SHAPES, (70, 5, 1, 1), (3, 6, 8, 8)])
@pytest.mark.parametrize(("before", "after"), list(permutations(FLOAT_LAYOUTS, 2)))
@pytest.mark.parametrize("backend", ["c", "numpy"])
def test_float_conversions(
    shape: tuple[int, ...], before: Layout, after: Layout, backend: str
) -> None:
    x = np.random.default_rng(shape[1]).normal(size=shape).astype(np.float32)
    steps = [TransposeStep(shape, before, after, x.dtype)]
    if backend == "c":
        native = pytest.importorskip("sparing.kernels.native_elementwise")
        steps = [native.transpose(shape, before, after, x.dtype, threads) for threads in (1, 3)]
    for step in steps:
        assert step.inputs == (ArraySpec(in_layout(shape, before), x.dtype),)
        y = np.empty(step.output.shape, np.float32)
        step.run([np.ascontiguousarray(to_layout(x, before))], y)
        assert y.shape == in_layout(shape, after)
        assert np.array_equal(from_layout(y, after, shape), x)


def test_layouts_of_other_ranks_are_one() -> None:
    x = np.arange(6).reshape(2, 3)
    for layout in (*LAYOUTS, "slab"):
        assert from_nchw(x, layout) is x and to_nchw(x, layout, x.shape) is x
        assert in_layout((2, 3), layout) == (2, 3)


@needs_c
@pytest.mark.parametrize("shape", SHAPES)
def test_conversions_write_their_output_alone(shape: tuple[int, ...]) -> None:
    from sparing.kernels import native_elementwise

    x = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    step = native_elementwise.transpose(shape, "nchw", "nc4hw4", x.dtype, 2)
    # guards lie around both arrays; the step's input is nchw, which run_guarded passes as it is
    result = run_guarded(step, [x], "nchw", step.output.shape)
    assert np.array_equal(from_layout(result, "nc4hw4", shape), x)
    floats = x.astype(np.float32)
    step = native_elementwise.transpose(shape, "nchw", "slab", floats.dtype, 2)
    result = run_guarded(step, [floats], "nchw", step.output.shape)
    assert np.array_equal(from_layout(result, "slab", shape), floats)
