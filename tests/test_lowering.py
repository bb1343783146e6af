"""Lowering: which fused operators a graph becomes, and that its meaning stays the same.

The lowered plan on the NumPy backend is compared with the unlowered graph. They differ where float
sums are rounded differently from integer ones: by at most one quantum of the output's scale.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from models import GraphBuilder, depthwise_net, residual_net
from onnx import TensorProto
from qdq_builder import SCALE, QdqBuilder, feeds_for

import sparing
from sparing.errors import InputError, ModelError, QuantizationError, UnsupportedOperatorError
from sparing.formats.onnx_reader import read_onnx
from sparing.interpreter import run_graph
from sparing.lower import lower
from sparing.lowered import Lowered, ReferenceOp, View
from sparing.model import Model
from sparing.ops.fused_spec import AddS8, ConvS8, TableS8
from sparing.session import Session


def lowered(model: Model, batch: int = 2) -> Lowered:
    return lower(model, {name: a.shape for name, a in feeds_for(model, batch).items()})


def operators(model: Model) -> list[str]:
    """What the lowered operations are, in order; reference operators by their ONNX name."""
    return [
        op.work.node.op_type if isinstance(op.work, ReferenceOp) else type(op.work).__name__
        for op in lowered(model).operations
    ]


def assert_same_meaning(model: Model, tolerance: float) -> None:
    feeds = feeds_for(model)
    want = run_graph(model, feeds)
    got = Session(model, backend="numpy").run(None, feeds)
    for name, array in zip(want, got, strict=True):
        assert array.shape == want[name].shape and array.dtype == want[name].dtype
        assert np.abs(array.astype(np.float64) - want[name]).max() <= tolerance


ONE_QUANTUM = SCALE * 1.0001  # of the output: see the module's docstring
ROUNDING = 1e-5  # a few float32 roundings of values near 1


def test_float_layers_take_in_batch_norm_relu_and_residual() -> None:
    model = read_onnx(residual_net())
    assert operators(model).count("ConvF32") == 5
    assert not {"Relu", "Add", "BatchNormalization"} & set(operators(model))
    assert_same_meaning(model, ROUNDING)


def test_float_depthwise_net() -> None:
    assert_same_meaning(read_onnx(depthwise_net()), ROUNDING)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_a_quantized_layer_and_its_clamps_are_one_operator(dtype: type) -> None:
    b = QdqBuilder(dtype=dtype)
    x = b.quantize("input", "x")
    y = b.add("Relu", [b.q_conv(x, "conv", (8, 3, 3, 3), pads=[1, 1, 1, 1])], "relu")
    model = b.model(("n", 3, 9, 9), b.quantize(y, "y", zero_point=10))
    assert operators(model) == ["Quantize", "ConvS8", "Dequantize"]
    spec = lowered(model).operations[1].work
    assert isinstance(spec, ConvS8)
    assert spec.output.lo == spec.output.zero_point  # Relu: nothing below zero
    assert_same_meaning(model, ONE_QUANTUM)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_a_residual_is_added_in_the_epilogue_of_a_quantized_layer(dtype: type) -> None:
    b = QdqBuilder(dtype=dtype)
    x = b.quantize("input", "x")
    conv = b.quantize(b.q_conv(x, "conv", (3, 3, 3, 3), pads=[1, 1, 1, 1]), "t", scale=0.05)
    y = b.add("Relu", [b.add("Add", [x, conv], "sum")], "relu")
    model = b.model(("n", 3, 7, 7), b.quantize(y, "y"))
    assert operators(model) == ["Quantize", "ConvS8", "Dequantize"]
    spec = lowered(model).operations[1].work
    assert isinstance(spec, ConvS8) and spec.residual is not None
    assert spec.residual.conv_output is not None
    assert_same_meaning(model, ONE_QUANTUM)


def test_a_residual_without_a_quantizer_is_added_to_the_accumulator() -> None:
    b = QdqBuilder()
    x = b.quantize("input", "x")
    conv = b.q_conv(x, "conv", (3, 3, 1, 1))
    model = b.model(("n", 3, 7, 7), b.quantize(b.add("Add", [conv, x], "sum"), "y"))
    spec = lowered(model).operations[1].work
    assert isinstance(spec, ConvS8) and spec.residual is not None
    assert spec.residual.conv_output is None
    assert_same_meaning(model, ONE_QUANTUM)


def test_a_shared_layer_output_is_added_by_an_operator_of_its_own() -> None:
    b = QdqBuilder()
    x = b.quantize("input", "x")
    conv = b.quantize(b.q_conv(x, "conv", (3, 3, 1, 1)), "t")
    first = b.quantize(b.add("Add", [conv, x], "sum"), "y")
    model = b.model(("n", 3, 7, 7), b.quantize(b.add("Mul", [first, conv], "product"), "z"))
    assert operators(model) == ["Quantize", "ConvS8", "AddS8", "MulS8", "Dequantize"]
    assert isinstance(lowered(model).operations[2].work, AddS8)
    assert_same_meaning(model, ONE_QUANTUM)


@pytest.mark.parametrize("op", ["HardSwish", "Sigmoid", "LeakyRelu"])
def test_a_function_of_one_quantized_value_is_a_table(op: str) -> None:
    b = QdqBuilder()
    x = b.quantize("input", "x")
    model = b.model(("n", 3, 5, 5), b.quantize(b.add(op, [x], "f"), "y", scale=0.02))
    assert operators(model) == ["Quantize", "TableS8", "Dequantize"]
    assert_same_meaning(model, 0.02 * 1.0001)  # one quantum


def test_a_table_goes_into_the_layer_before_it() -> None:
    b = QdqBuilder()
    conv = b.quantize(b.q_conv(b.quantize("input", "x"), "conv", (4, 3, 1, 1)), "t")
    model = b.model(("n", 3, 5, 5), b.quantize(b.add("HardSwish", [conv], "f"), "y"))
    assert operators(model) == ["Quantize", "ConvS8", "Dequantize"]
    assert_same_meaning(model, ONE_QUANTUM)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_pools_concat_and_views_stay_quantized(dtype: type) -> None:
    b = QdqBuilder(dtype=dtype)
    x = b.quantize("input", "x")
    pooled = b.quantize(b.add("MaxPool", [x], "max", kernel_shape=[2, 2], strides=[2, 2]), "m")
    average = b.add("AveragePool", [x], "avg", kernel_shape=[2, 2], strides=[2, 2])
    both = b.add("Concat", [pooled, b.quantize(average, "a", scale=0.02)], "both", axis=1)
    mean = b.add("GlobalAveragePool", [b.quantize(both, "c", scale=0.04)], "mean")
    flat = b.add("Flatten", [b.quantize(mean, "g")], "flat")
    model = b.model(("n", 4, 6, 6), b.quantize(flat, "y"), rank=2)
    assert operators(model) == [
        *("Quantize", "MaxPoolS8", "AveragePoolS8", "ConcatS8", "AveragePoolS8", "View"),
        "Dequantize",
    ]
    assert_same_meaning(model, ONE_QUANTUM)


def test_a_matrix_layer_runs_as_a_convolution_of_one_pixel() -> None:
    b = QdqBuilder()
    x = b.quantize("input", "x")
    gemm = b.add("Gemm", [x, b.q_weight("w", (5, 12)), b.random("bias", (5,))], "fc", transB=1)
    model = b.model(("n", 12), b.quantize(gemm, "y"), rank=2)
    assert operators(model) == ["Quantize", "View", "ConvS8", "View", "Dequantize"]
    assert_same_meaning(model, ONE_QUANTUM)


def test_a_signal_runs_as_an_image_of_one_row() -> None:
    b = QdqBuilder()
    conv = b.q_conv(b.quantize("input", "x"), "conv", (6, 4, 3), pads=[2, 0], strides=[2])
    model = b.model(("n", 4, 11), b.quantize(conv, "y"), rank=3)
    assert operators(model) == ["Quantize", "View", "ConvS8", "View", "Dequantize"]
    assert_same_meaning(model, ONE_QUANTUM)


def test_seven_bit_ranges_are_recovered_from_clips() -> None:
    b = QdqBuilder()
    low, high = b.weight("lo", np.float32(-20 * SCALE)), b.weight("hi", np.float32(107 * SCALE))
    x = b.quantize(b.add("Clip", ["input", low, high], "clip"), "x", zero_point=20)
    model = b.model(("n", 3, 5, 5), b.quantize(b.q_conv(x, "conv", (4, 3, 1, 1)), "y"))
    spec = lowered(model).operations[1].work
    assert isinstance(spec, ConvS8) and spec.x_max == 127
    assert_same_meaning(model, ONE_QUANTUM)


def test_signed_seven_bit_values_start_at_zero_once_shifted() -> None:
    b = QdqBuilder(dtype=np.int8)
    low, high = b.weight("lo", np.float32(-64 * SCALE)), b.weight("hi", np.float32(63 * SCALE))
    x = b.quantize(b.add("Clip", ["input", low, high], "clip"), "x")
    model = b.model(("n", 3, 5, 5), b.quantize(b.q_conv(x, "conv", (4, 3, 1, 1)), "y"))
    spec = lowered(model).operations[1].work
    assert isinstance(spec, ConvS8) and (spec.x_max, spec.x_zero_point) == (127, 64)
    assert_same_meaning(model, ONE_QUANTUM)


def test_unsigned_weights_become_differences_of_16_bits_where_8_do_not_hold_them() -> None:
    for zero, dtype in ((128, np.int8), (0, np.int16)):
        b = QdqBuilder()
        x = b.quantize("input", "x")
        values = b.rng.integers(0, 256, (4, 3, 3, 3)).astype(np.uint8)
        values[0, 0, 0, :2] = (0, 255)
        parts = [
            b.weight("w.q", values),
            b.weight("w.scale", np.float32(0.004)),
            b.weight("w.zero", np.uint8(zero)),
        ]
        w = b.add("DequantizeLinear", parts, "w")
        model = b.model(("n", 3, 6, 6), b.quantize(b.add("Conv", [x, w], "conv"), "y", scale=0.5))
        spec = lowered(model).operations[1].work
        assert isinstance(spec, ConvS8) and spec.weight.dtype == dtype
        assert_same_meaning(model, 0.5 * 1.0001)  # one quantum


def test_int8_outputs_of_the_model_keep_their_type() -> None:
    b = QdqBuilder(dtype=np.int8)
    b.quantize(b.q_conv(b.quantize("input", "x"), "conv", (4, 3, 1, 1)), "y")
    proto = b.finish(
        {"input": (TensorProto.FLOAT, ("n", 3, 5, 5))},
        {"y.q": (TensorProto.INT8, ("n", 4, 5, 5))},
    )
    assert_same_meaning(read_onnx(proto), 1.0)  # one quantum


def test_a_layer_whose_bias_does_not_fit_stays_float_and_says_so() -> None:
    b = QdqBuilder()
    x = b.quantize("input", "x")
    bias = b.weight("bias", np.full(4, 3e9 * SCALE * 0.02, np.float32))
    conv = b.add("Conv", [x, b.q_weight("w", (4, 3, 1, 1)), bias], "conv")
    model = b.model(("n", 3, 5, 5), b.quantize(conv, "y", scale=1e6))
    assert "ConvS8" not in operators(model)
    assert "bias" in lowered(model).notes["conv/node"]
    assert "bias" in str(Session(model, backend="numpy").explain())


def test_an_accumulator_that_could_overflow_is_refused_with_layer_and_channel() -> None:
    b = QdqBuilder()
    x = b.quantize("input", "x")
    weight = np.ones((3, 130000), np.int8)
    weight[1] = 127
    parts = [b.weight("w.q", weight), b.weight("w.scale", np.float32(1e-4))]
    gemm = b.add("Gemm", [x, b.add("DequantizeLinear", parts, "w")], "fc", transB=1)
    model = b.model(("n", 130000), b.quantize(gemm, "y"), rank=2)
    with pytest.raises(QuantizationError, match=r"'fc/node', output channel 1\b.*int32"):
        lowered(model)


def test_scales_out_of_range_are_refused() -> None:
    b = QdqBuilder()
    model = b.model(("n", 3), b.quantize("input", "x", scale=2.0**-70), rank=2)
    with pytest.raises(QuantizationError, match="scale"):
        lowered(model)


def test_shapes_computed_from_shapes_are_constants() -> None:
    b = GraphBuilder(opset=17)
    shape = b.add("Shape", ["input"], "shape")
    batch = b.add("Gather", [shape, b.weight("zero", np.int64(0))], "batch")
    dims = b.add("Unsqueeze", [batch, b.weight("axes", np.array([0]))], "dims")
    target = b.add("Concat", [dims, b.weight("rest", np.array([-1]))], "target", axis=0)
    b.add("Reshape", ["input", target], "flat")
    model = read_onnx(
        b.finish(
            {"input": (TensorProto.FLOAT, ("n", 3, 2, 2))},
            {"flat": (TensorProto.FLOAT, ("n", "m"))},
        )
    )
    operations = lowered(model).operations
    assert [type(op.work) for op in operations] == [View]
    assert_same_meaning(model, 0.0)


def test_errors_name_what_does_not_fit() -> None:
    model = read_onnx(residual_net())
    with pytest.raises(InputError, match="input"):
        lower(model, {})
    b = GraphBuilder()
    b.add("Conv", ["input", b.random("w", (4, 5, 3, 3))], "conv")
    bad = read_onnx(
        b.finish(
            {"input": (TensorProto.FLOAT, ("n", "c", 8, 8))},
            {"conv": (TensorProto.FLOAT, ("n", 4, 6, 6))},
        )
    )
    with pytest.raises(ModelError, match="conv/node"):
        lower(bad, {"input": (1, 3, 8, 8)})


def test_unsupported_operators_are_listed_all_at_once() -> None:
    b = GraphBuilder()
    b.add("NonZero", [b.add("Det", ["input"], "det")], "out")
    proto = b.finish(
        {"input": (TensorProto.FLOAT, (2, 2))}, {"out": (TensorProto.INT64, ("r", "k"))}
    )
    with pytest.raises(UnsupportedOperatorError, match=r"Det.*NonZero"):
        lower(read_onnx(proto), {"input": (2, 2)})


def test_tables_are_kept_in_files_and_used_from_there(tmp_path: Path) -> None:
    b = QdqBuilder()
    model = b.model(
        ("n", 3, 4, 4), b.quantize(b.add("Sigmoid", [b.quantize("input", "x")], "s"), "y")
    )
    sparing.save(model, tmp_path / "net.sparing")
    loaded = sparing.load(tmp_path / "net.sparing")
    assert set(loaded.tables) == {"y.q"}
    flat = loaded.replace(tables={"y.q": np.full(256, 7, np.uint8)})  # another CPU's, say
    sparing.save(flat, tmp_path / "flat.sparing")
    (work,) = (
        op.work
        for op in lowered(sparing.load(tmp_path / "flat.sparing")).operations
        if isinstance(op.work, TableS8)
    )
    assert np.array_equal(work.table, flat.tables["y.q"])


def test_a_table_outside_its_quantizers_range_is_refused() -> None:
    b = QdqBuilder()
    x = b.quantize("input", "x")
    low, high = b.weight("lo", np.float32(0)), b.weight("hi", np.float32(1))
    clipped = b.add("Clip", [b.add("Sigmoid", [x], "s"), low, high], "c")
    model = b.model(("n", 3, 4, 4), b.quantize(clipped, "y", zero_point=0))
    wrong = model.replace(tables={"y.q": np.full(256, 255, np.uint8)})
    with pytest.raises(ModelError, match=r"table of 'y\.q'"):
        lowered(wrong)


def test_poolings_of_signals_run_as_those_of_images_of_one_row() -> None:
    for name, attributes in (
        ("MaxPool", {"kernel_shape": [3], "strides": [2], "pads": [1, 0]}),
        ("AveragePool", {"kernel_shape": [4], "pads": [1, 2], "count_include_pad": 1}),
        ("GlobalAveragePool", {}),
        ("ReduceMean", {"axes": [-1], "keepdims": 0}),
    ):
        b = QdqBuilder()
        pooled = b.add(name, [b.quantize("input", "x")], "pool", **attributes)
        rank = 2 if attributes.get("keepdims") == 0 else 3
        model = b.model(("n", 4, 11), b.quantize(pooled, "y"), rank=rank)
        kernel = "MaxPoolS8" if name == "MaxPool" else "AveragePoolS8"
        assert operators(model) == ["Quantize", "View", kernel, "View", "Dequantize"]
        assert_same_meaning(model, ONE_QUANTUM)


def test_layers_of_signals_follow_each_other_without_views() -> None:
    b = QdqBuilder()
    y = b.quantize(b.q_conv(b.quantize("input", "x"), "first", (6, 4, 3)), "y")
    y = b.quantize(b.add("MaxPool", [y], "pool", kernel_shape=[2], strides=[2]), "z")
    model = b.model(("n", 4, 11), b.quantize(b.q_conv(y, "second", (5, 6, 2)), "out"), rank=3)
    names = ["Quantize", "View", "ConvS8", "MaxPoolS8", "ConvS8", "View", "Dequantize"]
    assert operators(model) == names
    assert_same_meaning(model, ONE_QUANTUM)


def test_poolings_of_float_signals_have_kernels() -> None:
    b = QdqBuilder()
    x = b.add("MaxPool", ["input"], "max", kernel_shape=[3], strides=[2], pads=[1, 1])
    x = b.add("AveragePool", [x], "mean", kernel_shape=[2])
    model = b.model(("n", 4, 11), b.add("GlobalAveragePool", [x], "all"), rank=3)
    names = ["View", "MaxPoolF32", "AveragePoolF32", "AveragePoolF32", "View"]
    assert operators(model) == names
    assert_same_meaning(model, 1e-5)
