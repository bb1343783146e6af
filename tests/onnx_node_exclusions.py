"""The official ONNX node tests that are left out although every operator in them is supported.

Tests with an operator that has no reference are left out by rule, not by this list: see
test_onnx_nodes.py, which also checks that each pattern still matches a test and that each test
left out here is refused with an error of Sparing's own, so that no entry can outlive its reason.
"""

from __future__ import annotations

from collections.abc import Mapping

# The release of onnx whose tests the patterns name; older ones lack some of them.
WRITTEN_FOR = (1, 23)

FLOAT8 = "element type float8, which CNN inference does not use"
FLOAT4 = "element type float4, which CNN inference does not use"
TWO_BIT = "2-bit element type, which CNN inference does not use"
NOT_A_TENSOR = "the value is a sequence or an optional instead of a tensor"
OPEN = "some values are beyond the element type's range, which ONNX leaves open"
OLD_OPSET = "the test is of opset 1; models are read from opset 7 on"

# a pattern for the whole name of the test -> why it is left out
EXCLUDED: Mapping[str, str] = {
    r"test_cast(like)?_(no_saturate_|e8m0_)?FLOAT(16)?_to_FLOAT8\w+": FLOAT8,
    r"test_cast(like)?_(e8m0_)?FLOAT8\w+_to_FLOAT(16)?(_expanded)?": FLOAT8,
    r"test_cast(like)?_FLOAT(16)?_to_FLOAT4E2M1(_expanded)?": FLOAT4,
    r"test_cast(like)?_FLOAT4E2M1_to_FLOAT(16)?(_expanded)?": FLOAT4,
    r"test_cast(like)?_FLOAT(16)?_to_U?INT2(_expanded)?": TWO_BIT,
    r"test_cast(like)?_U?INT2_to_\w+": TWO_BIT,
    r"test_(de)?quantizelinear_e[45]m\w+": FLOAT8,
    r"test_(de)?quantizelinear_float4e2m1": FLOAT4,
    r"test_(de)?quantizelinear_u?int2": TWO_BIT,
    r"test_identity_(sequence|opt)": NOT_A_TENSOR,
    r"test_not_[234]d": OLD_OPSET,
}

# Expected results that hang on how an implementation orders its float16 roundings: not refused,
# but up to one float16 quantum away, which is more than the test's tolerance of 1e-3.
ROUNDING: Mapping[str, str] = {
    r"test_attention_4d_causal_fp16_expanded": "float16 attention, rounded in another order",
}

# Values beyond the range of the element type, whose conversion ONNX leaves open. The expected ones
# are what the installed ml_dtypes makes of them, which its version 0.7 changed.
OUT_OF_RANGE: Mapping[str, str] = {
    r"test_cast(like)?_FLOAT(16)?_to_U?INT4(_expanded)?": OPEN,
}
