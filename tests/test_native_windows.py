"""AVX2 products in int16 windows: which weights run how, and that no window can leave int16.

That results equal the reference is tested with all kernels; the C tests (csrc/tests) drive every
sum to its ends.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from case_builders import Case, conv_s8, gemm_s8
from cases import CASES
from kernel_checks import check, forced_isa

from sparing.kernels.registry import KERNELS
from sparing.ops import fused_spec as fs

native = pytest.importorskip("sparing.kernels.native", reason="built without a C compiler")
if "avx2" not in native.isas():
    pytest.skip("this CPU has no AVX2", allow_module_level=True)

from sparing.kernels.native_products import (  # noqa: E402
    _pack_windows,
    _window_nanoseconds,
    pack_product,
    windows_speedup,
)

HEADER = np.dtype([("weights", "<i4"), ("next", "<i4"), ("quads", "<i2"), ("runs", "<i2")])
SINGLE = 16  # SP_SINGLE
SIZES = range(9)  # of windows.c; 0: int16
# Columns of the four vectors of a panel: windows.h
ORDER = np.arange(32).reshape(2, 4, 4).swapaxes(0, 1).ravel()


def _gemm(weight: fs.Array, x_max: int) -> fs.GemmS8:
    return fs.GemmS8(weight, np.zeros(len(weight), np.int32), 0, x_max)


def _windows(packed: fs.Array, start: int) -> list[tuple[list[int], int, int, fs.Array]]:
    """Every window of a panel of 32 columns, for each vector of 8: its quads, vector, size (0: in
    int16), and weights [8, quads, 4]."""
    found, first = [], 0
    while True:
        header = packed[start : start + HEADER.itemsize].view(HEADER)[0]
        runs = start + HEADER.itemsize
        places = iter(packed[runs + 2 * int(header["runs"]) :])
        at = start + int(header["weights"])
        for kind, count in packed[runs : runs + 2 * int(header["runs"])].reshape(-1, 2).tolist():
            size, mask = (1, kind - SINGLE) if kind >= SINGLE else (kind, 0)
            for _ in range(count):
                where = [first + int(next(places)) for _ in range(size)]
                if not mask:
                    quads = packed[at : at + 128 * size].view(np.int8).reshape(size, 4, 8, 4)
                    found += [(where, j, size, quads[:, j].swapaxes(0, 1)) for j in range(4)]
                    at += 128 * size
                for j in range(4) if mask else ():
                    if mask >> j & 1:
                        pairs = packed[at : at + 64].view(np.int16).reshape(2, 8, 2)
                        found.append((where, j, 0, pairs.transpose(1, 2, 0).reshape(8, 1, 4)))
                        at += 64
                    else:
                        found.append(
                            (where, j, 1, packed[at : at + 32].view(np.int8).reshape(8, 1, 4))
                        )
                        at += 32
        first += int(header["quads"])
        if not header["next"]:
            return found
        start += int(header["next"])


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 32, 300), (3, 70, 1500)])
def test_the_estimate_alone_is_that_of_packing(shape: tuple[int, ...]) -> None:
    rows = np.random.default_rng(0).integers(-128, 128, shape, dtype=np.int8)
    with forced_isa("avx2"):
        assert _window_nanoseconds(rows, 255) == _pack_windows(rows, 255).use.nanoseconds > 0


@pytest.mark.parametrize("x_max", [1, 127, 255])
def test_windows_hold_all_weights_and_none_can_leave_int16(x_max: int) -> None:
    rng = np.random.default_rng(x_max)
    used = set()
    for deviation in (2, 8, 20, 24, 30, 45, 80):
        rows = np.clip(np.rint(rng.normal(0, deviation, (64, 1500))), -128, 127).astype(np.int8)
        with forced_isa("avx2"):
            product = pack_product(_gemm(rows, x_max))
        if product.panel_start is None:
            continue  # int16 is faster
        for panel, start in enumerate(product.panel_start.tolist()):
            stored = np.full((4, 8, 375, 4), 1000)
            for where, vector, size, quads in _windows(product.weights, start):
                assert (stored[vector, :, where] == 1000).all()
                stored[vector, :, where] = quads.swapaxes(0, 1)
                pairs = quads.reshape(8, -1, 2, 2)  # [column, quad, lane of the quad, 2]
                for part in (np.maximum(pairs, 0), np.minimum(pairs, 0)):
                    sums = np.abs(x_max * part.sum(axis=(1, 3)))
                    assert size == 0 or sums.max() <= 32767
                used.add(size)
            assert np.array_equal(stored.reshape(32, -1), rows[32 * panel + ORDER])
    assert used >= {1: {8}, 127: set(range(1, 9)), 255: set(range(6))}[x_max]


def test_cases_of_all_kernels_reach_every_size() -> None:
    found = ""
    with forced_isa("avx2"):
        for case in CASES:
            if case.name.startswith("gemm_s8 windows"):
                found += pack_product(case.spec).detail  # type: ignore[arg-type]
    for size in SIZES:
        assert (f"of {size} " if size else "int16 ") in found


def test_a_zero_point_above_x_max_counts() -> None:
    """Padding holds the zero point: windows that 127 allows, 255 does not."""
    case = conv_s8("padding", (1, 16, 5, 5), 32, pads=(1, 1, 1, 1), weights="top", x_max=127)
    kernel = next(k for k in KERNELS if k.where == "native_dense:conv_s8")
    assert isinstance(case.spec, fs.ConvS8)
    with forced_isa("avx2"):
        assert "of 1 100%" in pack_product(case.spec).detail
        above = replace(case, spec=replace(case.spec, x_zero_point=255))
        assert "of 1" not in pack_product(above.spec).detail  # type: ignore[arg-type]
    check(kernel, above, "nhwc", (1, 2), "avx2")


def _detail(case: Case) -> str:
    with forced_isa("avx2"):
        return pack_product(case.spec).detail  # type: ignore[arg-type]


def test_activations_far_from_the_zero_point_are_multiplied_apart_where_that_pays() -> None:
    """Where weights have all 8 bits, activations too, and outputs are many; in a matrix product,
    whose inputs may be anything, never."""

    def full(outputs: int = 256, weights: str = "minmax 127", **more: int) -> Case:
        return conv_s8("full range", (1, 256, 3, 3), outputs, (1, 1), weights=weights, **more)  # type: ignore[arg-type]

    for x_zp, where in {
        0: "above 128",
        64: "above 128",
        100: "below 36 or above 164",
        255: "below 127",
    }.items():
        assert f"activations {where} apart" in _detail(full(x_zp=x_zp))
    for case in (
        full(x_max=127),
        full(outputs=8),
        full(weights="minmax 63"),
        gemm_s8("full range", 4, 256, 256, weights="minmax 127"),
    ):
        assert "apart" not in _detail(case)
    found = [c for c in CASES if c.name.startswith("conv_s8 full range")]
    assert found and all("apart" in _detail(case) for case in found)


@pytest.mark.parametrize(("outputs", "k"), [(0, 8), (7, 0)])
def test_products_of_nothing_are_packed(outputs: int, k: int) -> None:
    kernel = next(k for k in KERNELS if k.where == "native_dense:gemm_s8")
    check(kernel, gemm_s8("nothing", 3, outputs, k), "nchw", (1, 2), "avx2")


def test_speedup_follows_the_weights() -> None:
    small = gemm_s8("small", 4, 64, 256, weights="up to 7", x_max=127).spec
    large = gemm_s8("large", 4, 64, 256, weights="top", x_max=255).spec
    wide = gemm_s8("wide", 4, 64, 256, weights="s16").spec
    assert isinstance(small, fs.GemmS8) and isinstance(large, fs.GemmS8)
    assert isinstance(wide, fs.GemmS8)
    with forced_isa("avx2"):
        assert windows_speedup(small) > 1.7
        assert windows_speedup(large) == windows_speedup(wide) == 1
    with forced_isa("portable"):
        assert windows_speedup(small) == 1
