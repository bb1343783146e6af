"""Exact comparison of two models, for tests of formats and of anything that must change nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sparing.model import Attribute, Model, Tensor


def assert_same_model(left: Model, right: Model) -> None:
    """Assert equal graphs and metadata, and weights equal bit for bit, however stored."""
    assert left.inputs == right.inputs
    assert left.outputs == right.outputs
    assert left.opset == right.opset
    assert left.metadata == right.metadata
    assert len(left.nodes) == len(right.nodes)
    for a, b in zip(left.nodes, right.nodes, strict=True):
        assert (a.op_type, a.name, a.domain) == (b.op_type, b.name, b.domain)
        assert (a.inputs, a.outputs) == (b.inputs, b.outputs)
        assert _comparable(a.attributes) == _comparable(b.attributes), a.label
    assert left.weights.keys() == right.weights.keys()
    for name, tensor in left.weights.items():
        assert_same_bits(tensor, right.weights[name])


def assert_same_bits(left: Tensor, right: Tensor) -> None:
    assert (left.dtype, left.shape) == (right.dtype, right.shape)
    a, b = left.numpy(), right.numpy()
    assert (a.dtype, a.shape) == (b.dtype, b.shape) == (left.dtype, left.shape)
    assert a.tobytes() == b.tobytes()


def _comparable(attributes: Mapping[str, Attribute]) -> dict[str, Any]:
    """Types count (1 is not 1.0) and NaN equals itself: both hold for the text."""
    return {
        key: (value.dtype, value.shape, value.tobytes())
        if isinstance(value, np.ndarray)
        else repr(value)
        for key, value in attributes.items()
    }
