"""ConvInteger and MatMulInteger by kernels give the very integers of their references."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import sparing
from sparing.interpreter import run_graph
from sparing.kernels.registry import available_backends
from sparing.model import Model, Node, Tensor, TensorInfo

CASES: list[tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ("ConvInteger", (2, 5, 7, 9), (6, 5, 3, 3), {"pads": (1, 1, 1, 1)}),
    ("ConvInteger", (1, 4, 8, 8), (3, 4, 1, 1), {}),
    ("ConvInteger", (3, 2, 9, 8), (4, 2, 3, 2), {"strides": (2, 3), "auto_pad": "SAME_UPPER"}),
    ("ConvInteger", (1, 3, 9, 9), (2, 3, 2, 2), {"dilations": (2, 3), "pads": (0, 1, 2, 1)}),
    ("ConvInteger", (2, 3, 11), (4, 3, 3), {"pads": (2, 0)}),
    ("ConvInteger", (1, 4, 6, 6), (4, 2, 3, 3), {"group": 2}),
    ("MatMulInteger", (5, 13), (13, 7), {}),
    ("MatMulInteger", (2, 3, 4), (4, 6), {}),
]


def model(op_type: str, x: tuple[int, ...], w: tuple[int, ...], attributes: Any) -> Model:
    rng = np.random.default_rng(0)
    weight = rng.integers(-128, 128, w).astype(np.int8)
    node = Node(op_type, ("x", "w", "zero_point"), ("y",), attributes, "product")
    inputs = (
        TensorInfo("x", np.dtype(np.uint8), ("N", *x[1:])),
        TensorInfo("zero_point", np.dtype(np.uint8), (1,)),
    )
    outputs = (TensorInfo("y", np.dtype(np.int32), None),)
    return Model((node,), inputs, outputs, {"w": Tensor(weight)}, opset=13)


@pytest.mark.parametrize("backend", available_backends())
@pytest.mark.parametrize(("op_type", "x", "w", "attributes"), CASES)
def test_products_equal_the_reference(
    backend: Any, op_type: str, x: tuple[int, ...], w: tuple[int, ...], attributes: Any
) -> None:
    source = model(op_type, x, w, attributes)
    session = sparing.Session(source, backend, threads=1)
    rng = np.random.default_rng(1)
    for zero in (0, 3, 255):
        feeds = {
            "x": rng.integers(0, 256, x).astype(np.uint8),
            "zero_point": np.array([zero], np.uint8),
        }
        (got,) = session.run(None, feeds)
        assert np.array_equal(got, run_graph(source, feeds, ["y"])["y"])
    kernel = next(s.kernel for s in session.explain().steps if s.operator == op_type)
    by_kernel = backend != "numpy" and attributes.get("group", 1) == 1
    assert kernel.startswith("gemm_s8") == by_kernel
