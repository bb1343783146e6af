"""What stands between Transposes to [N, H, W, C] and back: the same numbers in NCHW order."""

from __future__ import annotations

from onnx import TensorProto
from qdq_builder import QdqBuilder, feeds_for
from test_lower_channels import SHAPE, assert_same_meaning, works

import sparing
from sparing.fold import simplify
from sparing.formats.onnx_reader import read_onnx
from sparing.ops import fused_spec as fs


def last(b: QdqBuilder, x: str, name: str) -> str:
    return b.add("Transpose", [x], name, perm=[0, 2, 3, 1])


def first(b: QdqBuilder, x: str, name: str) -> str:
    return b.add("Transpose", [x], name, perm=[0, 3, 1, 2])


def norm(b: QdqBuilder, x: str, name: str) -> str:
    scale, bias = (b.random(f"{name}.{part}", (8,), 1.0) for part in ("scale", "bias"))
    return b.add("LayerNormalization", [x, scale, bias], name)


def dense(b: QdqBuilder, x: str, name: str, k: int, n: int) -> str:
    product = b.add("MatMul", [x, b.random(f"{name}.weight", (k, n), 0.3)], f"{name}.product")
    return b.add("Add", [b.random(f"{name}.bias", (n,), 0.3), product], name)


def block(b: QdqBuilder, x: str, name: str) -> str:
    """Of a ConvNeXt: norm, two layers, a factor for each channel, a residual."""
    y = norm(b, last(b, x, f"{name}.last"), f"{name}.norm")
    y = b.add("Relu", [dense(b, y, f"{name}.up", 8, 16)], f"{name}.relu")
    y = dense(b, y, f"{name}.down", 16, 8)
    y = b.add("Mul", [y, b.random(f"{name}.gamma", (8,), 0.5)], f"{name}.scaled")
    return b.add("Add", [x, first(b, y, f"{name}.first")], name)


def test_a_block_becomes_convolutions() -> None:
    b = QdqBuilder()
    model = b.model(SHAPE, block(b, block(b, "input", "one"), "two"))
    kinds = [type(w) for w in works(model)]
    assert kinds == [fs.NormalizeF32, fs.ConvF32, fs.ConvF32] * 2
    folded = simplify(model)
    assert simplify(folded) is folded
    assert_same_meaning(model, 1e-4)


def test_quantize_keeps_a_block_in_integers() -> None:
    b = QdqBuilder()
    stem = b.conv("input", "stem", (8, 8, 1, 1), bias=True)
    model = b.model(SHAPE, b.conv(block(b, stem, "one"), "last", (3, 8, 1, 1), bias=True))
    quantized = sparing.quantize(model, [feeds_for(model)])
    kinds = [type(w).__name__ for w in works(quantized)]
    layers = ["ConvS8", "NormalizeS8", "ConvS8", "ConvS8", "ConvS8"]
    assert kinds == ["Quantize", *layers, "Dequantize"]


def test_a_normalization_alone_stays_between_its_transposes() -> None:
    b = QdqBuilder()
    x = first(b, norm(b, last(b, "input", "last"), "norm"), "first")
    model = b.model(SHAPE, x)
    assert simplify(model) is model
    assert [type(w) for w in works(model)] == [fs.NormalizeF32]
    assert_same_meaning(model, 1e-5)


def test_values_are_made_in_the_order_that_others_read() -> None:
    """Outputs of the model, operators over other axes, and operands that were never transposed."""
    b = QdqBuilder()
    turned = last(b, "input", "turned")
    up = dense(b, turned, "up", 8, 4)
    mean = b.add("ReduceMean", [up], "mean", axes=[1], keepdims=1)
    both = b.add("Mul", [up, mean], "both")
    back = first(b, b.add("Sub", [turned, b.random("one", (1,), 1.0)], "less"), "back")
    names = {"turned": 4, "up": 4, both: 4, back: 4}
    proto = b.finish(
        {"input": (TensorProto.FLOAT, SHAPE)},
        {n: (TensorProto.FLOAT, [f"{n}{i}" for i in range(rank)]) for n, rank in names.items()},
    )
    model = read_onnx(proto)
    assert any(node.op_type == "Conv" for node in simplify(model).nodes)
    assert_same_meaning(model, 1e-5)


def test_constants_of_other_shapes_leave_the_order() -> None:
    b = QdqBuilder()
    turned = last(b, "input", "turned")
    x = b.add("Add", [turned, b.random("plane", (5, 4, 1), 1.0)], "added")
    model = b.model(SHAPE, first(b, b.add("Relu", [x], "relu"), "back"))
    assert_same_meaning(model, 1e-6)
