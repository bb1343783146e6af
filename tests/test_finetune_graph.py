"""Fine-tuning: the PyTorch graph means what the reference says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from finetune_subject import (
    feeds,
    needs_torch,
    one_node,
    scalar,
    torch_output,
)
from models import depthwise_net, qdq_net, residual_net

from sparing.formats.onnx_reader import read_onnx
from sparing.interpreter import run_graph

IMAGE = (2, 4, 7, 9)
AXES = np.array([2, 3])
OPERATORS = {
    "add": one_node("Add", [IMAGE, (1, 4, 1, 1)]),
    "average_pool": one_node("AveragePool", [IMAGE], kernel_shape=(3, 2), strides=(2, 2)),
    "average_pool_borders": one_node(
        "AveragePool", [IMAGE], kernel_shape=(3, 3), strides=(2, 2), pads=(1, 0, 1, 1), ceil_mode=1
    ),
    "average_pool_padding_counts": one_node(
        "AveragePool", [IMAGE], kernel_shape=(3, 3), pads=(1, 1, 0, 1), count_include_pad=1
    ),
    "clip_attributes": one_node("Clip", [IMAGE], 10, min=-0.5, max=0.25),
    "clip_low": one_node("Clip", [IMAGE, scalar(-0.5)]),
    "concat": one_node("Concat", [IMAGE, (2, 3, 7, 9)], axis=1),
    "conv_1d": one_node("Conv", [(2, 3, 11), (5, 3, 4)], pads=(1, 2), strides=(2,)),
    "conv_dilated": one_node("Conv", [IMAGE, (6, 2, 3, 3), (6,)], group=2, dilations=(2, 1)),
    "conv_same": one_node("Conv", [IMAGE, (3, 4, 3, 3)], auto_pad="SAME_UPPER", strides=(2, 2)),
    "div": one_node("Div", [IMAGE, scalar(3)]),
    "elu": one_node("Elu", [IMAGE], alpha=0.5),
    "flatten": one_node("Flatten", [IMAGE], axis=2),
    "gelu": one_node("Gelu", [IMAGE], 20),
    "gemm": one_node("Gemm", [(3, 5), (5, 4), (4,)], alpha=0.5, beta=2.0),
    "global_average_pool": one_node("GlobalAveragePool", [IMAGE]),
    "global_max_pool": one_node("GlobalMaxPool", [IMAGE]),
    "hard_sigmoid": one_node("HardSigmoid", [IMAGE], alpha=0.25),
    "hard_swish": one_node("HardSwish", [IMAGE]),
    "leaky_relu": one_node("LeakyRelu", [IMAGE], alpha=0.2),
    "log_softmax": one_node("LogSoftmax", [IMAGE], axis=1),
    "matmul": one_node("MatMul", [IMAGE, (9, 5)]),
    "max_pool": one_node(
        "MaxPool", [IMAGE], kernel_shape=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1), ceil_mode=1
    ),
    "mul": one_node("Mul", [IMAGE, (4, 1, 1)]),
    "pad": one_node("Pad", [IMAGE, np.array([0, 0, 1, 2, 0, 1, 0, -1]), scalar(0.5)]),
    "prelu": one_node("PRelu", [IMAGE, (4, 1, 1)]),
    "reduce_mean": one_node("ReduceMean", [IMAGE], axes=(2, 3), keepdims=0),
    "reduce_mean_input": one_node("ReduceMean", [IMAGE, AXES], 18),
    "relu": one_node("Relu", [IMAGE]),
    "reshape": one_node("Reshape", [IMAGE, np.array([0, 2, -1, 9])]),
    "sigmoid": one_node("Sigmoid", [IMAGE]),
    "softmax": one_node("Softmax", [IMAGE], axis=1),
    "softmax_flattened": one_node("Softmax", [IMAGE], 11, axis=1),
    "squeeze": one_node("Squeeze", [(2, 4, 1, 1), AXES]),
    "sub": one_node("Sub", [IMAGE, (9,)]),
    "tanh": one_node("Tanh", [IMAGE]),
    "transpose": one_node("Transpose", [IMAGE], perm=(0, 2, 3, 1)),
    "unsqueeze": one_node("Unsqueeze", [(2, 4), np.array([-1, 1])]),
}


@needs_torch
@pytest.mark.parametrize("name", OPERATORS)
def test_operators_mean_what_the_reference_says(name: str) -> None:
    model = OPERATORS[name]
    shape: Any = model.inputs[0].shape
    x = np.random.default_rng(2).normal(0, 1, shape).astype(np.float32)
    (wanted,) = run_graph(model, {"x": x}).values()
    got = torch_output(model, {"x": x})
    assert got.shape == wanted.shape
    # float32 sums of up to 36 products of size 1, in another order; gelu's erf is an approximation
    np.testing.assert_allclose(got, wanted, atol=1e-5)


@needs_torch
def test_every_operator_is_compared() -> None:
    from sparing.compression.torch_ops import OPERATIONS

    tried = {node.op_type for model in OPERATORS.values() for node in model.nodes}
    # Identity is removed before; Shape comes with "softmax_flattened"
    assert tried == OPERATIONS.keys() - {"Identity", "Shape"}


@needs_torch
@pytest.mark.parametrize("build", [residual_net, depthwise_net])
def test_graphs_mean_what_the_reference_says(build: Callable[[], Any]) -> None:
    model = read_onnx(build())
    shape: Any = model.inputs[0].shape
    x = np.random.default_rng(2).normal(0, 1, (8, *shape[1:])).astype(np.float32)
    (wanted,) = run_graph(model, feeds(x)).values()
    # float32 sums of up to 108 products of size 1, in another order, through five layers
    np.testing.assert_allclose(torch_output(model, feeds(x)), wanted, atol=2e-5)


@needs_torch
def test_quantized_graphs_mean_what_the_reference_says() -> None:
    """Up to rounding: sums that differ in the last digit fall on both sides of a tie, which moves
    an activation by a quantum. That happens to every third image; the others show exactness.
    """
    model = read_onnx(qdq_net())
    x = np.random.default_rng(2).normal(0, 1, (64, 3, 8, 8)).astype(np.float32)
    (wanted,) = run_graph(model, feeds(x)).values()
    difference = np.abs(torch_output(model, feeds(x)) - wanted).max(axis=1)
    assert np.median(difference) < 2e-6
    assert difference.max() < 0.04  # of the pool's output, a quantum each
