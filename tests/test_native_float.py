"""The C float32 convolution: within the error bound of its float64 result, for every tile edge.

The bound is `fused.conv_f32_bound`: it holds for every order of summation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sparing.errors import ModelError
from sparing.ops import fused
from sparing.ops import fused_spec as fs

pytest.importorskip("sparing.kernels._native", reason="built without a C compiler")

from sparing.kernels import native, native_float

Array = npt.NDArray[Any]


@pytest.fixture(params=native.isas(), autouse=True)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = native.isa()
    native.force_isa(request.param)
    yield request.param
    native.force_isa(before)


def normal(shape: tuple[int, ...], seed: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def make(
    window: fs.Window,
    outputs: int,
    per_group: int,
    groups: int = 1,
    residual: bool = False,
    lo: float = -np.inf,
    hi: float = np.inf,
) -> fs.ConvF32:
    weight = normal((outputs, per_group, *window.kernel), 1)
    return fs.ConvF32(window, groups, weight, normal((outputs,), 2), lo, hi, residual)


def run(spec: fs.ConvF32, inputs: list[Array], threads: int = 1) -> Array:
    """Result in NCHW; canaries around the output must survive."""
    step = native_float.conv_f32(spec, [x.shape for x in inputs], "nhwc", threads)
    margin, size = 64, int(np.prod(step.output.shape))
    block = np.full(size + 2 * margin, 12345.0, np.float32)
    output = block[margin : margin + size].reshape(step.output.shape)
    step.run([np.ascontiguousarray(x.transpose(0, 2, 3, 1)) for x in inputs], output)
    assert (block[:margin] == 12345).all() and (block[margin + size :] == 12345).all()
    return output.transpose(0, 3, 1, 2)


def check(spec: fs.ConvF32, x: Array) -> None:
    inputs = [x]
    if spec.has_residual:
        out = spec.window.output_size(*x.shape[2:])
        inputs.append(normal((x.shape[0], spec.weight.shape[0], *out), 3))
    results = [run(spec, inputs, threads) for threads in (1, 2, 3)]
    exact, bound = fused.conv_f32_bound(spec, *inputs)
    assert (np.abs(results[0] - exact) <= bound).all()
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


@pytest.mark.parametrize("outputs", [1, 7, 8, 15, 16, 17, 31, 32, 33, 48, 65])
@pytest.mark.parametrize("pixels", [1, 5, 6, 7, 13, 14, 15, 57, 130])
def test_tiles(outputs: int, pixels: int) -> None:
    check(make(fs.Window((1, 1)), outputs, 19, residual=True), normal((1, 19, 1, pixels), 0))


@pytest.mark.parametrize("channels", [1, 3, 16, 319, 320, 321, 512, 650])
@pytest.mark.parametrize("outputs", [5, 32, 40])
def test_blocks_of_k(channels: int, outputs: int) -> None:
    x = normal((2, channels, 4, 5), 0)
    check(make(fs.Window((1, 1)), outputs, channels), x)
    check(make(fs.Window((3, 3), pads=(1, 1, 1, 1)), outputs, channels, residual=True), x)


WINDOWS = [
    fs.Window((3, 3), (1, 1), (1, 1, 1, 1)),
    fs.Window((3, 3), (2, 2), (0, 1, 1, 0)),
    fs.Window((7, 7), (2, 2), (3, 3, 3, 3)),
    fs.Window((1, 5), (1, 3), (0, 2, 0, 2)),
    fs.Window((4, 1), (2, 1), (3, 0, 1, 0)),
    fs.Window((3, 3), (1, 1), (2, 2, 2, 2), (2, 2)),
    fs.Window((2, 3), (1, 2), (1, 3, 0, 4), (3, 1)),
    fs.Window((1, 1), (2, 2)),
    fs.Window((1, 1), (1, 1), (1, 0, 0, 2)),
    fs.Window((3, 3), (1, 1), (6, 6, 6, 6)),  # windows in the padding alone
]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("groups", [1, 3])
def test_windows(window: fs.Window, groups: int) -> None:
    check(make(window, 12, 15 // groups, groups, residual=True), normal((2, 15, 9, 10), 0))


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("channels", [2, 3, 4, 8, 9, 16, 24, 35])
def test_depthwise(window: fs.Window, channels: int) -> None:
    x = normal((2, channels, 9, 16), 0)
    check(make(window, channels, 1, channels, residual=True, lo=-1.0, hi=1.5), x)
    check(make(window, 2 * channels, 1, channels), x)  # two outputs a channel: not depthwise


def test_strides_that_alias_in_the_cache() -> None:
    check(make(fs.Window((1, 1)), 70, 1024), normal((1, 1024, 5, 5), 0))


@pytest.mark.parametrize("outputs", [3, 32])
@pytest.mark.parametrize("groups", [1, 3])
def test_clamp_and_special_values(outputs: int, groups: int) -> None:
    """NaN passes the clamp; infinities are clamped."""
    outputs *= groups
    x = normal((1, outputs, 3, 4), 0)
    x[0, :, 0, 0], x[0, :, 1, 1], x[0, :, 2, 2] = np.nan, np.inf, -np.inf
    weight = np.full((outputs, outputs // groups, 1, 1), 0.5, np.float32)
    spec = fs.ConvF32(fs.Window((1, 1)), groups, weight, np.zeros(outputs, np.float32), -0.5, 0.75)
    result = run(spec, [x])
    assert np.isnan(result[0, :, 0, 0]).all()
    assert (result[0, :, 1, 1] == 0.75).all() and (result[0, :, 2, 2] == -0.5).all()
    rest = np.delete(result.reshape(outputs, 12), [0, 5, 10], axis=1)
    assert (rest >= -0.5).all() and (rest <= 0.75).all()


def test_sizes_beyond_32_bits_are_refused() -> None:
    with pytest.raises(ModelError, match="at most 2147483647 elements"):
        native_float.conv_f32(make(fs.Window((1, 1)), 1, 4), [(2**20, 4, 2**6, 2**4)], "nhwc", 1)
