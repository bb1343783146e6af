"""Folding leaves a model's results alone and its graph smaller."""

from __future__ import annotations

from collections import Counter
from typing import Any

import models
import numpy as np
import numpy.typing as npt
import pytest
from onnx import ModelProto, TensorProto

from sparing.fold import fold_constants, remove_dead_code, remove_no_ops, simplify
from sparing.fold_linear import fold_batch_norm, normalize_gemm
from sparing.formats.onnx_reader import read_onnx
from sparing.interpreter import run_graph
from sparing.model import Model, Node, Tensor, TensorInfo

F32 = np.dtype(np.float32)


def finish(g: models.GraphBuilder, x: tuple[int | str, ...], y: tuple[int | str, ...]) -> Model:
    return read_onnx(
        g.finish({"input": (TensorProto.FLOAT, x)}, {"output": (TensorProto.FLOAT, y)})
    )


def operators(model: Model) -> Counter[str]:
    return Counter(node.op_type for node in model.nodes)


def assert_same(before: Model, after: Model, *shape: int) -> None:
    x = np.random.default_rng(7).normal(size=shape).astype(np.float32)
    wanted = run_graph(before, {before.inputs[0].name: x})
    got = run_graph(after, {before.inputs[0].name: x})
    assert wanted.keys() == got.keys()
    for name, array in wanted.items():
        # Folding rounds each weight once more, 2^-24 relative; sums of some hundred terms near 1
        # then differ by a few times 1e-6.
        np.testing.assert_allclose(got[name], array, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [False, True])
def test_batch_norm_vanishes_into_the_convolution(bias: bool) -> None:
    g = models.GraphBuilder()
    x = g.conv("input", "conv", (6, 4, 3, 3), bias=bias)
    g.batch_norm(x, "output", 6)
    model = finish(g, ("N", 4, 8, 8), ("N", 6, 6, 6))
    folded = simplify(model)
    assert operators(folded) == {"Conv": 1}
    assert folded.nodes[0].name == "conv/node", "the layer keeps its name"
    assert_same(model, folded, 2, 4, 8, 8)


def test_batch_norm_uses_its_epsilon_and_is_folded_in_float64() -> None:
    g = models.GraphBuilder()
    x = g.conv("input", "conv", (1, 1, 1, 1), bias=True)
    names = [
        g.weight(name, np.array([value], np.float32))
        for name, value in (("s", 3.0), ("b", 0.25), ("m", 1e4), ("v", 1e-3))
    ]
    g.add("BatchNormalization", [x, *names], "output", epsilon=0.125)
    model = finish(g, ("N", 1, 1, 1), ("N", 1, 1, 1))
    weight, bias = (model.weights[f"conv.{part}"].numpy().item() for part in ("weight", "bias"))
    factor = 3.0 / np.sqrt(np.float64(np.float32(1e-3)) + 0.125)
    folded = simplify(model)
    values = [folded.weights[name].numpy().item() for name in folded.nodes[0].inputs[1:]]
    assert values == [np.float32(weight * factor), np.float32((bias - 1e4) * factor + 0.25)]


def test_a_convolution_that_something_else_reads_keeps_its_weights() -> None:
    g = models.GraphBuilder()
    x = g.conv("input", "conv", (4, 4, 1, 1))
    g.add("Add", [g.batch_norm(x, "bn", 4), x], "output")
    model = finish(g, ("N", 4, 5, 5), ("N", 4, 5, 5))
    folded = simplify(model)
    assert operators(folded) == {"Conv": 1, "Mul": 1, "Add": 2}
    assert_same(model, folded, 2, 4, 5, 5)


def test_a_convolution_whose_result_is_an_output_keeps_its_weights() -> None:
    g = models.GraphBuilder()
    g.batch_norm(g.conv("input", "conv", (4, 4, 1, 1)), "output", 4)
    shape: tuple[int, models.Dims] = (TensorProto.FLOAT, ("N", 4, 5, 5))
    model = read_onnx(g.finish({"input": shape}, {"conv": shape, "output": shape}))
    assert_same(model, simplify(model), 2, 4, 5, 5)


