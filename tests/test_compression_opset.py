"""Raising a model to opset 13 leaves its results alone."""

from __future__ import annotations

import models
import numpy as np
import pytest
from onnx import TensorProto

from sparing.compression.opset import raise_opset
from sparing.compression.quantize import quantize
from sparing.errors import ModelError
from sparing.formats.onnx_reader import read_onnx
from sparing.interpreter import run_graph
from sparing.model import Model, Node, TensorInfo


def old_net(opset: int, softmax_axis: int) -> Model:
    """Every operator whose attributes became inputs, as opsets before 11 write them."""
    g = models.GraphBuilder(opset=opset)
    x = g.conv("input", "conv", (4, 3, 3, 3), bias=True)
    x = g.batch_norm(x, "bn", 4)
    x = g.add("Clip", [x], "clip", min=-0.5, max=2.0)
    x = g.add("Pad", [x], "pad", pads=[0, 0, 1, 1, 0, 0, 1, 1], value=0.25)
    x = g.conv(x, "conv2", (4, 4, 3, 3))
    x = g.add("Dropout", [x], "dropout", ratio=0.5)
    x = g.add("Unsqueeze", [x], "five", axes=[1])
    x = g.add("Squeeze", [x], "four", axes=[1])
    x = g.add("ReduceMean", [x], "mean", axes=[2], keepdims=1)
    g.add("Softmax", [x], "output", axis=softmax_axis)
    shape: tuple[int, models.Dims] = (TensorProto.FLOAT, ("N", 4, 1, 6))
    return read_onnx(g.finish({"input": (TensorProto.FLOAT, ("N", 3, 8, 8))}, {"output": shape}))


def image() -> dict[str, np.ndarray]:
    return {"input": np.random.default_rng(0).normal(size=(3, 3, 8, 8)).astype(np.float32)}


@pytest.mark.parametrize("opset", [7, 9, 10])
@pytest.mark.parametrize("axis", [1, 2, 3])
def test_quantizing_an_old_model(opset: int, axis: int) -> None:
    model = old_net(opset, axis)
    quantized = quantize(model, [image()])
    assert quantized.opset == 13
    wanted, got = (run_graph(m, image())["output"] for m in (model, quantized))
    assert wanted.shape == got.shape
    # Probabilities; the two quantized layers err by some 1 % of logits near 1. A Softmax over
    # other axes would be wrong by factors.
    np.testing.assert_allclose(got, wanted, atol=0.02)
    assert np.abs(wanted - got).max() > 0


def test_a_bound_that_is_absent_stays_absent() -> None:
    x, y = (TensorInfo(name, np.dtype(np.float32), (2,)) for name in "xy")
    clip = Node("Clip", ("x",), ("y",), {"max": 6.0}, "clip")
    (raised,) = raise_opset(Model((clip,), (x,), (y,), {}, opset=9)).nodes
    assert raised.inputs == ("x", "", "clip/max") and not raised.attributes


def test_newer_models_pass() -> None:
    model = read_onnx(models.residual_net(opset=13))
    assert raise_opset(model) is model


def test_operators_that_changed_are_refused() -> None:
    model = read_onnx(models.residual_net(opset=10))
    resize = Node("Resize", ("input", "stem.weight"), ("big",), {}, "up")
    with pytest.raises(ModelError, match="Resize 'up' means something else from opset 13 on"):
        raise_opset(model.replace(nodes=(*model.nodes, resize)))
