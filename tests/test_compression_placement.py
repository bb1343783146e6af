"""Which values are quantized, and which share a scale, in graphs of many shapes."""

from __future__ import annotations

from collections.abc import Callable

import models
import numpy as np
import pytest
from onnx import TensorProto

from sparing.compression.placement import Placement, place
from sparing.compression.quantize import quantize
from sparing.fold import simplify
from sparing.formats.onnx_reader import read_onnx
from sparing.interpreter import run_graph
from sparing.model import Model

CHANNELS = 4
Body = Callable[[models.GraphBuilder], None]


def build(body: Body, opset: int = 17) -> Model:
    """A model from "input" [N, 4, 8, 8] to "output", whose rank the body decides."""
    g = models.GraphBuilder(opset=opset)
    body(g)
    rank = 2 if g.nodes[-1].op_type in ("Gemm", "Flatten") else 4
    output: tuple[int, models.Dims] = (TensorProto.FLOAT, [f"d{i}" for i in range(rank)])
    return read_onnx(
        g.finish({"input": (TensorProto.FLOAT, ("N", CHANNELS, 8, 8))}, {"output": output})
    )


def conv(g: models.GraphBuilder, x: str, name: str) -> str:
    return g.conv(x, name, (CHANNELS, CHANNELS, 1, 1), bias=True)


def placed(body: Body, *ignored: str) -> Placement:
    model = simplify(build(body))
    found = place(model, set(ignored))
    x = np.random.default_rng(0).normal(size=(2, CHANNELS, 8, 8)).astype(np.float32)
    quantized = quantize(model, [{"input": x}], ignored=ignored)
    wanted, got = (run_graph(m, {"input": x})["output"] for m in (model, quantized))
    # Quantized on what it was calibrated on; a misplaced or unshared quantizer costs far more than
    # the 8 % (22 dB) that some layers of 8-bit rounding come to.
    assert np.sqrt(((wanted - got) ** 2).sum()) < 0.08 * np.sqrt((wanted**2).sum())
    return found


def test_squeeze_and_excite() -> None:
    def body(g: models.GraphBuilder) -> None:
        x = g.add("HardSwish", [conv(g, "input", "conv")], "swish")
        gate = conv(g, g.add("GlobalAveragePool", [x], "pool"), "squeeze")
        gate = conv(g, g.add("Relu", [gate], "squeeze_relu"), "excite")
        x = g.add("Mul", [x, g.add("Sigmoid", [gate], "gate")], "scaled")
        conv(g, x, "output")

    found = placed(body)
    assert found.values == (
        *("input", "conv", "swish", "pool", "squeeze_relu", "excite", "gate", "scaled"),
        "output",
    )
    assert found.clamped == {"squeeze": "squeeze_relu"} and not found.source


def test_parts_that_only_a_concat_reads_take_its_scale() -> None:
    def body(g: models.GraphBuilder) -> None:
        x = g.add("Relu", [conv(g, "input", "conv0")], "relu0")
        one = conv(g, x, "one")
        both = g.add("Concat", [x, one], "both", axis=1)
        x = g.conv(both, "conv1", (CHANNELS, 2 * CHANNELS, 1, 1))
        g.add("Concat", [both, x], "output", axis=1)

    found = placed(body)
    assert found.source == {"one": "both", "conv1": "output"}
    assert "relu0" in found.values and found.root("relu0") == "relu0"


def test_nested_concats_are_resolved_to_the_outermost() -> None:
    def body(g: models.GraphBuilder) -> None:
        inner = g.add("Concat", [conv(g, "input", "a"), conv(g, "input", "b")], "inner", axis=1)
        pooled = g.add("MaxPool", [conv(g, "input", "c")], "pooled", kernel_shape=[1, 1])
        g.add("Concat", [inner, pooled], "output", axis=1)

    found = placed(body)
    assert {found.root(name) for name in ("a", "b", "inner", "output")} == {"output"}
    # what is pooled has one scale with its pool, which is not the Concat's
    assert found.root("pooled") == found.root("c") == "c"


