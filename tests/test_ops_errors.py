"""What the reference operators refuse, and that they refuse it with errors of Sparing's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_calls import f32, i64, run

from sparing import ops
from sparing.errors import ModelError, SparingError, UnsupportedOperatorError
from sparing.model import Model, Node, TensorInfo

X = np.zeros((1, 4, 8, 8), np.float32)
W = np.zeros((2, 4, 3, 3), np.float32)
ONE = np.asarray(np.float32(1))
HUGE = 2**40


@pytest.mark.parametrize(
    "op_type, inputs, attributes, message",
    [
        ("Conv", [X], {}, "expected 2 to 3 inputs, got 1"),
        ("Conv", [X, W, None, X], {}, "expected 2 to 3 inputs, got 4"),
        ("Conv", [None, W], {}, "expected a value for input 'x'"),
        ("Conv", [X, W], {"stride": (1, 1)}, "unknown attribute 'stride'; known: .*'strides'"),
        ("Conv", [X, W], {"strides": 1}, "attribute 'strides': expected Ints, got 1"),
        ("Conv", [X, W], {"strides": (0, 1)}, "strides: expected 2 values of 1 or more"),
        ("Conv", [X, W], {"pads": (1, 1)}, "pads: expected 4 values of 0 or more"),
        ("Conv", [X, W], {"pads": (0, 0, -1, 0)}, "pads: expected 4 values of 0 or more"),
        ("Conv", [X, W], {"pads": (HUGE, 0, HUGE, 0)}, "more than the limit"),
        ("Conv", [X, W], {"group": 2}, "in 2 groups do not fit 4 input channels"),
        ("Conv", [X, W], {"group": 0}, "in 0 groups do not fit"),
        ("Conv", [X, W], {"kernel_shape": (5, 5)}, r"kernel_shape: expected \(3, 3\)"),
        ("Conv", [X, W], {"dilations": (4, 4)}, "window of 9 does not fit axis 0 of 8"),
        ("Conv", [X, W], {"auto_pad": "FULL"}, "auto_pad: expected one of .*, got 'FULL'"),
        ("Conv", [X, W.astype(np.float64)], {}, "one type, got float32, float64"),
        ("Conv", [X, W, ONE], {}, r"bias: expected shape \(2,\), got \(\)"),
        ("MaxPool", [X], {}, "attribute 'kernel_shape' is missing"),
        ("MaxPool", [X], {"kernel_shape": (2**20, 2**20)}, "more than .* taps"),
        ("Gemm", [X[0, 0], X[0, 0, :3]], {}, r"expected \[M, K\] and \[K, N\]"),
        ("MatMul", [X, X[..., :3, :]], {}, r"expected \[..., M, K\] and \[..., K, N\]"),
        ("Add", [X, W], {}, "expected shapes that broadcast"),
        ("Add", [X, X.astype(np.int32)], {}, "one type, got float32, int32"),
        ("Add", [np.zeros((2**16, 1)), np.zeros((1, 2**16))], {}, "more than the limit"),
        ("Sigmoid", [X.astype(np.int8)], {}, "expected a float tensor, got int8"),
        ("Reshape", [X, i64(3, -1)], {}, r"shape: \(3, -1\) does not fit"),
        ("Expand", [ONE, i64(HUGE)], {}, "more than the limit"),
        ("ConstantOfShape", [i64(HUGE, HUGE)], {}, "more than the limit"),
        ("ConstantOfShape", [i64(-1)], {}, "dimensions of 0 or more"),
        ("Pad", [X, i64(HUGE, *(0,) * 7)], {}, "more than the limit"),
        ("Tile", [X, i64(HUGE, 1, 1, 1)], {}, "more than the limit"),
        ("Resize", [X, None, None, i64(1, 4, 2**20, 2**20)], {}, "more than the limit"),
        ("Range", [i64(0), i64(2**50), i64(1)], {}, "more than the limit"),
        ("Gather", [X, i64(4)], {"axis": 1}, "indices: expected -4 to 3"),
        ("Concat", [X, X[:, :, :3]], {"axis": 1}, "shapes that differ in axis 1 only"),
        ("Transpose", [X], {"perm": (0, 0, 1, 2)}, r"perm: \(0, 0, 1, 2\) does not fit"),
        ("Squeeze", [X, i64(1)], {}, "are not all 1"),
        ("Softmax", [X], {"axis": 4}, "axis: expected -4 to 3, got 4"),
        ("Cast", [X], {"to": 17}, "element type 17 is not supported"),
        ("QuantizeLinear", [X, f32(1, 2)], {}, r"y_scale: expected one value or \(4,\) along"),
        ("QuantizeLinear", [X, ONE, ONE], {}, "quantized type of 4, 8 or 16 bits, got float32"),
        ("DequantizeLinear", [X, ONE], {}, "expected an integer tensor, got float32"),
        ("BatchNormalization", [X, *[f32(1)] * 4], {}, r"mean: expected shape \(4,\)"),
        ("BatchNormalization", [X, *[f32(1)] * 4], {"spatial": 0}, "spatial: expected 1"),
    ],
)
def test_what_does_not_fit_is_refused(
    op_type: str, inputs: list[Any], attributes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        run(op_type, *inputs, **attributes)


def test_unsupported_operators_are_listed_together() -> None:
    info = TensorInfo("x", np.dtype(np.float32), (1,))
    nodes = (
        Node("Relu", ("x",), ("a",)),
        Node("Loop", ("a",), ("b",)),
        Node("Loop", ("b",), ("c",)),
        Node("Relu", ("c",), ("d",), domain="com.example"),
    )
    model = Model(nodes, (info,), (TensorInfo("d", info.dtype, None),), {})
    with pytest.raises(
        UnsupportedOperatorError,
        match=r"^2 unsupported operators: Loop \(x2\), com\.example\.Relu \(x1\)$",
    ):
        ops.check_supported(model)
    with pytest.raises(UnsupportedOperatorError, match=r"com\.example\.Relu is not supported"):
        ops.run(nodes[3], [f32(1)], 21)
    ops.check_supported(
        model.replace(nodes=nodes[:1], outputs=(TensorInfo("a", info.dtype, None),))
    )


EXTREMES = (-(2**63), 2**63 - 1, 2**40, 2**31, -1, 0, 1, 3)
TARGETS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "Conv": ([X, W], {"group": 1, "pads": (1, 1, 1, 1), "strides": (2, 2), "dilations": (1, 1)}),
    "ConvTranspose": ([X, np.zeros((4, 2, 3, 3), np.float32)],
                      {"pads": (1, 1, 1, 1), "output_padding": (1, 1), "strides": (2, 2)}),
    "MaxPool": ([X], {"kernel_shape": (2, 2), "pads": (1, 1, 1, 1), "ceil_mode": 1}),
    "AveragePool": ([X], {"kernel_shape": (2, 2), "strides": (2, 2), "dilations": (1, 2)}),
    "Pad": ([X, i64(0, 0, 1, 1, 0, 0, 1, 1)], {}),
    "Reshape": ([X, i64(2, -1, 4)], {"allowzero": 0}),
    "Slice": ([X, i64(1, 2), i64(3, 8), i64(1, 2), i64(1, 2)], {}),
    "Gather": ([X, i64(0, 1)], {"axis": 1}),
    "Split": ([X, i64(3, 1)], {"axis": 1}),
    "Expand": ([X, i64(2, 4, 8, 8)], {}),
    "Tile": ([X, i64(1, 1, 2, 2)], {}),
    "Resize": ([X, None, None, i64(1, 4, 9, 9)], {"axes": (0, 1, 2, 3)}),
    "DequantizeLinear": ([X.astype(np.int8), f32(1, 2, 3, 4)], {"axis": 1, "block_size": 0}),
    "DepthToSpace": ([X], {"blocksize": 2}),
    "Range": ([i64(0), i64(9), i64(2)], {}),
}  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(TARGETS)), st.data())
def test_hostile_numbers_give_a_result_or_our_error(op_type: str, data: st.DataObject) -> None:
    """One integer of the attributes or of an integer input becomes extreme."""
    inputs, attributes = TARGETS[op_type]
    inputs, attributes = list(inputs), dict(attributes)
    value = data.draw(st.sampled_from(EXTREMES))
    tensors = [i for i, a in enumerate(inputs) if a is not None and a.dtype == np.int64]
    choices: list[int | str] = [*tensors, *attributes]
    which = data.draw(st.sampled_from(choices))
    if isinstance(which, int):
        changed = inputs[which].copy()
        changed[data.draw(st.integers(0, changed.size - 1))] = value
        inputs[which] = changed
    elif isinstance(attributes[which], tuple):
        at = data.draw(st.integers(0, len(attributes[which]) - 1))
        attributes[which] = (*attributes[which][:at], value, *attributes[which][at + 1 :])
    else:
        attributes[which] = value
    try:
        run(op_type, *inputs, outputs=2 if op_type == "Split" else 1, **attributes)
    except SparingError as error:
        assert len(str(error)) > 10
