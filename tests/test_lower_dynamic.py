"""Dynamically quantized layers become fused operators, with the very results of their graphs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from kernel_checks import require

import sparing
from sparing.interpreter import run_graph
from sparing.kernels.registry import available_backends
from sparing.lower import lower
from sparing.lowered import ReferenceOp
from sparing.model import Model, Node, Tensor, TensorInfo
from sparing.ops import fused_spec as fs

FLOAT = np.dtype(np.float32)


@dataclass
class Graph:
    """Builds dynamically quantized layers, node by node."""

    x: tuple[int, ...]
    seed: int = 0
    nodes: list[Node] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def constant(self, value: Any) -> str:
        name = f"c{len(self.weights)}"
        self.weights[name] = Tensor(np.asarray(value))
        return name

    def add(self, op_type: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        at = len(self.nodes)
        names = tuple(f"n{at}_{i}" for i in range(outputs))
        self.nodes.append(Node(op_type, inputs, names, attributes, f"node{at}"))
        return names if outputs > 1 else names[0]

    def quantized(self, x: str) -> tuple[str, str, str]:
        return self.add("DynamicQuantizeLinear", x, outputs=3)

    def layer(
        self,
        quantized: tuple[str, str, str],
        shape: tuple[int, ...],
        *,
        op_type: str = "ConvInteger",
        dtype: Any = np.int8,
        zero: Any = None,
        per_channel: bool = False,
        bias: bool = True,
        swapped: bool = False,
        zero_point: str = "",
        **attributes: Any,
    ) -> str:
        """shape: of the weights. swapped: products and sums have their operands in other order."""
        limits = np.iinfo(dtype)
        weight = self.rng.integers(limits.min, limits.max + 1, shape).astype(dtype)
        y, x_scale, found = quantized
        inputs = [y, self.constant(weight), zero_point or found]
        if zero is not None:
            inputs.append(self.constant(np.array(zero, dtype)))
        is_conv = op_type == "ConvInteger"
        channels = shape[0] if is_conv else shape[1]
        along = (1, channels, *(1,) * (len(shape) - 2)) if is_conv else (channels,)
        scale = self.rng.uniform(0.001, 0.1, along if per_channel else ()).astype(np.float32)

        def ordered(a: str, b: str) -> tuple[str, str]:
            return (b, a) if swapped else (a, b)

        unit = self.add("Mul", *ordered(x_scale, self.constant(scale)))
        sums = self.add("Cast", self.add(op_type, *inputs, **attributes), to=1)
        name: str = self.add("Mul", *ordered(sums, unit))
        if bias:
            added = self.rng.normal(0, 5, along).astype(np.float32)
            name = self.add("Add", *ordered(name, self.constant(added)))
        return name

    def model(self, *outputs: str) -> Model:
        given = TensorInfo("x", FLOAT, ("N", *self.x[1:]))
        made = tuple(TensorInfo(name, FLOAT, None) for name in outputs)
        return Model(tuple(self.nodes), (given,), made, self.weights, opset=13)


def operators(model: Model, x: tuple[int, ...]) -> list[str]:
    works = [op.work for op in lower(model, {"x": x}).operations]
    return [w.node.op_type if isinstance(w, ReferenceOp) else type(w).__name__ for w in works]


def check_equal(model: Model, x: tuple[int, ...], backend: Any) -> None:
    require(backend)
    rng = np.random.default_rng(1)
    session = sparing.Session(model, backend, threads=2)
    names = [info.name for info in model.outputs]
    draws = (rng.normal(0, 2, x), rng.uniform(-9, -1, x), rng.uniform(0, 7, x), np.zeros(x))
    for drawn in draws:
        feeds = {"x": drawn.astype(np.float32)}
        want = run_graph(model, feeds, names)
        for name, got in zip(names, session.run(None, feeds), strict=True):
            assert np.array_equal(got, want[name])


FUSED = ["DynamicRange", "DynamicQuantize", "DynamicConv"]
PADS = {"pads": (1, 1, 1, 1)}
LAYERS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "conv": ((2, 5, 7, 9), (6, 5, 3, 3), PADS),
    "pointwise": ((1, 20, 6, 5), (33, 20, 1, 1), {"per_channel": True}),
    "no bias": ((1, 4, 6, 6), (7, 4, 3, 3), {"bias": False, "strides": (2, 2)}),
    "swapped": ((1, 4, 6, 6), (7, 4, 3, 3), {"swapped": True, "auto_pad": "SAME_UPPER"}),
    "uint8 weights": ((1, 4, 6, 6), (7, 4, 3, 3), {"dtype": np.uint8, "zero": 131} | PADS),
    "uint8 weights, int8 after all": ((1, 4, 6, 6), (7, 4, 1, 1), {"dtype": np.uint8, "zero": 128}),
    "zero points by channel": ((1, 4, 6, 6), (3, 4, 3, 3), {"zero": [5, -7, 0]}),
    "depthwise": ((2, 9, 7, 6), (9, 1, 5, 5), {"group": 9, "pads": (2, 2, 2, 2)}),
    "depthwise uint8": ((2, 9, 7, 6), (9, 1, 3, 3), {"group": 9, "dtype": np.uint8, "zero": 100}),
    "1-D": ((2, 3, 11), (4, 3, 3), {"pads": (2, 0), "per_channel": True}),
    "1-D depthwise": ((2, 4, 13), (4, 1, 3), {"group": 4, "dilations": (2,)}),
    "matrix": ((5, 13), (13, 7), {"op_type": "MatMulInteger", "per_channel": True}),
    "matrix, 3-D": ((2, 3, 4), (4, 6), {"op_type": "MatMulInteger"}),
    "matrix, zero points": ((5, 3), (3, 2), {"op_type": "MatMulInteger", "zero": [1, -2]}),
}


@pytest.mark.parametrize("backend", ["c", "numba", "numpy"])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_equal_their_graphs(name: str, backend: Any) -> None:
    x, weight, more = LAYERS[name]
    graph = Graph(x)
    last = graph.layer(graph.quantized("x"), weight, **more)
    for model in (graph.model(last), graph.model(graph.add("Relu", last))):
        assert [op for op in operators(model, x) if op != "View"] == FUSED
        check_equal(model, x, backend)


@pytest.mark.parametrize("backend", available_backends())
def test_layers_share_what_is_quantized_once(backend: Any) -> None:
    x = (1, 8, 6, 6)
    graph = Graph(x)
    quantized = graph.quantized("x")
    a = graph.layer(quantized, (8, 8, 3, 3), pads=(1, 1, 1, 1))
    b = graph.layer(quantized, (8, 8, 1, 1))
    both = graph.add("Relu", graph.add("Add", a, b))
    model = graph.model(graph.layer(graph.quantized(both), (4, 8, 1, 1)))
    assert operators(model, x) == [*FUSED, "DynamicConv", "AddF32", *FUSED]
    check_equal(model, x, backend)


@pytest.mark.parametrize("backend", available_backends())
def test_others_may_read_scale_and_zero_point(backend: Any) -> None:
    x = (1, 8, 6, 6)
    graph = Graph(x)
    quantized = graph.quantized("x")
    last = graph.layer(quantized, (4, 8, 1, 1))
    model = graph.model(last, *quantized)
    assert sorted(operators(model, x)) == ["DynamicConv", "DynamicQuantizeLinear", "DynamicRange"]
    check_equal(model, x, backend)


def test_what_is_no_such_layer_keeps_its_operators() -> None:
    x = (1, 8, 6, 6)
    groups = Graph(x)
    grouped = groups.model(groups.layer(groups.quantized("x"), (8, 4, 3, 3), group=2))

    other = Graph(x)
    strange = other.constant(np.array(3, np.uint8))
    own_zero = other.model(other.layer(other.quantized("x"), (8, 8, 1, 1), zero_point=strange))

    shared = Graph(x)
    last = shared.layer(shared.quantized("x"), (8, 8, 1, 1), bias=False)
    sums = next(node.outputs[0] for node in shared.nodes if node.op_type == "ConvInteger")

    mixed = Graph(x)
    first, second = mixed.quantized("x"), mixed.quantized(mixed.add("Neg", "x"))
    borrowed = mixed.layer((first[0], second[1], first[2]), (8, 8, 1, 1))

    wide = Graph((1, 8, 6, 6))
    scaled = wide.layer(wide.quantized("x"), (8, 8, 1, 1), bias=False)
    by_pixel = wide.add("Add", scaled, wide.constant(np.ones((1, 1, 6, 6), np.float32)))

    for model in (grouped, own_zero, shared.model(last, sums), mixed.model(borrowed)):
        assert "DynamicConv" not in operators(model, x)
        check_equal(model, x, "numpy")
    found = operators(wide.model(by_pixel), x)
    assert "DynamicConv" in found and "Add" in found


def test_a_depthwise_layer_of_many_products_stays_exact() -> None:
    x, side = (1, 2, 17, 17), 17
    graph = Graph(x)
    shape = (2, 1, side, side)
    model = graph.model(graph.layer(graph.quantized("x"), shape, group=2, dtype=np.uint8, zero=0))
    assert "DynamicConv" not in operators(model, x)
    for backend in available_backends():
        check_equal(model, x, backend)


@pytest.mark.parametrize("backend", available_backends())
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, 1e-40])
def test_ranges_of_what_is_hardly_a_number(backend: Any, value: float) -> None:
    """As the reference says, wherever the value stands."""
    graph = Graph((200,))
    model = graph.model(*graph.quantized("x"))
    model = replace(model, inputs=(TensorInfo("x", FLOAT, ("N",)),))
    kernel = next(sparing.kernels.registry.candidates(fs.DynamicRange(), backend))
    for at in (0, 31, 64, 199):
        x = np.linspace(-1e-3, 1e-3, 200).astype(np.float32)
        x[at] = value
        with np.errstate(all="ignore"):
            want = run_graph(model, {"x": x}, [info.name for info in model.outputs])
            step = kernel.prepare(fs.DynamicRange(), [x.shape], "nchw")
            found = np.empty(2, np.float32)
            step.run([x], found)
        _, scale, zero_point = (want[info.name] for info in model.outputs)
        assert np.array_equal(found, np.array([scale, zero_point], np.float32), equal_nan=True)