def test_moves_share_and_poolings_do_not() -> None:
    def body(g: models.GraphBuilder) -> None:
        x = g.add("Relu", [conv(g, "input", "conv")], "relu")
        x = g.add("MaxPool", [x], "max", kernel_shape=[2, 2], strides=[2, 2])
        x = g.add("Pad", [x, g.weight("pads", np.array([0, 0, 1, 1, 0, 0, 1, 1]))], "padded")
        x = g.add("AveragePool", [x], "average", kernel_shape=[3, 3])
        x = g.add("Transpose", [x], "turned", perm=[0, 1, 3, 2])
        x = g.add("Flatten", [x], "flat")
        g.add("Gemm", [x, g.random("w", (4 * CHANNELS * 4, 5), 0.2)], "output")

    found = placed(body)
    assert found.source == {
        "max": "relu",
        "padded": "max",
        "turned": "average",
        "flat": "turned",
    }
    assert found.root("padded") == "relu"


def test_padding_with_other_values_than_zero_stays_float() -> None:
    def body(g: models.GraphBuilder) -> None:
        pads = g.weight("pads", np.array([0, 0, 1, 1, 0, 0, 1, 1]))
        x = g.add("Pad", [conv(g, "input", "conv"), pads, g.weight("one", np.float32(1))], "p")
        conv(g, x, "output")

    assert placed(body).source == {}


def test_a_relu_that_others_bypass_is_an_operator_of_its_own() -> None:
    def body(g: models.GraphBuilder) -> None:
        x = conv(g, "input", "conv")
        g.add("Add", [g.add("Relu", [x], "relu"), x], "output")

    found = placed(body)
    assert found.values == ("input", "conv", "relu", "output") and not found.clamped


def test_a_clamp_with_bounds_from_elsewhere_is_not_fused() -> None:
    def body(g: models.GraphBuilder) -> None:
        x = conv(g, "input", "conv")
        low = g.add("Squeeze", [g.add("ReduceMin", [x], "low4")], "low")
        conv(g, g.add("Clip", [x, low], "clip"), "output")

    found = placed(body)
    assert not found.clamped
    assert found.values == ("input", "conv", "clip", "output")  # clip: conv2 reads it


def test_what_has_a_float_operand_stays_float() -> None:
    def body(g: models.GraphBuilder) -> None:
        x = conv(g, "input", "conv")
        y = g.add("Softmax", [x], "soft", axis=1)
        g.add("Add", [x, y], "output")

    found = placed(body)
    assert found.values == ("input", "conv")


def test_constant_operands_stay_float() -> None:
    def body(g: models.GraphBuilder) -> None:
        x = g.add("Relu", [conv(g, "input", "conv")], "relu")
        g.add("Add", [x, g.random("c", (CHANNELS, 1, 1))], "output")

    assert placed(body).values == ("input", "relu")


def test_an_ignored_activation_is_not_fused() -> None:
    def body(g: models.GraphBuilder) -> None:
        conv(g, g.add("Relu", [conv(g, "input", "conv")], "relu"), "output")

    assert placed(body).clamped == {"conv": "relu"}
    found = placed(body, "relu/node")
    assert found.values == ("input", "conv", "relu", "output") and not found.clamped


def test_a_network_input_that_is_added_is_quantized_only_for_a_layer() -> None:
    def body(g: models.GraphBuilder) -> None:
        g.add("Add", ["input", conv(g, "input", "conv")], "output")

    assert placed(body).values == ("input", "conv", "output")


def test_the_same_value_twice() -> None:
    def body(g: models.GraphBuilder) -> None:
        x = conv(g, "input", "conv")
        g.add("Concat", [g.add("Add", [x, x], "double"), x], "output", axis=1)

    assert placed(body).values == ("input", "conv", "double", "output")


