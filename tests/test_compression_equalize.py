"""Equalization changes ranges and not the function."""

from __future__ import annotations

from collections.abc import Callable

import models
import numpy as np
import pytest
from onnx import TensorProto

from sparing.compression.equalize import equalizable, equalize
from sparing.compression.quantize import quantize
from sparing.fold import simplify
from sparing.formats.onnx_reader import read_onnx
from sparing.interpreter import run_graph
from sparing.model import Model

Body = Callable[[models.GraphBuilder], None]
SPREAD = np.float32(10.0) ** np.linspace(-2, 2, 8, dtype=np.float32)


def build(body: Body, classes: int = 0) -> Model:
    g = models.GraphBuilder()
    body(g)
    shape: models.Dims = ("N", classes) if classes else ("N", "c", "h", "w")
    proto = g.finish(
        {"input": (TensorProto.FLOAT, ("N", 3, 8, 8))}, {"output": (TensorProto.FLOAT, shape)}
    )
    return simplify(read_onnx(proto))


def uneven(
    g: models.GraphBuilder, x: str, name: str, shape: tuple[int, ...], group: int = 1
) -> str:
    """A convolution to 8 channels whose weights differ by orders of magnitude."""
    w = g.rng.normal(size=shape).astype(np.float32) * SPREAD.reshape(-1, 1, 1, 1)
    b = g.rng.normal(size=8).astype(np.float32) * SPREAD
    inputs = [x, g.weight(f"{name}.w", w), g.weight(f"{name}.b", b)]
    return g.add("Conv", inputs, name, group=group)


def chain(between: tuple[str, ...], group: int = 1) -> Body:
    def body(g: models.GraphBuilder) -> None:
        x = uneven(g, "input", "first", (8, 3, 3, 3))
        for op in between:
            attributes = {"kernel_shape": [2, 2]} if op.endswith("Pool") else {}
            x = g.add(op, [x], f"{op}_out", **attributes)
        weight = g.rng.normal(size=(8, 8 // group, 1, 1)).astype(np.float32)
        g.add("Conv", [x, g.weight("second.w", weight)], "output", group=group)

    return body


def head(g: models.GraphBuilder) -> None:
    x = g.add("Relu", [uneven(g, "input", "first", (8, 3, 3, 3))], "relu")
    x = g.add("Flatten", [x], "flat")  # 36 pixels of each of 8 channels
    g.add("Gemm", [x, g.random("w", (4, 8 * 36), 0.1)], "output", transB=1)


@pytest.mark.parametrize(
    ("body", "classes"),
    [
        (chain(()), 0),
        (chain(("Relu",)), 0),
        (chain(("LeakyRelu", "MaxPool")), 0),
        (chain(("AveragePool",), group=2), 0),
        (chain(("Relu",), group=8), 0),
        (head, 4),
    ],
)
def test_the_function_stays_and_the_ranges_meet(body: Body, classes: int) -> None:
    model = build(body, classes)
    (pair,) = equalizable(model)
    new = equalize(model)
    x = {"input": np.random.default_rng(1).normal(size=(2, 3, 8, 8)).astype(np.float32)}
    wanted, got = (run_graph(m, x)["output"] for m in (model, new))
    # weights rounded once more, sums of up to 288 products
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4 * float(np.abs(wanted).max()))
    (pair,) = equalizable(new)
    one, two = (new.weights[n.inputs[1]].numpy() for n in (pair.first, pair.second))
    groups = int(pair.second.attributes.get("group", 1))  # type: ignore[arg-type]
    first = np.abs(one).reshape(8, -1).max(axis=1)
    split = np.abs(two).reshape(groups, two.shape[0] // groups, 8 // groups, -1)
    second = split.max(axis=(1, 3)).reshape(-1)
    np.testing.assert_allclose(first, second, rtol=1e-5)


def clipped(g: models.GraphBuilder) -> None:
    x = uneven(g, "input", "first", (8, 3, 3, 3))
    x = g.add("Clip", [x, g.weight("lo", np.float32(0)), g.weight("hi", np.float32(6))], "clip")
    g.conv(x, "output", (4, 8, 1, 1))


def read_twice(g: models.GraphBuilder) -> None:
    x = uneven(g, "input", "first", (8, 3, 3, 3))
    g.add("Add", [x, g.conv(x, "second", (8, 8, 1, 1))], "output")


@pytest.mark.parametrize("body", [clipped, read_twice])
def test_what_does_not_commute_is_left_alone(body: Body) -> None:
    model = build(body)
    assert equalize(model) is model


def test_three_layers_in_a_row_converge() -> None:
    def body(g: models.GraphBuilder) -> None:
        x = g.add("Relu", [uneven(g, "input", "first", (8, 3, 3, 3))], "r1")
        x = g.add("Relu", [uneven(g, x, "middle", (8, 1, 3, 3), group=8)], "r2")
        g.conv(x, "output", (4, 8, 1, 1))

    new = equalize(build(body))
    for pair in equalizable(new):
        one, two = (np.abs(new.weights[n.inputs[1]].numpy()) for n in (pair.first, pair.second))
        groups = int(pair.second.attributes.get("group", 1))  # type: ignore[arg-type]
        split = two.reshape(groups, -1, 8 // groups, two[0, 0].size).max(axis=(1, 3)).reshape(-1)
        np.testing.assert_allclose(one.reshape(8, -1).max(axis=1), split, rtol=5e-3)


def test_one_scale_for_all_channels_gains() -> None:
    model = build(chain(("Relu",)))
    rng = np.random.default_rng(4)
    feeds = [{"input": rng.normal(size=(4, 3, 8, 8)).astype(np.float32)} for _ in range(4)]
    wanted = run_graph(model, feeds[0])["output"]
    errors = [
        np.square(run_graph(q, feeds[0])["output"] - wanted).sum()
        for q in (
            quantize(
                model, feeds, per_channel=False, equalize=flag, rounding="nearest", method="minmax"
            )
            for flag in (False, True)
        )
    ]
    assert errors[1] < errors[0]
