"""Gradients against differences of whole runs, in float64, and the worth of channels."""

from __future__ import annotations

from collections.abc import Callable

import models
import numpy as np
import numpy.typing as npt
import pytest

from sparing.compression.gradients import ELEMENTWISE, Adjoints, backward
from sparing.compression.importance import LEAST, row_importance
from sparing.compression.layers import is_layer
from sparing.compression.spool import Spool
from sparing.formats.onnx_reader import read_onnx
from sparing.interpreter import run_graph
from sparing.model import Model, Tensor
from sparing.ops.registry import TABLE

F64 = npt.NDArray[np.float64]
Build = Callable[[models.GraphBuilder], str]  # adds nodes between "input" and the name it returns


def conv(kernel: int, channels: int, **attributes: object) -> Build:
    groups = int(attributes.get("group", 1))  # type: ignore[call-overload]
    shape = (channels, 4 // groups, kernel, kernel)
    return lambda g: g.conv("input", "y", shape, bias=True, **attributes)


def unary(op_type: str, **attributes: object) -> Build:
    return lambda g: g.add(op_type, ["input"], "y", **attributes)


def both(op_type: str) -> Build:
    """Both arguments depend on the input, one is broadcast."""

    def build(g: models.GraphBuilder) -> str:
        pooled = g.add("GlobalAveragePool", [g.conv("input", "c", (4, 4, 1, 1))], "pooled")
        return g.add(op_type, ["input", pooled], "y")

    return build


def clip(low: float, high: float | None) -> Build:
    def build(g: models.GraphBuilder) -> str:
        bounds = [g.weight("low", np.float32(low))]
        bounds += [] if high is None else [g.weight("high", np.float32(high))]
        return g.add("Clip", ["input", *bounds], "y")

    return build


def head(g: models.GraphBuilder) -> str:
    flat = g.add("Flatten", [g.add("Transpose", ["input"], "t", perm=[0, 2, 3, 1])], "flat")
    first = g.add("Gemm", [flat, g.random("a", (196, 5)), g.random("b", (5,))], "first", alpha=0.5)
    return g.add("MatMul", [first, g.random("c", (5, 3))], "y")


CASES: dict[str, Build] = {
    "conv 3x3": conv(3, 6, pads=[1, 1, 1, 1]),
    "conv, strided, rest unread": conv(2, 6, strides=[3, 2], pads=[0, 1, 0, 0]),
    "conv, dilated": conv(3, 6, dilations=[2, 1], pads=[2, 0, 1, 3]),
    "conv, depthwise": conv(3, 4, group=4, pads=[1, 1, 1, 1], strides=[2, 2]),
    "conv, same": conv(3, 6, auto_pad="SAME_LOWER", strides=[2, 2]),
    "max pool": unary("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "average pool": unary("AveragePool", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 0]),
    "average pool, padding counts": unary(
        "AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1
    ),
    "concat": lambda g: g.add("Concat", ["input", g.conv("input", "c", (2, 4, 1, 1))], "y", axis=1),
    "head": head,
    "clip": clip(-0.5, 0.25),
    "clip from below": clip(0.5, None),
    **{op_type: both(op_type) for op_type in ("Add", "Sub", "Mul", "Div")},
    **{op_type: unary(op_type) for op_type in ("Relu", "Sigmoid", "HardSwish", "LeakyRelu", "Neg")},
}


def wide(build: Build) -> Model:
    """A graph in float64, so that differences tell something."""
    g = models.GraphBuilder()
    output = build(g)
    rank = 2 if build is head else 4
    net = read_onnx(g.finish({"input": (1, (1, 4, 7, 7))}, {output: (1, ["?"] * rank)}))
    weights = {
        name: Tensor(t.numpy().astype(np.float64)) if t.numpy().dtype == np.float32 else t
        for name, t in net.weights.items()
    }
    return net.replace(weights=weights)


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_the_limit_of_differences(case: str) -> None:
    net, rng = wide(CASES[case]), np.random.default_rng(0)
    x, way = rng.normal(size=(2, 1, 4, 7, 7))
    values: dict[str, F64] = {}
    run_graph(net, {"input": x}, observe=values.__setitem__)
    seed = rng.normal(size=values["y"].shape)

    gradient = backward(net, values, {"y": seed})["input"]

    step = 1e-6
    above, below = (run_graph(net, {"input": x + s * way})["y"] for s in (step, -step))
    slope = float((seed * (above - below)).sum() / (2 * step))
    # 1e-3: kinks of Relu and of the pools, and STEP, the rule's own difference
    assert float((gradient * way).sum()) == pytest.approx(slope, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("conv")])
def test_sessions_give_the_gradients_of_numpy(case: str) -> None:
    net = wide(CASES[case])
    weights = {name: Tensor(t.numpy().astype(np.float32)) for name, t in net.weights.items()}
    net, rng = net.replace(weights=weights), np.random.default_rng(0)
    values: dict[str, npt.NDArray[np.float32]] = {}
    x = rng.normal(size=(1, 4, 7, 7)).astype(np.float32)
    run_graph(net, {"input": x}, observe=values.__setitem__)
    adjoints = Adjoints()
    for _ in range(2):  # the second time by the session of the first
        seed = rng.normal(size=values["y"].shape).astype(np.float32)
        wanted = backward(net, values, {"y": seed})["input"]
        got = backward(net, values, {"y": seed}, adjoints)["input"]
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_every_elementwise_operator_has_a_reference() -> None:
    assert set(ELEMENTWISE) <= TABLE.keys()


def test_channels_that_nobody_hears_are_worth_least() -> None:
    g = models.GraphBuilder()
    x = g.conv("input", "first", (6, 4, 3, 3), bias=True, pads=[1, 1, 1, 1])
    x = g.add("GlobalAveragePool", [g.add("Relu", [x], "relu")], "pooled")
    heard = np.ones((5, 6, 1, 1), np.float32) * np.arange(1, 6)[:, None, None, None]
    heard[:, 2] = 0
    x = g.add("Conv", [x, g.weight("heard", heard.astype(np.float32))], "second")
    g.add("Flatten", [x], "output")
    net = read_onnx(g.finish({"input": (1, ("N", 4, 7, 7))}, {"output": (1, ("N", 5))}))
    rng = np.random.default_rng(0)
    with Spool() as images:
        for _ in range(8):
            images.append({"input": rng.normal(size=(1, 4, 7, 7)).astype(np.float32)})
        worth = row_importance(net, [n for n in net.nodes if is_layer(net, n)], images)

    first = worth[net.nodes[0].label]
    assert first[2] == LEAST
    assert (np.delete(first, 2) > LEAST).all()
    assert first.mean() == pytest.approx(1 + LEAST)
