"""The reference operators against formulas and hand-computed values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from operator_calls import f32, i64, requantized, run

from sparing.errors import ModelError
from sparing.formats.onnx_reader import read_onnx
from sparing.interpreter import run_graph

# ---- integer products


def test_matmul_integer_zero_points_by_row_and_column() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 256, (3, 5), np.uint8), rng.integers(-128, 128, (5, 4), np.int8)
    a_zero, b_zero = np.array([1, 2, 255], np.uint8), np.array([-128, 0, 5, 127], np.int8)
    y = run("MatMulInteger", a, b, a_zero, b_zero)
    left = a.astype(np.int64) - a_zero.astype(np.int64)[:, None]
    right = b.astype(np.int64) - b_zero.astype(np.int64)
    assert y.dtype == np.int32
    assert np.array_equal(y, left @ right)


def test_qlinear_matmul_equals_the_rule() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 256, (7, 33), np.uint8), rng.integers(-127, 128, (33, 6), np.int8)
    sa, sy, zy = np.float32(0.013), np.float32(0.9), np.int8(-3)
    sb = rng.uniform(0.001, 0.1, 6).astype(np.float32)
    y = run(
        "QLinearMatMul",
        a,
        np.asarray(sa),
        np.asarray(np.uint8(128)),
        b,
        sb,
        np.zeros(6, np.int8),
        np.asarray(sy),
        np.asarray(zy),
    )
    acc = (a.astype(np.int64) - 128) @ b.astype(np.int64)
    for i, j in np.ndindex(*y.shape):
        m = np.float32(float(sa) * float(sb[j]) / float(sy))
        assert y[i, j] == requantized(int(acc[i, j]), m, -128, 127, -3)


@pytest.mark.parametrize(
    "acc, y_scale, y",
    [
        (3, 6, 0),  # 3 * float32(1 / 6) is the tie 0.5 in float32, just above it in float64
        (27, 6, 4),
        (91, 14, 7),  # 91 / 14 is the tie 6.5, 91 * float32(1 / 14) just above it
        (175, 14, 13),
    ],
)
def test_requantization_rounds_multiplier_and_product_to_float32(
    acc: int, y_scale: int, y: int
) -> None:
    one, zero = np.asarray(np.float32(1)), np.asarray(np.int8(0))
    got = run(
        *("QLinearMatMul", np.array([[acc]], np.uint8), one, np.asarray(np.uint8(0))),
        *(np.ones((1, 1), np.int8), one, zero, np.asarray(np.float32(y_scale)), zero),
    )
    assert got.item() == y


# ---- quantization


def test_quantize_rounds_half_to_even_before_the_zero_point() -> None:
    x, one = f32(-2.5, -1.5, -0.5, 0.5, 1.5, 2.5), np.asarray(np.float32(1))
    assert run("QuantizeLinear", x, one, np.asarray(np.int8(0))).tolist() == [-2, -2, 0, 0, 2, 2]
    assert run("QuantizeLinear", x, one, np.asarray(np.int8(1))).tolist() == [-1, -1, 1, 1, 3, 3]


def test_quantize_nan_gives_the_zero_point_and_infinities_saturate() -> None:
    x = f32(np.nan, np.inf, -np.inf, 3e38, -3e38)
    for zero, low, high in (
        (np.uint8(7), 0, 255),
        (np.int8(-7), -128, 127),
        (np.uint16(9), 0, 65535),
        (np.int16(-9), -32768, 32767),
    ):
        y = run("QuantizeLinear", x, np.asarray(np.float32(0.5)), np.asarray(zero))
        assert y.dtype == zero.dtype
        assert y.tolist() == [int(zero), high, low, high, low]


def test_quantize_divides_by_the_scale() -> None:
    """Multiplying by the reciprocal gives other integers for some of these values."""
    scale = np.float32(0.7)
    x = (np.arange(-2000, 2000, dtype=np.float32) + np.float32(0.5)) * scale
    y = run("QuantizeLinear", x, np.asarray(scale), np.asarray(np.int16(0)))
    by_reciprocal = np.rint(x * (np.float32(1) / scale)).astype(np.int16)
    assert np.array_equal(y, np.rint(x / scale).astype(np.int16))
    assert not np.array_equal(y, by_reciprocal)


def test_quantize_by_axis_and_by_block() -> None:
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    by_row = run("QuantizeLinear", x, f32(1, 2), np.array([0, 1], np.uint8), axis=0)
    assert by_row.tolist() == [[0, 1, 2, 3, 4, 5], [4, 5, 5, 5, 6, 7]]
    scales = f32([1, 2], [1, 4])
    by_block = run("QuantizeLinear", x, scales, axis=1, block_size=3)
    assert by_block.tolist() == [[0, 1, 2, 2, 2, 2], [6, 7, 8, 2, 2, 3]]
    back = run("DequantizeLinear", by_block, scales, axis=1, block_size=3)
    assert back.tolist() == [[0, 1, 2, 4, 4, 4], [6, 7, 8, 8, 8, 12]]


def test_dequantize_bias_uses_the_exact_difference() -> None:
    x = np.array([2**31 - 1, -(2**31), 2**24 + 1], np.int32)
    y = run("DequantizeLinear", x, np.asarray(np.float32(0.5)), np.asarray(np.int32(1)))
    assert y.tolist() == [2.0**30, -(2.0**30), 2.0**23]


def test_four_bits() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x, zero = f32(-9, -8, -0.5, 0.5, 7, 8), np.array(1, ml_dtypes.int4)
    q = run("QuantizeLinear", x, np.asarray(np.float32(1)), zero)
    assert q.dtype == ml_dtypes.int4
    assert q.astype(int).tolist() == [-8, -7, 1, 1, 7, 7]
    assert run("DequantizeLinear", q, np.asarray(np.float32(2)), zero).tolist() == [
        -18,
        -16,
        0,
        0,
        12,
        12,
    ]


@pytest.mark.parametrize(
    "x, scale, zero, y",
    [
        ((0.0, 0.0), 1.0, 0, (0, 0)),  # nothing to scale by
        ((0.0, 255.0), 1.0, 0, (0, 255)),
        ((-255.0, -51.0), 1.0, 255, (0, 204)),  # the range is widened to hold 0
        ((-1.0, 254.0), 1.0, 1, (0, 255)),
    ],
)
def test_dynamic_quantize(x: Any, scale: float, zero: int, y: Any) -> None:
    values, got_scale, got_zero = run("DynamicQuantizeLinear", f32(*x), outputs=3)
    assert (got_scale, got_zero, tuple(values.tolist())) == (scale, zero, y)
    assert (got_scale.dtype, got_zero.dtype, values.dtype) == (np.float32, np.uint8, np.uint8)


# ---- what changed between opsets


def test_clip_takes_attributes_before_opset_11_and_inputs_after() -> None:
    x = f32(-2, 0, 2)
    assert run("Clip", x, opset=6, min=-1.0, max=1.0).tolist() == [-1, 0, 1]
    assert run("Clip", x, opset=10).tolist() == [-2, 0, 2]
    assert run("Clip", x, None, np.asarray(np.float32(1)), opset=11).tolist() == [-2, 0, 1]
    with pytest.raises(ModelError, match="inputs from opset 11"):
        run("Clip", x, opset=11, min=0.0)


def test_pad_opset_2_and_negative_pads() -> None:
    x = f32([1, 2, 3])
    old = run("Pad", x, opset=7, pads=(0, 1, 0, 2), value=9.0)
    assert old.tolist() == [[9, 1, 2, 3, 9, 9]]
    new = run("Pad", x, i64(0, -1, 0, 1), np.asarray(np.float32(9)), opset=13)
    assert new.tolist() == [[2, 3, 9]]
    assert run("Pad", x, i64(2, 3), None, i64(1), mode="reflect").tolist() == [
        [3, 2, 1, 2, 3, 2, 1, 2]
    ]
    assert run("Pad", x, i64(1, 4), None, i64(-1), mode="wrap").tolist() == [
        [3, 1, 2, 3, 1, 2, 3, 1]
    ]


def test_softmax_before_opset_13_takes_all_later_axes_together() -> None:
    x = np.zeros((2, 3, 4), np.float32)
    assert np.allclose(run("Softmax", x, opset=11), 1 / 12, atol=1e-7)  # one rounding of 1/12
    assert np.allclose(run("Softmax", x, opset=13), 1 / 4, atol=1e-7)
    assert np.allclose(run("LogSoftmax", x, opset=11, axis=2), -math.log(4), atol=1e-6)


def test_axes_as_attribute_and_as_input() -> None:
    x = np.ones((1, 2, 1), np.float32)
    assert run("Squeeze", x, opset=11, axes=(0,)).shape == (2, 1)
    assert run("Squeeze", x, i64(-1), opset=13).shape == (1, 2)
    assert run("Unsqueeze", x, opset=11, axes=(0, 4)).shape == (1, 1, 2, 1, 1)
    assert run("Unsqueeze", x, i64(0, 4), opset=13).shape == (1, 1, 2, 1, 1)
    assert run("ReduceMean", x, opset=13, axes=(1,), keepdims=0).shape == (1, 1)
    assert run("ReduceMean", x, i64(1), opset=18, keepdims=0).shape == (1, 1)
    assert run("ReduceSum", x, opset=11, axes=(1,)).tolist() == [[[2]]]
    assert run("ReduceSum", x, i64(1), opset=13).tolist() == [[[2]]]
    with pytest.raises(ModelError, match="axes is an input from opset 13"):
        run("ReduceSum", x, opset=13, axes=(1,))


def test_split_and_slice() -> None:
    x = np.arange(5, dtype=np.float32)
    for parts in (
        run("Split", x, opset=11, outputs=2, split=(2, 3)),
        run("Split", x, i64(2, 3), opset=13, outputs=2),
    ):
        assert [p.tolist() for p in parts] == [[0, 1], [2, 3, 4]]
    uneven = run("Split", x, opset=18, outputs=3, num_outputs=3)
    assert [p.size for p in uneven] == [2, 2, 1]
    assert run("Slice", x, opset=9, starts=(1,), ends=(-1,)).tolist() == [1, 2, 3]
    whole = run("Slice", x, i64(2**62), i64(-(2**62)), i64(0), i64(-2), opset=13)
    assert whole.tolist() == [4, 2, 0]


def test_dropout_does_nothing_in_inference() -> None:
    x = f32(1, 2)
    assert run("Dropout", x, opset=7, ratio=0.9).tolist() == [1, 2]
    y, mask = run("Dropout", x, np.asarray(np.float32(0.9)), opset=13, outputs=2)
    assert (y.tolist(), mask.tolist()) == ([1, 2], [True, True])


def test_upsample_and_the_first_resize() -> None:
    x = f32([1, 2]).reshape(1, 1, 1, 2)
    scales = f32(1, 1, 1, 2)
    assert run("Upsample", x, opset=7, scales=(1.0, 1.0, 1.0, 2.0)).ravel().tolist() == [1, 1, 2, 2]
    assert run("Upsample", x, scales, opset=9).ravel().tolist() == [1, 1, 2, 2]
    linear = [1, 1.5, 2, 2]
    assert run("Resize", x, scales, opset=10, mode="linear").ravel().tolist() == linear
    centred = run("Resize", x, None, scales, opset=13, mode="linear").ravel().tolist()
    assert centred == [1, 1.25, 1.75, 2]


# ---- values


def test_functions_stay_finite_at_the_extremes() -> None:
    x = f32(-3e38, -100, 0, 100, 3e38)
    assert run("Sigmoid", x).tolist() == [0, pytest.approx(3.8e-44, rel=0.05), 0.5, 1, 1]
    assert run("Softmax", x).tolist() == [0, 0, 0, 0, 1]
    assert run("Softplus", x)[[0, 2, 4]].tolist() == [0, np.float32(math.log(2)), np.float32(3e38)]
    assert run("HardSwish", f32(-4, -3, 0, 3, 4)).tolist() == [0, 0, 0, 3, 4]
    assert run("Elu", f32(-200, 200)).tolist() == [-1, 200]


def test_integer_division_truncates_and_sums_wrap() -> None:
    a, b = np.array([7, -7, 7, -7], np.int32), np.array([2, 2, -2, -2], np.int32)
    assert run("Div", a, b).tolist() == [3, -3, -3, 3]
    assert run("Add", np.array([250], np.uint8), np.array([10], np.uint8)).tolist() == [4]
    with pytest.raises(ModelError, match="division by zero"):
        run("Div", a, np.zeros(1, np.int32))


def test_batch_normalization_in_training_returns_running_statistics() -> None:
    x = f32([1, 3], [5, 7]).reshape(4, 1)
    ones, zeros = f32(1), f32(0)
    y, mean, variance = run(
        "BatchNormalization",
        x,
        ones,
        zeros,
        zeros,
        ones,
        training_mode=1,
        momentum=0.5,
        epsilon=0.0,
        outputs=3,
    )
    assert (mean.tolist(), variance.tolist()) == ([2], [3])  # of the batch: 4 and 5
    assert np.allclose(y.ravel(), np.array([-3, -1, 1, 3]) / math.sqrt(5), atol=1e-6)


def test_cast_beyond_the_target_is_the_same_everywhere() -> None:
    x = f32(-1.9, 1.9, 300, -129)
    assert run("Cast", x, to=3).tolist() == [-1, 1, 44, 127]  # int8 keeps the low bits
    assert run("Cast", f32(np.nan, np.inf), to=7).tolist() == [0, 0]


def test_half_precision_is_computed_in_float32() -> None:
    x = np.full((1, 4096), 0.1, np.float16)
    y = run("MatMul", x, np.ones((4096, 1), np.float16))
    assert y.dtype == np.float16
    assert y == np.float16(4096 * np.float32(np.float16(0.1)))


def test_constants_of_every_form() -> None:
    for key, value, dtype in (
        ("value", np.array([1], np.int8), np.int8),
        ("value_float", 1.0, np.float32),
        ("value_floats", (1.0,), np.float32),
        ("value_int", 1, np.int64),
        ("value_ints", (1,), np.int64),
        ("value_string", "1", np.object_),
        ("value_strings", ("1",), np.object_),
    ):
        attribute: dict[str, Any] = {key: value}
        got = run("Constant", **attribute)
        assert got.dtype == dtype
        assert got.ndim == int(key in ("value", "value_floats", "value_ints", "value_strings"))
        assert int(got.reshape(-1)[0]) == 1
    with pytest.raises(ModelError, match="exactly one value, got 0"):
        run("Constant")


def test_a_whole_network_agrees_with_onnxruntime(shared: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    path = shared / "models" / "efficientnet_lite0.onnx"
    x = np.random.default_rng(0).standard_normal((2, 3, 224, 224)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(path).run(None, {"input": x})
    (got,) = run_graph(read_onnx(path), {"input": x}).values()
    # Logits of about 7, sums of up to 1152 float32 products in another order, 49 layers deep:
    # measured 3e-6, and a wrong operator shows as 0.1 and more.
    assert np.allclose(got, expected, rtol=0, atol=1e-4)
