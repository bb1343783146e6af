"""Functions of one quantized tensor, of one operator and of several."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from qdq_builder import SCALE, QdqBuilder, feeds_for

import sparing
from sparing.interpreter import run_graph
from sparing.lower import lower
from sparing.model import Model
from sparing.ops.fused_spec import ConvS8


def steps(model: Model) -> list[str]:
    shapes = {name: array.shape for name, array in feeds_for(model).items()}
    return [type(op.work).__name__ for op in lower(model, shapes).operations]


def layer(b: QdqBuilder) -> str:
    return b.quantize(b.q_conv(b.quantize("input", "x"), "conv", (4, 3, 1, 1)), "t")


def silu(b: QdqBuilder, x: str) -> str:
    lowest = int(np.iinfo(b.dtype).min)
    gate = b.quantize(b.add("Sigmoid", [x], "s"), "gate", scale=1 / 255, zero_point=lowest)
    return b.add("Mul", [gate, x], "f")


def float_silu(b: QdqBuilder, x: str) -> str:
    return b.add("Mul", [x, b.add("Sigmoid", [x], "s")], "f")


def hard_swish(b: QdqBuilder, x: str) -> str:
    three, zero, six = (b.weight(f"c{c}", np.float32(c)) for c in (3, 0, 6))
    shifted = b.add("Add", [x, three], "shifted")
    clipped = b.add("Clip", [shifted, zero, six], "clipped")
    return b.add("Div", [b.add("Mul", [x, clipped], "m"), six], "f")


def gelu(b: QdqBuilder, x: str) -> str:
    root, one, half = (b.weight(n, np.float32(c)) for n, c in (("r", 2**0.5), ("o", 1), ("h", 0.5)))
    erf = b.add("Erf", [b.add("Div", [x, root], "d")], "e")
    product = b.add("Mul", [x, b.add("Add", [erf, one], "a")], "p")
    return b.add("Mul", [product, half], "f")


FUNCTIONS = (silu, float_silu, hard_swish, gelu)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_a_function_of_several_operators_goes_into_the_layer_before(
    function: Callable[[QdqBuilder, str], str], dtype: type
) -> None:
    b = QdqBuilder(dtype=dtype)
    model = b.model(("n", 3, 5, 5), b.quantize(function(b, layer(b)), "y"))
    assert steps(model) == ["Quantize", "ConvS8", "Dequantize"]
    check_meaning(model)


def check_meaning(model: Model) -> None:
    """Within a quantum of each of: the layer, the gate (of values below 256 quanta), the result.

    A quantum of the layer changes any of the functions by at most 1.2 quanta."""
    feeds = feeds_for(model)
    got = sparing.Session(model, backend="numpy").run(None, feeds)
    for one, want in zip(got, run_graph(model, feeds).values(), strict=True):
        assert np.abs(one - want).max() <= 3.2 * SCALE * 1.0001
        assert np.ptp(want) > 10 * SCALE


def test_a_tensor_that_others_read_stays() -> None:
    b = QdqBuilder()
    t = layer(b)
    y = b.quantize(silu(b, t), "y")
    model = b.model(("n", 3, 5, 5), b.quantize(b.add("Add", [y, t], "sum"), "z"))
    assert steps(model) == ["Quantize", "ConvS8", "TableS8", "AddS8", "Dequantize"]
    check_meaning(model)


def test_a_gate_that_others_read_is_made_beside_the_product() -> None:
    b = QdqBuilder()
    y = b.quantize(silu(b, layer(b)), "y")
    model = b.model(("n", 3, 5, 5), b.quantize(b.add("Add", [y, "gate"], "sum"), "z"))
    assert steps(model) == ["Quantize", "ConvS8", "TableS8", "TableS8", "AddS8", "Dequantize"]
    check_meaning(model)


def test_a_product_of_two_tensors_is_no_function() -> None:
    b = QdqBuilder()
    x = b.quantize("input", "x")
    other = b.quantize(b.add("Sigmoid", [layer_of(b, x)], "s"), "gate", scale=1 / 255, zero_point=0)
    model = b.model(("n", 3, 5, 5), b.quantize(b.add("Mul", [x, other], "f"), "y"))
    assert steps(model) == ["Quantize", "ConvS8", "MulS8", "Dequantize"]


def layer_of(b: QdqBuilder, x: str) -> str:
    return b.quantize(b.q_conv(x, "conv", (3, 3, 1, 1)), "t")


def test_a_constant_for_each_channel_is_no_function() -> None:
    b = QdqBuilder()
    factor = b.random("factor", (3, 1, 1), 1.0)
    product = b.add("Mul", [b.quantize("input", "x"), factor], "p")
    model = b.model(("n", 3, 5, 5), b.quantize(product, "y"))
    assert "TableS8" not in steps(model)


def test_the_product_is_made_by_the_rule_of_products() -> None:
    """Bit for bit what the separate operators give."""
    b = QdqBuilder()
    x = b.quantize("input", "x")
    fused = b.model(("n", 3, 5, 5), b.quantize(silu(b, x), "y"))
    graph = QdqBuilder()
    gate = graph.quantize(
        graph.add("Sigmoid", [graph.quantize("input", "x")], "s"),
        "gate",
        scale=1 / 255,
        zero_point=0,
    )
    again = graph.quantize("input", "copy")  # the same values, as another tensor
    apart = graph.model(("n", 3, 5, 5), graph.quantize(graph.add("Mul", [again, gate], "f"), "y"))
    assert "MulS8" in steps(apart) and "MulS8" not in steps(fused)
    feeds = feeds_for(fused)
    one, two = (sparing.Session(m, backend="numpy").run(None, feeds)[0] for m in (fused, apart))
    assert np.array_equal(one, two)


def test_a_function_is_in_the_layer() -> None:
    b = QdqBuilder()
    model = b.model(("n", 3, 5, 5), b.quantize(silu(b, layer(b)), "y"))
    shapes = {name: array.shape for name, array in feeds_for(model).items()}
    (conv,) = (op.work for op in lower(model, shapes).operations if isinstance(op.work, ConvS8))
    assert conv.table is not None