def test_an_input_that_is_an_output_keeps_its_name() -> None:
    g = models.GraphBuilder()
    conv(g, "input", "output")
    shape: tuple[int, models.Dims] = (TensorProto.FLOAT, ("N", CHANNELS, 8, 8))
    model = read_onnx(g.finish({"input": shape}, {"output": shape, "input": shape}))
    x = np.random.default_rng(0).normal(size=(2, CHANNELS, 8, 8)).astype(np.float32)
    results = run_graph(quantize(model, [{"input": x}]), {"input": x})
    assert np.array_equal(results["input"], x)


@pytest.mark.parametrize("opset", [9, 10, 12, 13, 21])
def test_matrix_products_of_sequences(opset: int) -> None:
    g = models.GraphBuilder(opset=opset)
    x = g.add("Relu", [g.add("MatMul", ["input", g.random("w", (6, 8), 0.5)], "m")], "relu")
    g.add("MatMul", [x, g.random("v", (8, 3), 0.5)], "output")
    shapes: list[tuple[int, models.Dims]] = [(TensorProto.FLOAT, ("N", 5, n)) for n in (6, 3)]
    model = read_onnx(g.finish({"input": shapes[0]}, {"output": shapes[1]}))
    x_values = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    quantized = quantize(model, [{"input": x_values}])
    assert quantized.opset == max(opset, 13)
    axes = [n.attributes.get("axis") for n in quantized.nodes if n.outputs[0].startswith("m/node")]
    assert axes == [1], "scales along the columns, which are the output channels"
    wanted, got = (run_graph(m, {"input": x_values})["output"] for m in (model, quantized))
    assert np.sqrt(((wanted - got) ** 2).sum()) < 0.03 * np.sqrt((wanted**2).sum())


def test_a_gelu_written_out_is_one_function() -> None:
    def body(g: models.GraphBuilder) -> None:
        root, one, half = (g.weight(f"c{i}", np.float32(c)) for i, c in enumerate((2**0.5, 1, 0.5)))
        x = conv(g, "input", "conv")
        erf = g.add("Erf", [g.add("Div", [x, root], "divided")], "erf")
        product = g.add("Mul", [x, g.add("Add", [erf, one], "added")], "product")
        conv(g, g.add("Mul", [product, half], "gelu"), "output")

    assert placed(body).values == ("input", "conv", "gelu", "output")


def test_a_hard_swish_written_out_is_one_function() -> None:
    def body(g: models.GraphBuilder) -> None:
        three, zero, six = (g.weight(f"c{c}", np.float32(c)) for c in (3, 0, 6))
        x = conv(g, "input", "conv")
        clipped = g.add("Clip", [g.add("Add", [x, three], "added"), zero, six], "clipped")
        conv(g, g.add("Div", [g.add("Mul", [x, clipped], "product"), six], "swish"), "output")

    assert placed(body).values == ("input", "conv", "swish", "output")


def test_a_function_ends_where_something_else_reads_it() -> None:
    def body(g: models.GraphBuilder) -> None:
        x = conv(g, "input", "conv")
        soft = g.add("Tanh", [g.add("Softplus", [x], "softplus")], "tanh")
        mish = g.add("Mul", [x, soft], "mish")
        g.add("Add", [conv(g, mish, "second"), soft], "output")

    assert placed(body).values == ("input", "conv", "tanh", "mish", "second", "output")


def test_a_function_with_an_ignored_operator_ends_before_it() -> None:
    def body(g: models.GraphBuilder) -> None:
        x = g.add("Softplus", [conv(g, "input", "conv")], "softplus")
        conv(g, g.add("Tanh", [x], "tanh"), "output")

    assert placed(body).values == ("input", "conv", "tanh", "output")
    assert placed(body, "tanh/node").values == ("input", "conv", "softplus", "tanh", "output")
