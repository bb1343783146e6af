"""Operators on integers, as onnxruntime's QOperator format has them, become quantized floats."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from models import GraphBuilder
from onnx import TensorProto

import sparing
from sparing.formats.onnx_reader import read_onnx
from sparing.interpreter import run_graph
from sparing.lower import lower
from sparing.model import Model, Node

SHAPE = (2, 4, 6, 6)


def between_quantizers(op: str, *constants: np.ndarray[Any, Any], **attributes: Any) -> Model:
    """float -> QuantizeLinear -> op on uint8 -> DequantizeLinear -> float."""
    g = GraphBuilder(opset=17)
    scale, zero = g.weight("scale", np.float32(0.03)), g.weight("zero", np.uint8(120))
    q = g.add("QuantizeLinear", ["input", scale, zero], "q")
    names = [g.weight(f"c{i}", c) if c.size else "" for i, c in enumerate(constants)]
    moved = g.add(op, [q, *names], "moved", **attributes)
    g.add("DequantizeLinear", [moved, scale, zero], "output")
    dims = tuple(f"d{i}" for i in range(2 if op == "Flatten" else 4))
    return read_onnx(
        g.finish({"input": (TensorProto.FLOAT, SHAPE)}, {"output": (TensorProto.FLOAT, dims)})
    )


NONE = np.zeros(0, np.float32)
MOVES = {
    "MaxPool": between_quantizers("MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
    "Resize": between_quantizers("Resize", NONE, np.array([1, 1, 2, 2], np.float32)),
    "Slice": between_quantizers("Slice", np.array([1]), np.array([3]), np.array([1])),
    "Flatten": between_quantizers("Flatten"),
    "Transpose": between_quantizers("Transpose", perm=[0, 2, 3, 1]),
}


@pytest.mark.parametrize("model", MOVES.values(), ids=MOVES)
def test_moves_of_integers_are_moves_of_quantized_values(model: Model) -> None:
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    want = run_graph(model, {"input": x})["output"]
    (got,) = sparing.Session(model, backend="numpy").run(None, {"input": x})
    assert np.array_equal(got, want)


@pytest.mark.parametrize("name", ["MaxPool", "Resize", "Slice"])
def test_they_have_kernels(name: str) -> None:
    works = [type(op.work).__name__ for op in lower(MOVES[name], {"input": SHAPE}).operations]
    assert "ReferenceOp" not in works


def test_a_quantized_softmax() -> None:
    g = GraphBuilder(opset=17)
    one, zero = g.weight("scale", np.float32(0.05)), g.weight("zero", np.uint8(128))
    small, low = g.weight("small", np.float32(1 / 256)), g.weight("low", np.uint8(0))
    q = g.add("QuantizeLinear", ["input", one, zero], "q")
    soft = g.add("Transpose", [q], "s", perm=[0, 1])  # in its place: onnx does not know it
    g.add("DequantizeLinear", [soft, small, low], "output")
    feeds = {"input": (TensorProto.FLOAT, (3, 5))}
    model = read_onnx(g.finish(feeds, {"output": (TensorProto.FLOAT, (3, 5))}))
    quantize, _, dequantize = model.nodes
    inputs = (q, one, zero, small, low)
    softmax = Node("QLinearSoftmax", inputs, (soft,), {"axis": 1}, domain="com.microsoft")
    model = model.replace(nodes=(quantize, softmax, dequantize))
    x = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    (got,) = sparing.Session(model).run(None, {"input": x})
    want = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    # half a quantum of x in the exponent, at most 0.4 of it where a probability is 0.6; and its own
    assert np.abs(got - want).max() < 0.025 * 0.5 + 1 / 256