def test_shared_weights_are_folded_apart() -> None:
    g = models.GraphBuilder()
    g.random("w", (4, 4, 1, 1))
    x = g.batch_norm(g.add("Conv", ["input", "w"], "first"), "bn1", 4)
    g.batch_norm(g.add("Conv", [x, "w"], "second"), "output", 4)
    model = finish(g, ("N", 4, 5, 5), ("N", 4, 5, 5))
    folded = simplify(model)
    assert operators(folded) == {"Conv": 2}
    assert_same(model, folded, 2, 4, 5, 5)


@pytest.mark.parametrize("rank", [2, 4])
def test_a_batch_norm_on_its_own_becomes_mul_and_add(rank: int) -> None:
    g = models.GraphBuilder()
    g.batch_norm(g.add("Relu", ["input"], "relu"), "output", 3)
    shape = ("N", 3, 4, 4)[:rank]
    model = finish(g, shape, shape)
    folded = simplify(model)
    assert operators(folded) == {"Relu": 1, "Mul": 1, "Add": 1}
    assert_same(model, folded, *(2, 3, 4, 4)[:rank])


def test_constant_factors_and_offsets_fold_like_batch_norm() -> None:
    g = models.GraphBuilder()
    x = g.conv("input", "conv", (4, 3, 1, 1), bias=True)
    x = g.add("Mul", [g.random("factor", (4, 1, 1)), x], "scaled")
    x = g.add("Sub", [x, g.random("offset", (1, 4, 1, 1))], "shifted")
    x = g.add("Div", [x, g.weight("two", np.float32(2))], "halved")
    g.add("Add", [x, g.weight("one", np.float32(1))], "output")
    model = finish(g, ("N", 3, 5, 5), ("N", 4, 5, 5))
    folded = simplify(model)
    assert operators(folded) == {"Conv": 1}
    assert_same(model, folded, 2, 3, 5, 5)


@pytest.mark.parametrize("shape", [(5,), (1, 1, 5, 5), (1, 4, 5, 5)])
def test_offsets_that_vary_along_other_axes_stay(shape: tuple[int, ...]) -> None:
    g = models.GraphBuilder()
    x = g.conv("input", "conv", (4, 3, 1, 1))
    g.add("Add", [x, g.random("offset", shape)], "output")
    model = finish(g, ("N", 3, 5, 5), ("N", 4, 5, 5))
    assert operators(simplify(model)) == {"Conv": 1, "Add": 1}


@pytest.mark.parametrize(
    "attributes", [{}, {"transB": 1}, {"alpha": 0.5, "beta": 2.0}, {"transB": 1, "beta": -1.0}]
)
@pytest.mark.parametrize("bias", [None, (), (1,), (6,), (1, 6)])
def test_gemm_gets_one_form(attributes: dict[str, Any], bias: tuple[int, ...] | None) -> None:
    g = models.GraphBuilder()
    weight = g.random("w", (6, 4) if attributes.get("transB") else (4, 6))
    c = [] if bias is None else [g.random("c", bias)]
    g.batch_norm(g.add("Gemm", ["input", weight, *c], "gemm", **attributes), "output", 6)
    model = finish(g, ("N", 4), ("N", 6))
    folded = simplify(model)
    (node,) = folded.nodes
    assert node.op_type == "Gemm"
    assert [folded.weights[n].shape for n in node.inputs[1:]] == [(6, 4), (6,)]
    assert_same(model, folded, 3, 4)


def test_a_matrix_product_and_its_bias_become_a_gemm() -> None:
    g = models.GraphBuilder()
    x = g.add("MatMul", [g.add("Flatten", ["input"], "flat"), g.random("w", (12, 5))], "product")
    g.add("Add", [x, g.random("b", (5,))], "output")
    model = finish(g, ("N", 3, 2, 2), ("N", 5))
    folded = simplify(model)
    assert operators(folded) == {"Flatten": 1, "Gemm": 1}
    assert_same(model, folded, 3, 3, 2, 2)


def test_a_batched_matrix_product_stays() -> None:
    g = models.GraphBuilder()
    g.add("MatMul", ["input", g.random("w", (4, 5))], "output")
    model = finish(g, ("N", 3, 4), ("N", 3, 5))
    assert simplify(model) is model


