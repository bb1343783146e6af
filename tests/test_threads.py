"""The thread pool and the choice of instruction set, as Python sees them.

csrc/tests/ tests the pool itself, under sanitizers.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sparing.ops import fused_spec as fs

pytest.importorskip("sparing.kernels._native", reason="built without a C compiler")

from sparing.errors import NativeError
from sparing.kernels import native, native_elementwise, native_float

Array = npt.NDArray[Any]
SHAPE = (1, 40, 33, 35)  # large enough that every operator is split over threads
RANGE = fs.OutputRange(117, 3, 250)


def u8(shape: tuple[int, ...], seed: int) -> Array:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def add(threads: int) -> Callable[[], Array]:
    """A function that runs an addition."""
    spec = fs.AddS8(5, 0.7, 200, 0.4, RANGE)
    return runner(native_elementwise.add_s8(spec, [SHAPE, SHAPE], "nchw", threads), 2)


def pool(threads: int) -> Callable[[], Array]:
    spec = fs.MaxPoolS8(fs.Window((3, 3), (1, 1), (1, 1, 1, 1)))
    return runner(native_elementwise.max_pool_s8(spec, [SHAPE], "nhwc", threads), 1)


def conv(threads: int) -> Callable[[], Array]:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(48, 40, 3, 3)).astype(np.float32)
    bias = rng.normal(size=48).astype(np.float32)
    spec = fs.ConvF32(fs.Window((3, 3), (1, 1), (1, 1, 1, 1)), 1, weight, bias, 0.0)
    return runner(native_float.conv_f32(spec, [SHAPE], "nhwc", threads), 1)


def runner(step: native.NativeStep, inputs: int) -> Callable[[], Array]:
    arrays = [u8(step.inputs[i].shape, i).astype(step.inputs[i].dtype) for i in range(inputs)]

    def run() -> Array:
        output = np.zeros(step.output.shape, step.output.dtype)
        step.run(arrays, output)
        return output

    return run


OPERATORS = [add, pool, conv]


@pytest.mark.parametrize("make", OPERATORS)
def test_results_do_not_depend_on_threads(make: Callable[[int], Callable[[], Array]]) -> None:
    expected = make(1)()
    for threads in (2, 3, 4, 7, 64):
        np.testing.assert_array_equal(make(threads)(), expected, err_msg=f"{threads} threads")


def test_concurrent_runs() -> None:
    """One step serves several Python threads at once; sp_run releases the GIL."""
    runs = [make(threads) for make in OPERATORS for threads in (2, 3)]
    expected = [run() for run in runs]
    wrong: list[int] = []
    start = threading.Barrier(4)

    def repeat() -> None:
        start.wait(timeout=60)
        for _ in range(30):
            for i, run in enumerate(runs):
                if not np.array_equal(run(), expected[i]):
                    wrong.append(i)

    threads = [threading.Thread(target=repeat, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=240)
    assert not any(thread.is_alive() for thread in threads), "a region hangs"
    assert not wrong


def report_sum(queue: Any) -> None:
    queue.put([int(make(2)().astype(np.float64).sum()) for make in (add, pool)])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork() on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_pool_survives_fork() -> None:
    """A child that was forked from a process with a live pool makes a pool of its own."""
    expected = [int(make(2)().astype(np.float64).sum()) for make in (add, pool)]
    context = multiprocessing.get_context("fork")
    for _ in range(3):
        queue = context.Queue()
        child = context.Process(target=report_sum, args=(queue,))
        child.start()
        try:
            assert queue.get(timeout=60) == expected
        finally:
            child.join(timeout=10)
            if child.is_alive():
                child.kill()
        assert [int(make(2)().astype(np.float64).sum()) for make in (add, pool)] == expected


def isa_in_subprocess(wanted: str) -> subprocess.CompletedProcess[str]:
    code = "from sparing.kernels import native; print(native.isa())"
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "SPARING_ISA": wanted},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("isa", native.isas())
def test_environment_forces_the_instruction_set(isa: str) -> None:
    assert isa_in_subprocess(isa).stdout.strip() == isa


def test_empty_environment_means_the_best() -> None:
    assert isa_in_subprocess("").stdout.strip() == native.isas()[0]


@pytest.mark.parametrize("isa", ["avx1024", "AVX2", " portable"])
def test_unknown_instruction_set_is_an_error(isa: str) -> None:
    result = isa_in_subprocess(isa)
    assert result.returncode != 0
    assert f"NativeError: instruction set {isa!r} cannot run here; expected one of" in result.stderr


def test_forcing_an_unknown_instruction_set_changes_nothing() -> None:
    before = native.isa()
    with pytest.raises(NativeError, match="'sse9' cannot run here"):
        native.force_isa("sse9")
    assert native.isa() == before


def test_peaks_are_measured() -> None:
    """Even the slowest 64-bit CPU does one multiply-accumulate every ten cycles."""
    assert native.peak_gmacs("fma", 0.02) > 0.1
    with pytest.raises(NativeError, match="'no such mix' cannot run here"):
        native.peak_gmacs("no such mix", 0.01)
