"""Running one kernel on one case and judging the result: what kernel tests share.

Every array a kernel sees lies between guard bytes, and all of them are looked at afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import pytest
from case_builders import Case

from sparing.kernels import registry
from sparing.kernels.registry import Kernel
from sparing.kernels.step import Array, ArraySpec, Layout, Step
from sparing.ops import fused
from sparing.ops import fused_spec as fs
from sparing.ops.winograd_bound import exact_and_bound

GUARD = 80  # bytes; a multiple of 16 alone, as NumPy's own arrays are aligned
_GUARD_BYTE = 0xA5
# of nc4hw4's channels beyond the last one, which may hold anything; slabs hold NaN there
FILL = np.uint8(0x5A)


def require(backend: registry.Backend) -> None:
    """Skip the test where the backend is absent; fail where C is demanded."""
    if backend in registry.available_backends():
        return
    reason = f"backend {backend!r} is not installed"
    if backend == "c" and os.environ.get("SPARING_REQUIRE_NATIVE") == "1":
        pytest.fail(reason + ", and SPARING_REQUIRE_NATIVE=1 demands it")
    pytest.skip(reason)


def isas_to_test(backend: registry.Backend) -> Sequence[str]:
    """Instruction sets a kernel is tested with; "" stands for the one the backend chose."""
    if backend != "c" or "c" not in registry.available_backends() or os.environ.get("SPARING_ISA"):
        return ("",)
    from sparing.kernels import native

    return native.isas()


@contextmanager
def forced_isa(name: str) -> Iterator[None]:
    """Prepare and run C kernels for an instruction set; "" leaves the one in use."""
    if not name:
        yield
        return
    from sparing.kernels import native

    before = native.isa()
    native.force_isa(name)
    try:
        yield
    finally:
        native.force_isa(before)


def runs(kernel: Kernel, case: Case) -> bool:
    return kernel.spec is type(case.spec) and not kernel.condition(case.spec)


def to_layout(array: Array, layout: Layout) -> Array:
    if layout == "nhwc" and array.ndim == 4:
        return array.transpose(0, 2, 3, 1)
    if layout == "nc4hw4" and array.ndim == 4:
        words = np.full((array.shape[0], -(-array.shape[1] // 4), *array.shape[2:], 4), FILL)
        for channel in range(array.shape[1]):
            words[:, channel // 4, :, :, channel % 4] = array[:, channel]
        return words
    if layout == "slab" and array.ndim == 4:
        pixels = array.transpose(0, 2, 3, 1).reshape(-1, array.shape[1])
        slabs = np.full((-(-len(pixels) // 64), array.shape[1], 64), np.nan, array.dtype)
        for i, pixel in enumerate(pixels):
            slabs[i // 64, :, i % 64] = pixel
        return slabs
    return array


def from_layout(array: Array, layout: Layout, shape: tuple[int, ...]) -> Array:
    """shape: NCHW."""
    if len(shape) != 4 or layout == "nchw":
        return array
    if layout == "nhwc":
        return array.transpose(0, 3, 1, 2)
    if layout == "nc4hw4":
        return np.stack([array[:, c // 4, :, :, c % 4] for c in range(shape[1])], axis=1)
    batch, channels, height, width = shape
    pixels = [array[i // 64, :, i % 64] for i in range(batch * height * width)]
    rows = np.reshape(pixels, (batch, height, width, channels))
    return rows.astype(array.dtype, copy=False).transpose(0, 3, 1, 2)


class Guarded:
    """An array of the given kind between guard bytes."""

    def __init__(self, spec: ArraySpec, fill: Array | None = None) -> None:
        raw = np.full(spec.nbytes + 2 * GUARD + 64, _GUARD_BYTE, np.uint8)
        start = -raw.ctypes.data % 64 + GUARD
        self._before, self._after = raw[:start], raw[start + spec.nbytes :]
        self.array: Array = raw[start : start + spec.nbytes].view(spec.dtype).reshape(spec.shape)
        if fill is not None:
            self.array[...] = fill

    def intact(self) -> bool:
        return bool((self._before == _GUARD_BYTE).all() and (self._after == _GUARD_BYTE).all())


def run_guarded(
    step: Step, inputs: Sequence[Array], layout: Layout, shape: tuple[int, ...]
) -> Array:
    """Run on NCHW inputs; the NCHW result, of that shape. Fails where anything but the output is
    written."""
    given = [to_layout(x, layout) for x in inputs]
    arrays = [Guarded(spec, x) for spec, x in zip(step.inputs, given, strict=True)]
    output = Guarded(step.output)
    step.run([guarded.array for guarded in arrays], output.array)
    assert output.intact(), "wrote outside the output"
    for i, (guarded, x) in enumerate(zip(arrays, given, strict=True)):
        assert guarded.intact(), f"wrote outside input {i}"
        assert np.array_equal(guarded.array, x, equal_nan=x.dtype.kind == "f"), f"wrote input {i}"
    return from_layout(output.array, layout, shape)


@lru_cache(maxsize=512)
def _expected(case: Case, operator: str) -> tuple[Array, ...]:
    """What the case's result must be: (result,), or (result, bound) for float convolution."""
    with np.errstate(all="ignore"):  # special values overflow and make NaN on purpose
        if isinstance(case.spec, fs.ConvF32):
            return exact_and_bound(operator, case.spec, *case.inputs())
        return (fused.run(case.spec, case.inputs()),)


def check_result(case: Case, result: Array, kernel: Kernel) -> None:
    """Equal, NaN to NaN; sums of floats within the bound of the kernel's arithmetic."""
    operator = kernel.operator if isinstance(case.spec, fs.ConvF32) else ""
    expected, *bound = _expected(case, operator)
    assert result.shape == expected.shape
    with np.errstate(all="ignore"):
        right = (result == expected) | (np.isnan(result) & np.isnan(expected))
        if bound:
            assert result.dtype == np.float32
            # where the bound is not finite, the sum was infinite: then results are equal or wrong
            right |= np.isfinite(bound[0]) & (np.abs(result - expected) <= bound[0])
            if operator == "winograd_f32":  # what is not finite spreads over tiles
                right |= ~np.isfinite(bound[0])
        else:
            assert result.dtype == expected.dtype
    wrong = np.argwhere(~right)
    if len(wrong):
        first = tuple(wrong[0])
        pytest.fail(
            f"{len(wrong)} of {result.size} differ, first at {[int(i) for i in first]}: "
            f"got {result[first]}, expected {expected[first]}\n{case!r}"
        )


def check(kernel: Kernel, case: Case, layout: Layout, threads: Sequence[int], isa: str) -> None:
    """The kernel's result is right, and the same bits for every number of threads."""
    with forced_isa(isa):
        try:
            results = []
            for count in threads:
                step = kernel.prepare(case.spec, case.shapes, layout, count)
                results.append(run_guarded(step, case.inputs(), layout, case.result))
                check_result(case, results[-1], kernel)
                assert results[-1].tobytes() == results[0].tobytes(), f"{count} threads differ"
        except AssertionError as error:
            raise AssertionError(f"{error}\n{kernel.name} in {layout}, {isa=}: {case!r}") from error


def thread_counts(kernel: Kernel) -> Sequence[int]:
    """Numba twins run on the calling thread alone, whatever they are asked for."""
    return (1, 2, 3) if kernel.backend == "c" else (1,)
