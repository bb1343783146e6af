"""The promise of docs/numeric-contract.md: the same integers whatever computes them.

test_kernels_vs_reference.py judges kernels one by one; here they are set against each other where
they differ most: weight formats, instruction sets, thread counts, memory around the arrays.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from case_builders import Case, conv_f32, conv_s8, gemm_s8
from case_sizes import FULL, S8
from cases import CASES
from kernel_checks import check_result, forced_isa, isas_to_test, require, run_guarded, runs

from sparing.kernels import registry
from sparing.kernels.registry import KERNELS, Kernel
from sparing.kernels.step import Array
from sparing.ops import fused
from sparing.ops import fused_spec as fs
from sparing.ops.fused_rounding import requantize

# one operator each, with everything on: padding that is not zero, a residual, odd sizes
SPARSE = conv_s8(
    "contract, 85% zeros", (2, 37, 11, 13), 29, pads=(1, 0, 2, 1), sparsity=0.85, x_zp=113,
    output=S8, residual="quantized", table=True,
)  # fmt: skip
STRIDED = conv_s8(
    "contract, stride 2", (1, 37, 12, 9), 29, strides=(2, 2), pads=(1, 1, 1, 1), sparsity=0.5,
    x_zp=200, residual="accumulator",
)  # fmt: skip
DEPTHWISE = conv_s8(
    "contract, depthwise", (2, 35, 9, 8), 35, groups=35, pads=(1, 1, 1, 1), x_zp=31, output=S8
)


def _variants(case: Case, threads: tuple[int, ...] = (1,)) -> list[tuple[str, Array]]:
    """Results of every kernel that is installed, instruction set and number of threads."""
    found = []
    for kernel in KERNELS:
        if not runs(kernel, case) or kernel.backend not in registry.available_backends():
            continue
        for isa in isas_to_test(kernel.backend):
            for count in threads:
                for layout in kernel.layouts:
                    with forced_isa(isa):
                        step = kernel.prepare(case.spec, case.shapes, layout, count)
                        result = run_guarded(step, case.inputs(), layout, case.result)
                    found.append((f"{kernel.name} {isa} {layout} x{count}", result))
    return found


@pytest.mark.parametrize("case", [SPARSE, STRIDED, DEPTHWISE], ids=lambda case: case.name)
def test_formats_instruction_sets_and_threads_agree(case: Case) -> None:
    results = _variants(case, threads=(1, 2, 3, 7))
    formats = {name.split()[0] for name, _ in results}
    assert len(formats) >= 2
    for name, result in results[1:]:
        assert np.array_equal(result, results[0][1]), f"{name} and {results[0][0]} differ"


def test_int16_weights_of_int8_values_change_nothing() -> None:
    for case in (SPARSE, DEPTHWISE):
        assert isinstance(case.spec, fs.ConvS8)
        wide = replace(case, spec=replace(case.spec, weight=case.spec.weight.astype(np.int16)))
        expected = fused.run(case.spec, case.inputs())
        for name, result in _variants(wide):
            assert np.array_equal(result, expected), name


def test_gemm_equals_the_convolution_it_is() -> None:
    """GemmS8 gives the sums that a 1x1 convolution requantizes."""
    gemm = gemm_s8("contract", 12, 21, 70, x_zp=9)
    assert isinstance(gemm.spec, fs.GemmS8)
    (x,) = gemm.inputs()
    multiplier = np.full(21, 1e-3, np.float32)
    conv = fs.ConvS8(
        fs.Window((1, 1)), 1, gemm.spec.weight[:, :, None, None], gemm.spec.bias, 9, multiplier, S8
    )
    for name, sums in _variants(gemm):
        assert np.array_equal(requantize(sums.astype(np.float32) * multiplier, S8),
                              fused.run(conv, [x[:, :, None, None]])[:, :, 0, 0]), name  # fmt: skip


def test_padding_holds_the_zero_point() -> None:
    """Padding a layer is the same as feeding an input with a border of x_zp, in every kernel."""
    for zero_point in (0, 1, 128, 255):
        padded = conv_s8(
            f"padded {zero_point}", (1, 19, 7, 9), 23, pads=(2, 1, 0, 3), sparsity=0.6,
            x_zp=zero_point, output=S8,
        )  # fmt: skip
        assert isinstance(padded.spec, fs.ConvS8)
        (x,) = padded.inputs()
        border = np.pad(x, ((0, 0), (0, 0), (2, 0), (1, 3)), constant_values=zero_point)
        bare = replace(padded.spec, window=fs.Window((3, 3)))
        expected = fused.run(bare, [border])
        for name, result in _variants(padded):
            assert np.array_equal(result, expected), f"{name}, x_zp {zero_point}"


def test_shifting_input_and_zero_point_changes_nothing() -> None:
    """Signed activations run as `q - qmin` with zero point `x_zp - qmin`."""
    base = conv_s8("shift", (1, 21, 6, 6), 17, pads=(1, 1, 1, 1), x_zp=40, x_max=127, output=S8)
    assert isinstance(base.spec, fs.ConvS8)
    (x,) = base.inputs()
    expected = fused.run(base.spec, [x])
    moved = replace(base.spec, x_zero_point=40 + 128, x_max=255)
    for kernel in KERNELS:
        if kernel.spec is fs.ConvS8 and not kernel.condition(moved):
            if kernel.backend not in registry.available_backends():
                continue
            for isa in isas_to_test(kernel.backend):
                with forced_isa(isa):
                    step = kernel.prepare(moved, base.shapes, kernel.layouts[0])
                    result = run_guarded(
                        step, [x + np.uint8(128)], kernel.layouts[0], expected.shape
                    )
                assert np.array_equal(result, expected), f"{kernel.name} {isa}"


def test_float_results_do_not_depend_on_threads() -> None:
    case = conv_f32("contract", (2, 33, 13, 11), 37, pads=(1, 1, 1, 1), sparsity=0.7)
    for kernel in KERNELS:
        if not runs(kernel, case) or kernel.backend not in registry.available_backends():
            continue
        for isa in isas_to_test(kernel.backend):
            with forced_isa(isa):
                results = []
                for threads in (1, 2, 3, 7):
                    step = kernel.prepare(case.spec, case.shapes, kernel.layouts[0], threads)
                    got = run_guarded(step, case.inputs(), kernel.layouts[0], case.result)
                    results.append(got)
            for result in results[1:]:
                assert result.tobytes() == results[0].tobytes(), f"{kernel.name} {isa}"


def test_the_rule_for_every_sum_near_ties() -> None:
    """All residues of sums modulo the divisor, through every kernel: 1x1, one input channel.

    The bias takes each output channel to its own neighbourhood of ties.
    """
    outputs = 64
    weight = np.ones((outputs, 1, 1, 1), np.int8)
    bias = ((np.arange(outputs) - 32) * 256).astype(np.int32)
    for shift, output in ((1, FULL), (3, S8), (5, fs.OutputRange(127)), (9, S8)):
        multiplier = np.full(outputs, 2.0**-shift, np.float32)
        spec = fs.ConvS8(fs.Window((1, 1)), 1, weight, bias, 0, multiplier, output)
        x = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
        sums = x.astype(np.int64).reshape(1, -1) + bias[:, None]
        # integers alone: round half to even of sums / 2^shift
        half, rest = sums >> shift, sums & (2**shift - 1)
        middle = 2 ** (shift - 1)
        rounded = half + (rest > middle) + ((rest == middle) & (half % 2 == 1))
        expected = np.clip(rounded + output.zero_point, 0, 255).reshape(1, outputs, 16, 16)
        case = Case(f"ties {shift}", spec, (x.shape,), 0)
        for kernel in KERNELS:
            if not runs(kernel, case) or kernel.backend not in registry.available_backends():
                continue
            for isa in isas_to_test(kernel.backend):
                with forced_isa(isa):
                    step = kernel.prepare(spec, case.shapes, kernel.layouts[0])
                    result = run_guarded(step, [x], kernel.layouts[0], expected.shape)
                assert np.array_equal(result, expected), f"{kernel.name} {isa}, shift {shift}"


@pytest.mark.skipif(sys.platform != "linux", reason="uses mprotect")
@pytest.mark.parametrize("backend", ["c", "numba"])
def test_no_kernel_leaves_its_arrays(backend: registry.Backend) -> None:
    """All cases again, with every array against an unreadable page: first after, then before it.

    In a process of its own, since a kernel that reads one byte too many kills it.
    """
    require(backend)
    script = Path(__file__).with_name("run_beside_guard_pages.py")
    result = subprocess.run(
        [sys.executable, str(script), backend],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONFAULTHANDLER": "1"},
    )
    assert result.returncode == 0, f"{result.stdout[-500:]}\n{result.stderr[-3000:]}"
    assert result.stdout.splitlines()[-1].startswith("ran ")


C_KERNELS = [kernel for kernel in KERNELS if kernel.backend == "c"]


@pytest.mark.parametrize("kernel", C_KERNELS, ids=lambda kernel: kernel.name)
def test_rounding_mode_of_the_caller_does_not_matter(kernel: Kernel) -> None:
    """Kernels set round-to-nearest themselves, and leave the caller's mode as it was."""
    require("c")
    libm = ctypes.CDLL(None)
    upward = 0x800  # FE_UPWARD on x86
    if not hasattr(libm, "fesetround") or os.uname().machine != "x86_64":
        pytest.skip("no fesetround, or not x86")
    case = next(case for case in CASES if runs(kernel, case) and case.shapes[0][-1] > 3)
    layout = kernel.layouts[0]
    step = kernel.prepare(case.spec, case.shapes, layout, 2)
    inputs = case.inputs()  # drawing floats rounds, too
    before = libm.fegetround()
    try:
        libm.fesetround(upward)
        result = run_guarded(step, inputs, layout, case.result)
        after = libm.fegetround()
    finally:
        libm.fesetround(before)
    assert after == upward
    check_result(case, result, kernel)
