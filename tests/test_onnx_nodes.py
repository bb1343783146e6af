"""The official ONNX node tests, run by the reference through the backend adaptor.

Every test runs whose operators all have a reference, the expanded forms of other operators
included, apart from those that onnx_node_exclusions.py names with a reason.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner
from onnx_node_exclusions import (
    EXCLUDED,
    FLOAT4,
    FLOAT8,
    NOT_A_TENSOR,
    OPEN,
    OUT_OF_RANGE,
    ROUNDING,
    TWO_BIT,
    WRITTEN_FOR,
)

import sparing.onnx_backend as backend
from sparing import ops
from sparing.errors import SparingError
from sparing.ops.element_types import integer_range

# Operators whose node tests must all pass; the reasons that allow to leave one out nevertheless.
REQUIRED = (
    *("Conv", "Gemm", "MatMul", "BatchNormalization", "Relu", "Clip", "LeakyRelu", "Sigmoid"),
    *("HardSigmoid", "HardSwish", "Add", "Sub", "Mul", "Div", "MaxPool", "AveragePool"),
    *("GlobalAveragePool", "Flatten", "Reshape", "Transpose", "Concat", "Pad", "Softmax"),
    *("Identity", "Constant", "Cast", "Shape", "Gather", "Unsqueeze", "Squeeze", "ReduceMean"),
    *("Dropout", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv"),
    *("QLinearMatMul", "ConvInteger", "MatMulInteger"),
)
ALLOWED = {FLOAT8, FLOAT4, TWO_BIT, NOT_A_TENSOR, OPEN}


def _operators(case: Any) -> set[str]:
    return {
        node.op_type if node.domain in ops.DEFAULT_DOMAINS else f"{node.domain}.{node.op_type}"
        for node in case.model.graph.node
    }


def _load() -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # computing expected results overflows here and there
        return {case.name: case for case in load_model_tests(kind="node")}


def _reason(name: str, patterns: Mapping[str, str]) -> str | None:
    return next((why for pattern, why in patterns.items() if re.fullmatch(pattern, name)), None)


ALL = _load()
SUPPORTED = sorted(n for n, case in ALL.items() if _operators(case) <= set(ops.supported()))
LISTED = {**EXCLUDED, **ROUNDING, **OUT_OF_RANGE}
LEFT_OUT = {n: why for n in SUPPORTED if (why := _reason(n, LISTED))}
RUN = [name for name in SUPPORTED if name not in LEFT_OUT]


def _array(value: Any) -> Any:
    """Test data holds arrays, but tensor messages for the types that NumPy lacks."""
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else value


def _run(case: Any) -> None:
    prepared = backend.prepare(case.model)
    for inputs, expected in case.data_sets:
        outputs = prepared.run([_array(value) for value in inputs])
        # The tolerances are the test's own: ONNX states them with each test.
        Runner.assert_similar_outputs(
            [_array(value) for value in expected], outputs, case.rtol, case.atol
        )


@pytest.mark.parametrize("name", RUN)
def test_node(name: str) -> None:
    _run(ALL[name])


def test_counts(capsys: pytest.CaptureFixture[str]) -> None:
    """Print how many tests ran and how many did not, by reason; enough must run."""
    reasons = Counter(LEFT_OUT.values())
    reasons["an operator without a reference"] = len(ALL) - len(SUPPORTED)
    with capsys.disabled():
        print(f"\nONNX {onnx.__version__} node tests: {len(RUN)} of {len(ALL)} run; left out:")
        for reason, count in reasons.most_common():
            print(f"  {count:4d}  {reason}")
    assert len(RUN) + sum(reasons.values()) == len(ALL)


@pytest.mark.parametrize("operator", REQUIRED)
def test_required_operator_is_covered(operator: str) -> None:
    """Each required operator has tests that run; what is left out has an allowed reason."""
    named = {name for name, case in ALL.items() if operator in _operators(case)}
    assert named & set(RUN), f"no node test of {operator} runs"
    own = {name for name in named if _operators(ALL[name]) == {operator}}
    left_out = {name: LEFT_OUT[name] for name in own & LEFT_OUT.keys()}
    assert set(left_out.values()) <= ALLOWED, left_out
    assert own <= set(RUN) | left_out.keys()


def _is_older() -> bool:
    return tuple(map(int, onnx.__version__.split(".")[:2])) < WRITTEN_FOR


@pytest.mark.parametrize("pattern", LISTED)
def test_exclusion_is_not_stale(pattern: str) -> None:
    if _is_older():
        pytest.skip(f"onnx {onnx.__version__} lacks tests that the list names")
    assert any(re.fullmatch(pattern, name) for name in SUPPORTED)


@pytest.mark.parametrize("name", [name for name in LEFT_OUT if _reason(name, EXCLUDED)])
def test_excluded_is_refused(name: str) -> None:
    """What is left out is refused cleanly; where it is not, it belongs to the tests that run."""
    with pytest.raises(SparingError):
        _run(ALL[name])


@pytest.mark.parametrize("name", [name for name in LEFT_OUT if _reason(name, ROUNDING)])
def test_rounding_exclusion_is_close(name: str) -> None:
    """Within two float16 quanta (2^-10 each at 1.0), so the reason given is the real one."""
    case = ALL[name]
    ((inputs, expected),) = case.data_sets
    outputs = backend.prepare(case.model).run([_array(value) for value in inputs])
    for got, wanted in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(
            got.astype(np.float32), _array(wanted).astype(np.float32), rtol=2**-9, atol=2**-12
        )


@pytest.mark.parametrize("name", [name for name in LEFT_OUT if _reason(name, OUT_OF_RANGE)])
def test_values_within_the_range_are_those_expected(name: str) -> None:
    case = ALL[name]
    ((inputs, expected),) = case.data_sets
    (got,) = backend.prepare(case.model).run([_array(value) for value in inputs])
    given, wanted = _array(inputs[0]).astype(np.float32), _array(expected[0])
    low, high = integer_range(got.dtype)
    inside = (low <= np.trunc(given)) & (np.trunc(given) <= high)
    assert got.dtype == wanted.dtype and 0 < inside.sum() < inside.size
    assert np.array_equal(got[inside], wanted[inside])
    wide = np.trunc(given[~inside]).astype(np.int64)  # the others keep their low bits
    assert ((got[~inside].astype(np.int64) - wide) % 16 == 0).all()
