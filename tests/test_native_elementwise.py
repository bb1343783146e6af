"""C elementwise operators, poolings and layout changes against the reference, with `==`.

Where the generic test over the registry takes typical shapes, this one walks through the lengths
around each vector width, the corner values of each rounding, and every instruction set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sparing.errors import ModelError
from sparing.ops import fused
from sparing.ops import fused_spec as fs
from sparing.ops.fused_windows import average_pool_counts

pytest.importorskip("sparing.kernels._native", reason="built without a C compiler")

from sparing.kernels import native
from sparing.kernels import native_elementwise as elementwise
from sparing.kernels.step import Layout, Step, in_layout

Array = npt.NDArray[Any]
LAYOUTS: tuple[Layout, ...] = ("nchw", "nhwc")
FULL = fs.OutputRange(0)
ODD = fs.OutputRange(117, 3, 250)
NARROW = fs.OutputRange(64, 0, 127)
# around 16, 32 and 64 bytes: one vector less, exact, more, and the ends of unrolled loops
LENGTHS = (1, 2, 7, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 255, 1000)


@pytest.fixture(params=native.isas(), autouse=True)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = native.isa()
    native.force_isa(request.param)
    yield request.param
    native.force_isa(before)


def u8(shape: Sequence[int], seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def to_memory(logical: Array, layout: Layout) -> Array:
    swap = layout == "nhwc" and logical.ndim == 4
    return np.ascontiguousarray(logical.transpose(0, 2, 3, 1) if swap else logical)


def to_logical(memory: Array, layout: Layout) -> Array:
    return memory.transpose(0, 3, 1, 2) if layout == "nhwc" and memory.ndim == 4 else memory


def guarded_run(step: Step, inputs: Sequence[Array], layout: Layout) -> Array:
    """Run with canaries around the output, so that a write outside it fails the test."""
    margin = 128
    size = step.output.nbytes
    block = np.full(size + 2 * margin, 0xA5, np.uint8)
    output = block[margin : margin + size].view(step.output.dtype).reshape(step.output.shape)
    step.run([to_memory(x, layout) for x in inputs], output)
    assert (block[:margin] == 0xA5).all() and (block[margin + size :] == 0xA5).all()
    return to_logical(output, layout)


def check(
    spec: fs.Spec, inputs: Sequence[Array], layout: Layout = "nchw", threads: int = 2
) -> None:
    """The step that the registry's `prepare` function makes gives the reference's bits."""
    name = {
        fs.Quantize: "quantize",
        fs.Dequantize: "dequantize",
        fs.AddS8: "add_s8",
        fs.MulS8: "mul_s8",
        fs.RescaleS8: "rescale_s8",
        fs.ConcatS8: "concat_s8",
        fs.TableS8: "table_s8",
        fs.MaxPoolS8: "max_pool_s8",
        fs.AveragePoolS8: "average_pool_s8",
    }[type(spec)]
    step: Step = getattr(elementwise, name)(spec, [x.shape for x in inputs], layout, threads)
    result = guarded_run(step, inputs, layout)
    expected = fused.run(spec, inputs)
    assert result.dtype == expected.dtype and result.shape == expected.shape
    np.testing.assert_array_equal(result, expected, err_msg=f"{spec} {layout} {threads} threads")


@pytest.mark.parametrize("length", LENGTHS)
def test_lengths(length: int) -> None:
    a, b = u8((1, length), 1), u8((1, length), 2)
    check(fs.AddS8(128, 0.37, 3, 1.9, ODD), [a, b])
    check(fs.MulS8(128, 3, 0.003, ODD), [a, b])
    check(fs.RescaleS8(77, 0.61, NARROW), [a])
    check(fs.TableS8(u8((256,), 3)), [a])
    check(fs.Dequantize(0.0173, 128), [a])
    x = np.random.default_rng(4).normal(0, 3, (1, length)).astype(np.float32)
    check(fs.Quantize(0.02, ODD), [x])


def test_quantize_corners() -> None:
    """Ties go to even before the zero point is added; NaN is the zero point; infinities clamp."""
    ties = np.arange(-300, 300, dtype=np.float32) * np.float32(0.5)
    special = np.array(
        [np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 3.4e38, -3.4e38], np.float32
    )
    x = np.concatenate([ties, np.nextafter(ties, np.float32(np.inf)), special])[None]
    for output in (FULL, ODD, NARROW):
        for scale in (1.0, 0.1, 3.0, 2.0**-64, 2.0**63):
            with np.errstate(over="ignore"):
                check(fs.Quantize(scale, output), [x])


def test_quantize_divides() -> None:
    """A product with the reciprocal of 0.1 differs from the division on some of these."""
    x = (np.arange(20000, dtype=np.float32) * np.float32(0.05))[None] % np.float32(25)
    by_product = np.rint(x * (np.float32(1) / np.float32(0.1)))
    assert (by_product != np.rint(x / np.float32(0.1))).any()
    check(fs.Quantize(0.1, FULL), [x])


def test_all_pairs() -> None:
    """Every pair of bytes."""
    a, b = (grid.astype(np.uint8).reshape(1, -1) for grid in np.mgrid[0:256, 0:256])
    for multiplier in (0.5, 0.0123, 2.0**-64, 2.0**63):
        check(fs.AddS8(0, multiplier, 255, 0.5, ODD), [a, b])
        check(fs.MulS8(255, 0, multiplier, ODD), [a, b])
    check(fs.AddS8(11, 0.5, 200, 0.5, FULL), [a, b])


def test_rescale_only_clamps_with_multiplier_one() -> None:
    x = np.arange(256, dtype=np.uint8)[None]
    check(fs.RescaleS8(10, 1.0, fs.OutputRange(10, 20, 200)), [x])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 5, 7), (1, 16, 4, 4), (3, 67, 9, 2)])
def test_mul_broadcast(shape: tuple[int, ...], layout: Layout) -> None:
    spec = fs.MulS8(128, 5, 0.0041, NARROW)
    check(spec, [u8(shape), u8((*shape[:2], 1, 1), 1)], layout)
    check(spec, [u8(shape), u8(shape, 1)], layout)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("threads", [1, 3])
def test_concat(layout: Layout, threads: int) -> None:
    rescale = fs.RescaleS8(9, 0.77, ODD)
    spec = fs.ConcatS8((None, rescale, None, fs.RescaleS8(0, 1.3, FULL)))
    for size in ((1, 1), (3, 5), (40, 41)):
        check(spec, [u8((2, c, *size), c) for c in (1, 17, 64, 3)], layout, threads)


def test_concat_of_many_parts() -> None:
    count = 100
    check(fs.ConcatS8((None,) * count), [u8((1, 1 + i % 3, 2, 2), i) for i in range(count)], "nhwc")
    too_many = elementwise.MAX_INPUTS + 1
    with pytest.raises(ModelError, match="at most 1024 inputs"):
        elementwise.concat_s8(fs.ConcatS8((None,) * too_many), [(1, 1, 1, 1)] * too_many, "nchw", 1)


POOLS = [
    (fs.Window((2, 2), (2, 2)), (6, 6)),
    (fs.Window((3, 3), (2, 2), (1, 1, 1, 1)), (15, 14)),
    (fs.Window((3, 3), (2, 2), (0, 0, 0, 0), ceil_mode=True), (10, 12)),
    (fs.Window((3, 2), (2, 3), (1, 0, 2, 1), ceil_mode=True), (11, 9)),
    (fs.Window((3, 3), (1, 1), (2, 2, 2, 2), (2, 2)), (7, 8)),
    (fs.Window((2, 3), (1, 1), (0, 1, 0, 2), (3, 1)), (9, 5)),
    (fs.Window((7, 7)), (7, 7)),  # global
    (fs.Window((1, 1), (3, 3)), (8, 8)),
    (fs.Window((5, 5), (5, 5), (4, 4, 4, 4)), (3, 3)),  # mostly padding
    (fs.Window((2, 2), (3, 3), (0, 3, 0, 3)), (5, 5)),  # the first windows hold padding alone
]


@pytest.mark.parametrize(("window", "size"), POOLS)
@pytest.mark.parametrize("channels", [1, 3, 32, 65, 600])
def test_pools(window: fs.Window, size: tuple[int, int], channels: int) -> None:
    x = u8((2, channels, *size))
    check(fs.MaxPoolS8(window), [x], "nhwc")
    for include_pad in (True, False):
        counts = average_pool_counts(window, *size, include_pad)
        if (counts == 0).any():
            continue  # no divisor: ONNX does not define the average of nothing
        check(fs.AveragePoolS8(window, include_pad, 0.02, 200, 0.017, ODD), [x], "nhwc")


def test_max_pool_of_low_values() -> None:
    """Padding never wins, not even against zeros."""
    x = np.zeros((1, 5, 4, 4), np.uint8)
    x[0, :, 1, 1] = 1
    check(fs.MaxPoolS8(fs.Window((3, 3), (1, 1), (1, 1, 1, 1))), [x], "nhwc")


def test_average_of_large_windows() -> None:
    """Sums beyond 16 bits, and beyond 2^24, where float32(sum) rounds."""
    x = np.full((1, 3, 300, 300), 255, np.uint8)
    x[0, 1] = u8((300, 300))
    spec = fs.AveragePoolS8(fs.Window((300, 300)), False, 0.5, 0, 0.49, FULL)
    assert 300 * 300 * 255 > 2**24
    check(spec, [x], "nhwc")


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 3, 4, 15, 16, 17, 64, 130])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (4, 4), (8, 9), (16, 16), (33, 31)])
def test_transpose(dtype: type[Any], channels: int, size: tuple[int, int]) -> None:
    shape = (2, channels, *size)
    logical = u8(shape).astype(dtype)
    for source, target in (LAYOUTS, LAYOUTS[::-1]):
        step = elementwise.transpose(shape, source, target, np.dtype(dtype), 2)
        given = to_memory(logical, source)
        output = np.zeros(in_layout(shape, target), dtype)
        step.run([given], output)
        np.testing.assert_array_equal(to_logical(output, target), logical)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_large_arrays_over_threads(threads: int) -> None:
    """Sizes that are split over threads, with uneven ends."""
    shape = (2, 37, 61, 53)
    a, b = u8(shape, 1), u8(shape, 2)
    for layout in LAYOUTS:
        check(fs.AddS8(128, 0.37, 3, 1.9, ODD), [a, b], layout, threads)
        check(fs.MulS8(128, 3, 0.003, ODD), [a, u8((2, 37, 1, 1), 3)], layout, threads)
        check(fs.ConcatS8((None, fs.RescaleS8(3, 0.5, ODD))), [a, b], layout, threads)
    check(fs.MaxPoolS8(fs.Window((3, 3), (2, 2), (1, 1, 1, 1))), [a], "nhwc", threads)


def test_sizes_beyond_32_bits_are_refused() -> None:
    with pytest.raises(ModelError, match="at most 2147483647 elements"):
        elementwise.rescale_s8(fs.RescaleS8(0, 1.0, FULL), [(1, 2**16, 2**8, 2**8)], "nhwc", 1)


def test_transpose_refuses_what_it_cannot_do() -> None:
    for shape, source, target, dtype in (
        ((2, 3), "nchw", "nhwc", np.uint8),
        ((1, 2, 3, 4), "nchw", "nchw", np.uint8),
        ((1, 2, 3, 4), "nchw", "nhwc", np.float64),
    ):
        with pytest.raises(ModelError, match="two layouts"):
            elementwise.transpose(shape, source, target, np.dtype(dtype), 1)  # type: ignore[arg-type]
