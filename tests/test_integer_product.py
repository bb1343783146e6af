"""ConvInteger and MatMulInteger by kernels give the very integers of their references."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import sparing
from sparing.integer_product import EXACT_PRODUCTS
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
    ("ConvInteger", (2, 9, 7, 6), (9, 1, 5, 5), {"group": 9, "pads": (2, 2, 2, 2)}),
    (
        "ConvInteger",
        (1, 6, 9, 8),
        (12, 1, 3, 3),
        {"group": 6, "strides": (2, 2), "dilations": (2, 1)},
    ),
    ("ConvInteger", (2, 4, 13), (4, 1, 3), {"group": 4, "auto_pad": "SAME_LOWER"}),
    ("ConvInteger", (1, 8, 5, 5), (8, 4, 11, 11), {"group": 2, "pads": (5, 5, 5, 5)}),
    ("ConvInteger", (1, 1200, 3, 3), (2, 600, 1, 1), {"group": 2}),
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
    if backend == "numpy" or np.prod(w[1:]) > EXACT_PRODUCTS:
        assert kernel == "reference"
    else:
        assert kernel.startswith("conv_f32" if "group" in attributes else "gemm_s8")


def test_sums_at_the_limit_of_float32_are_exact() -> None:
    """All products of one sign, at their largest, and as many as may be."""
    w = np.full((2, EXACT_PRODUCTS, 1, 1), -128, np.int8)
    w[0, 0] = -127
    source = model("ConvInteger", (1, 2 * EXACT_PRODUCTS, 2, 2), w.shape, {"group": 2})
    source = replace(source, weights={"w": Tensor(w)})
    feeds = {
        "x": np.full((1, 2 * EXACT_PRODUCTS, 2, 2), 255, np.uint8),
        "zero_point": np.zeros(1, np.uint8),
    }
    for backend in available_backends():
        (got,) = sparing.Session(source, backend, threads=1).run(None, feeds)
        assert (got[0, 1] == -128 * 255 * EXACT_PRODUCTS).all()
        assert (got[0, 0] == got[0, 1] + 255).all()
