"""Convolution and pooling in the reference against loops that follow the definition.

Arrays hold small integers: sums of them are exact in every float type, in whatever order they are
added, so results are compared with `==`.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_calls import f32, requantized, run

from sparing.model import Array


@st.composite
def windows(draw: st.DrawFn) -> dict[str, Any]:
    """Input, kernel, strides, dilations, pads and groups that fit together."""
    axes = draw(st.integers(1, 2))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(axes))

    kernel, strides, dilations = each(1, 3), each(1, 3), each(1, 2)
    pads = each(0, 2) + each(0, 2)
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    spatial = tuple(e + draw(st.integers(0, 4)) for e in extents)
    group = draw(st.integers(1, 3))
    return {
        "x": (draw(st.integers(1, 2)), group * draw(st.integers(1, 2)), *spatial),
        "kernel": kernel,
        "out": group * draw(st.integers(1, 2)),
        "group": group,
        "attributes": {"strides": strides, "dilations": dilations, "pads": pads},
        "seed": draw(st.integers(0, 2**32 - 1)),
    }


def padded(x: Array, pads: tuple[int, ...], value: float) -> Array:
    axes = x.ndim - 2
    widths = [(0, 0), (0, 0), *zip(pads[:axes], pads[axes:], strict=True)]
    return np.pad(x, widths, constant_values=value)


def positions(
    shape: tuple[int, ...], kernel: tuple[int, ...], attributes: dict[str, Any]
) -> tuple[tuple[int, ...], Any]:
    """The output's spatial shape, and a function (output, tap) -> padded input position."""
    strides, dilations = attributes["strides"], attributes["dilations"]
    out = tuple(
        (n - (k - 1) * d - 1) // s + 1
        for n, k, d, s in zip(shape, kernel, dilations, strides, strict=True)
    )

    def at(o: tuple[int, ...], t: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(i * s + j * d for i, s, j, d in zip(o, strides, t, dilations, strict=True))

    return out, at


def conv_loops(x: Array, w: Array, attributes: dict[str, Any], group: int) -> Array:
    """The definition, one product at a time, over int64."""
    x = padded(x.astype(np.int64), attributes["pads"], 0)
    out, at = positions(x.shape[2:], w.shape[2:], attributes)
    y = np.zeros((x.shape[0], w.shape[0], *out), np.int64)
    per_in, per_out = w.shape[1], w.shape[0] // group
    for n, o in itertools.product(range(x.shape[0]), range(w.shape[0])):
        for place in itertools.product(*map(range, out)):
            for c, tap in itertools.product(
                range(per_in), itertools.product(*map(range, w.shape[2:]))
            ):
                source = (n, o // per_out * per_in + c, *at(place, tap))
                weight = (o, c, *tap)
                target = (n, o, *place)
                y[target] += x[source] * int(w[weight])
    return y


def small(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    low = 0 if np.dtype(dtype).kind == "u" else -9
    return rng.integers(low, 10, shape).astype(dtype)


def weights_of(case: dict[str, Any], rng: np.random.Generator, dtype: Any = np.float32) -> Array:
    shape = (case["out"], case["x"][1] // case["group"], *case["kernel"])
    return small(rng, shape, dtype)


@settings(max_examples=60, deadline=None)
@given(windows())
def test_conv_equals_loops(case: dict[str, Any]) -> None:
    rng = np.random.default_rng(case["seed"])
    x, w, b = small(rng, case["x"]), weights_of(case, rng), small(rng, (case["out"],))
    y = run("Conv", x, w, b, group=case["group"], **case["attributes"])
    column = b.reshape(-1, *(1,) * len(case["kernel"]))
    assert y.dtype == np.float32
    assert np.array_equal(y, conv_loops(x, w, case["attributes"], case["group"]) + column)


@settings(max_examples=40, deadline=None)
@given(windows(), st.sampled_from([np.int8, np.uint8]), st.booleans())
def test_conv_integer_equals_loops(case: dict[str, Any], dtype: Any, per_channel: bool) -> None:
    rng = np.random.default_rng(case["seed"])
    x, w = small(rng, case["x"], np.uint8), weights_of(case, rng, dtype)
    x_zero, w_zero = np.uint8(3), small(rng, (case["out"],) if per_channel else (1,), dtype)
    y = run(
        "ConvInteger", x, w, np.asarray(x_zero), w_zero, group=case["group"], **case["attributes"]
    )
    left = x.astype(np.int64) - int(x_zero)
    right = w.astype(np.int64) - w_zero.astype(np.int64).reshape(-1, *(1,) * (w.ndim - 1))
    assert y.dtype == np.int32
    assert np.array_equal(y, conv_loops(left, right, case["attributes"], case["group"]))


@settings(max_examples=40, deadline=None)
@given(windows(), st.floats(1e-3, 0.2))
def test_qlinear_conv_equals_the_rule(case: dict[str, Any], x_scale: float) -> None:
    rng = np.random.default_rng(case["seed"])
    x, w = small(rng, case["x"], np.uint8), weights_of(case, rng, np.int8)
    bias = rng.integers(-500, 500, case["out"]).astype(np.int32)
    sx, sy = np.float32(x_scale), np.float32(0.7)
    sw = rng.uniform(0.01, 1, case["out"]).astype(np.float32)
    zero = np.zeros(case["out"], np.int8)
    y = run(
        "QLinearConv",
        *(x, np.asarray(sx), np.asarray(np.uint8(5)), w, sw, zero),
        *(np.asarray(sy), np.asarray(np.uint8(17)), bias),
        group=case["group"],
        **case["attributes"],
    )
    acc = conv_loops(x.astype(np.int64) - 5, w, case["attributes"], case["group"])
    for index in np.ndindex(*y.shape):
        m = np.float32(float(sx) * float(sw[index[1]]) / float(sy))
        assert y[index] == requantized(int(acc[index]) + int(bias[index[1]]), m, 0, 255, 17)


@settings(max_examples=40, deadline=None)
@given(windows())
def test_conv_transpose_is_the_adjoint_of_conv(case: dict[str, Any]) -> None:
    """<Conv(x), y> = <x, ConvTranspose(y)> for the same weights (and no padding)."""
    rng = np.random.default_rng(case["seed"])
    x, w = small(rng, case["x"]), weights_of(case, rng)
    attributes = {k: v for k, v in case["attributes"].items() if k != "pads"}
    forward = run("Conv", x, w, group=case["group"], **attributes)
    y = small(rng, forward.shape)
    unread = tuple(
        (n - (k - 1) * d - 1) % s
        for n, k, d, s in zip(
            x.shape[2:], case["kernel"], attributes["dilations"], attributes["strides"], strict=True
        )
    )
    back = run("ConvTranspose", y, w, group=case["group"], output_padding=unread, **attributes)
    assert back.shape == x.shape
    assert np.vdot(forward, y) == np.vdot(x, back)


@settings(max_examples=60, deadline=None)
@given(windows(), st.booleans())
def test_pools_equal_loops(case: dict[str, Any], include: bool) -> None:
    rng = np.random.default_rng(case["seed"])
    attributes, kernel = case["attributes"], case["kernel"]
    # A pooling window must reach into the input: limit pads to less than the kernel.
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, attributes["dilations"], strict=True)] * 2
    pads = tuple(min(p, e - 1) for p, e in zip(attributes["pads"], extents, strict=True))
    attributes = {**attributes, "pads": pads}
    x = small(rng, case["x"])
    best, where = run("MaxPool", x, kernel_shape=kernel, outputs=2, **attributes)
    mean = run("AveragePool", x, kernel_shape=kernel, count_include_pad=int(include), **attributes)
    around = padded(x, pads, np.nan)
    out, at = positions(around.shape[2:], kernel, attributes)
    assert best.shape == mean.shape == (*x.shape[:2], *out)
    for index in np.ndindex(*best.shape):
        image, place = around[index[:2]], index[2:]
        read = [image[at(place, tap)] for tap in itertools.product(*map(range, kernel))]
        inside = [float(v) for v in read if not np.isnan(v)]
        if not inside:  # dilation can step over the whole input
            assert best[index] == -np.inf and where[index] == -1 + (where[index] + 1)
            continue
        assert best[index] == max(inside)
        assert x.reshape(-1)[where[index]] == best[index]
        count = len(read) if include else len(inside)
        # One float32 division of an exact sum: correctly rounded, so equal to the same in float32.
        assert mean[index] == np.float32(sum(inside)) / np.float32(count)


@pytest.mark.parametrize("auto_pad, first", [("SAME_UPPER", 1), ("SAME_LOWER", 2)])
def test_same_padding_puts_the_odd_one_last_or_first(auto_pad: str, first: int) -> None:
    x = np.ones((1, 1, 5), np.float32)
    w = f32(*range(1, 5)).reshape(1, 1, 4)
    y = run("Conv", x, w, auto_pad=auto_pad)
    whole = np.pad(x[0, 0], (first, 3 - first))
    assert y[0, 0].tolist() == [float(whole[i : i + 4] @ w[0, 0]) for i in range(5)]


def test_ceil_mode_drops_a_window_that_begins_in_the_end_padding() -> None:
    x = np.arange(1, 5, dtype=np.float32).reshape(1, 1, 4)
    attributes: dict[str, Any] = {"kernel_shape": (2,), "strides": (3,), "ceil_mode": 1}
    assert run("MaxPool", x, pads=(0, 0), **attributes).tolist() == [[[2, 4]]]
    assert run("MaxPool", x, pads=(1, 1), **attributes).tolist() == [[[1, 4]]]
    assert run("AveragePool", x, pads=(0, 0), **attributes).tolist() == [[[1.5, 4]]]
    attributes = {"kernel_shape": (3,), "strides": (4,), "ceil_mode": 1}
    assert run("MaxPool", x, pads=(0, 1), **attributes).tolist() == [[[3]]]


def test_max_pool_positions_column_major() -> None:
    x = f32([[1, 2], [4, 3]]).reshape(1, 1, 2, 2)
    for order, expected in ((0, 2), (1, 1)):
        _, where = run("MaxPool", x, kernel_shape=(2, 2), storage_order=order, outputs=2)
        assert where.item() == expected


def test_large_convolution_is_cut_into_blocks() -> None:
    """More columns than one block of the unfolding holds."""
    rng = np.random.default_rng(0)
    x, w = small(rng, (1, 24, 150, 150)), small(rng, (2, 24, 3, 3))
    whole = run("Conv", x, w)
    halves = [run("Conv", x[:, :, rows], w) for rows in (slice(0, 75), slice(73, 150))]
    assert np.array_equal(whole, np.concatenate(halves, axis=2))


@pytest.mark.parametrize("group", [1, 2, 4])
def test_empty_batch(group: int) -> None:
    x, w = np.zeros((0, 4, 5, 5), np.float32), np.zeros((4, 4 // group, 3, 3), np.float32)
    assert run("Conv", x, w, group=group).shape == (0, 4, 3, 3)
    assert run("MaxPool", x, kernel_shape=(2, 2)).shape == (0, 4, 4, 4)
