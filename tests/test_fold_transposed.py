"""ConvTranspose becomes a convolution and DepthToSpace: the same numbers for all attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qdq_builder import QdqBuilder, feeds_for
from test_lower_channels import SHAPE, assert_same_meaning, works

import sparing
from sparing.fold import simplify
from sparing.interpreter import run_graph
from sparing.lowered import ReferenceOp
from sparing.ops import fused_spec as fs

ATTRIBUTES: dict[str, tuple[int, tuple[int, int], dict[str, Any]]] = {
    "2x2 stride 2": (1, (2, 2), {"strides": [2, 2]}),
    "4x4 stride 2, padded": (1, (4, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "3x3 stride 2": (
        *(1, (3, 3)),
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
    ),
    "3x3 stride 1": (1, (3, 3), {"pads": [1, 0, 0, 2]}),
    "5x2 stride 3, uneven": (
        *(1, (5, 2)),
        {"strides": [3, 3], "pads": [2, 0, 1, 1], "output_padding": [2, 1]},
    ),
    "large pads": (1, (6, 6), {"strides": [2, 2], "pads": [3, 4, 2, 3]}),
    "1x1 stride 2": (1, (1, 1), {"strides": [2, 2], "output_padding": [1, 0]}),
    "groups": (2, (4, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "depthwise": (8, (4, 3), {"strides": [2, 2], "pads": [1, 1, 0, 1]}),
}


def layer(b: QdqBuilder, x: str, name: str, integer: bool = False) -> str:
    groups, kernel, attributes = ATTRIBUTES[name]
    shape, each = (8, 6 // groups if groups < 8 else 1, *kernel), 6 if groups < 8 else 8
    if integer:
        values = b.rng.integers(-127, 128, shape).astype(np.int8)
        scale = (0.01 * b.rng.uniform(0.5, 1.5, shape[1])).astype(np.float32)
        given = [b.weight("w.q", values), b.weight("w.scale", scale)]
        weight = b.add("DequantizeLinear", given, "w", axis=1)
    else:
        weight = b.random("w", shape, 0.3)
    bias = b.random("bias", (each,), 0.2)
    return b.add("ConvTranspose", [x, weight, bias], "up", group=groups, **attributes)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_float(name: str) -> None:
    b = QdqBuilder()
    model = b.model(SHAPE, layer(b, "input", name))
    assert not any(isinstance(w, ReferenceOp) for w in works(model))
    assert sum(isinstance(w, fs.ConvF32) for w in works(model)) == 1
    assert sum(isinstance(w, fs.GatherPixels) for w in works(model)) == 0, "cropped as it is made"
    assert_same_meaning(model, 1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("name", ATTRIBUTES)
def test_quantized(name: str, dtype: type) -> None:
    b = QdqBuilder(dtype=dtype)
    up = layer(b, b.quantize("input", "x"), name, integer=True)
    model = b.model(SHAPE, b.quantize(b.add("Relu", [up], "positive"), "y", scale=0.05))
    kinds = [type(w).__name__ for w in works(model)]
    moves = [] if name == "3x3 stride 1" else ["DepthToSpace"]
    assert kinds == ["Quantize", "ConvS8", *moves, "Dequantize"]
    assert_same_meaning(model, 0.05 * 1.0001)


def test_batch_norm_and_functions_go_into_the_convolution() -> None:
    b = QdqBuilder()
    up = layer(b, "input", "groups")
    values = [b.weight(f"bn{i}", (b.rng.random(6) + 0.5).astype(np.float32)) for i in range(4)]
    x = b.add("BatchNormalization", [up, *values], "bn")
    model = b.model(SHAPE, b.add("LeakyRelu", [b.add("Relu", [x], "relu")], "leaky", alpha=0.25))
    folded = simplify(model)
    kinds = [node.op_type for node in folded.nodes]
    assert kinds == ["Conv", "Relu", "LeakyRelu", "DepthToSpace", "Slice"]
    feeds = feeds_for(model)
    for want, got in zip(
        run_graph(model, feeds).values(), run_graph(folded, feeds).values(), strict=True
    ):
        assert np.abs(want - got).max() < 1e-5


def test_what_else_reads_the_values_finds_them() -> None:
    b = QdqBuilder()
    up = layer(b, "input", "2x2 stride 2")
    model = b.model(SHAPE, b.add("Mul", [b.add("Sigmoid", [up], "gate"), up], "silu"))
    assert_same_meaning(model, 1e-5)


@pytest.mark.parametrize(
    "attributes",
    [
        {"strides": [2, 1]},
        {"dilations": [2, 2]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"pads": [4, 4, 4, 4], "strides": [2, 2]},
    ],
)
def test_others_stay(attributes: dict[str, Any]) -> None:
    b = QdqBuilder()
    inputs = ["input", b.random("w", (8, 2, 3, 3), 0.3)]
    model = b.model(SHAPE, b.add("ConvTranspose", inputs, "up", **attributes))
    assert simplify(model) is model
    assert_same_meaning(model, 1e-6)


def test_quantize_makes_it_a_layer() -> None:
    b = QdqBuilder()
    x = b.add("Relu", [layer(b, "input", "4x4 stride 2, padded")], "positive")
    model = b.model(SHAPE, b.conv(x, "last", (3, 6, 1, 1), bias=True))
    quantized = sparing.quantize(model, [feeds_for(model)])
    kinds = [type(w).__name__ for w in works(quantized)]
    assert kinds == ["Quantize", "ConvS8", "DepthToSpace", "ConvS8", "Dequantize"]