def test_constant_sub_graphs_are_computed() -> None:
    g = models.GraphBuilder()
    size = g.add("Gather", [g.add("Shape", ["input"], "s"), g.weight("i", np.int64(0))], "n")
    size = g.add("Unsqueeze", [size, g.weight("axes", np.array([0]))], "n1")
    shape = g.add("Concat", [size, g.weight("rest", np.array([-1]))], "shape", axis=0)
    g.add("Reshape", ["input", shape], "output")
    fixed = finish(g, (2, 3, 4), (2, 12))
    folded = simplify(fixed)
    assert operators(folded) == {"Reshape": 1}
    assert folded.weights[folded.nodes[0].inputs[1]].numpy().tolist() == [2, -1]
    assert_same(fixed, folded, 2, 3, 4)
    dynamic = fixed.replace(inputs=(TensorInfo("input", F32, ("N", 3, 4)),))
    assert operators(simplify(dynamic))["Shape"] == 1, "a symbolic size is not constant"


def test_compressed_weights_stay_compressed() -> None:
    model = read_onnx(models.qdq_net())
    assert fold_constants(model) is model
    assert fold_batch_norm(model) is model


def test_no_ops_vanish_also_before_an_output() -> None:
    g = models.GraphBuilder()
    x = g.add("Identity", [g.add("Relu", ["input"], "relu")], "same")
    x = g.add("Dropout", [x, g.weight("ratio", np.float32(0.5))], "dropped")
    g.add("Identity", [x], "output")
    model = finish(g, ("N", 3), ("N", 3))
    folded = simplify(model)
    assert [(n.op_type, n.outputs) for n in folded.nodes] == [("Relu", ("output",))]
    assert_same(model, folded, 2, 3)


def test_identities_between_fixed_names_stay() -> None:
    x, y = TensorInfo("x", F32, (2,)), TensorInfo("y", F32, (2,))
    z, a = TensorInfo("z", F32, (2,)), TensorInfo("a", F32, (2,))
    nodes = (
        Node("Identity", ("x",), ("y",)),  # input to output
        Node("Relu", ("x",), ("z",)),
        Node("Identity", ("z",), ("a",)),  # output to output
    )
    model = Model(nodes, (x,), (y, z, a), {})
    assert remove_no_ops(model) is model


def test_dropout_in_training_mode_stays() -> None:
    weights = {"r": Tensor(np.array(0.5, np.float32)), "t": Tensor(np.array(True))}
    ends = [TensorInfo(name, F32, (2,)) for name in ("x", "y")]
    model = Model(
        (Node("Dropout", ("x", "r", "t"), ("y",)),), (ends[0],), (ends[1],), weights, opset=13
    )
    assert simplify(model) is model


def test_dead_nodes_and_weights_vanish() -> None:
    info = TensorInfo("x", F32, (2,)), TensorInfo("y", F32, (2,))
    nodes = (
        Node("Relu", ("x",), ("y",)),
        Node("Add", ("x", "w"), ("unused",)),
    )
    model = Model(nodes, info[:1], info[1:], {"w": Tensor(np.zeros(2, np.float32))})
    cleaned = remove_dead_code(model)
    assert len(cleaned.nodes) == 1 and not cleaned.weights
    assert remove_dead_code(cleaned) is cleaned


@pytest.mark.parametrize("build", [models.residual_net, models.depthwise_net, models.qdq_net])
def test_simplify_ends_and_changes_nothing_the_second_time(build: Any) -> None:
    proto: ModelProto = build()
    model = read_onnx(proto)
    once = simplify(model)
    assert simplify(once) is once
    assert "BatchNormalization" not in operators(once)
    assert normalize_gemm(once) is once
    size = once.inputs[0].shape
    assert size is not None
    assert_same(model, once, 2, *(d for d in size if isinstance(d, int)))


def _scaled(values: npt.NDArray[np.float32]) -> Model:
    g = models.GraphBuilder()
    x = g.conv("input", "conv", (len(values), 3, 1, 1))
    g.add("Div", [x, g.weight("divisor", values.reshape(-1, 1, 1))], "output")
    return finish(g, ("N", 3, 5, 5), ("N", len(values), 5, 5))


def test_division_by_zero_is_not_folded() -> None:
    assert operators(simplify(_scaled(np.array([1, 0], np.float32))))["Div"] == 1
    assert operators(simplify(_scaled(np.array([1, 2], np.float32))))["Div"] == 0
