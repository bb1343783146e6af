"""The reference of float operators without weights, against float64 and against ONNX' meaning."""

from __future__ import annotations

import math

import numpy as np
import pytest
from kernel_checks import require
from models import GraphBuilder
from onnx import TensorProto

import sparing
from sparing.formats.onnx_reader import read_onnx
from sparing.interpreter import run_graph
from sparing.kernels.registry import Backend, candidates
from sparing.lower import lower
from sparing.lowered import ReferenceOp
from sparing.model import Model
from sparing.ops import fused
from sparing.ops import fused_spec as fs
from sparing.ops.fused_float import elu, gelu, sigmoid, tanh

UNIT = 2.0**-24


def wide_range() -> fs.F32:
    ends = np.array([0.0, -0.0, 86.9, 87.0, 87.1, 103.0, 1e30, np.inf, 1e-40], np.float32)
    numbers = np.linspace(-90, 90, 100_001).astype(np.float32)
    return np.concatenate([ends, -ends, numbers])


def test_sigmoid_is_within_its_bound() -> None:
    x = wide_range()
    with np.errstate(over="ignore"):
        exact = 1 / (1 + np.exp(-x.astype(np.float64)))
    # exp by Cephes' polynomial: about 1.5 units; the sum and the quotient: one rounding each.
    # Below -87 the result is 0 instead of at most exp(-87).
    bound = 4 * 2 * UNIT * exact + np.where(x < -87, np.exp(-87.0), 0)
    assert (np.abs(sigmoid(x) - exact) <= bound).all()
    assert np.isnan(sigmoid(np.array([np.nan], np.float32))).all()


def test_tanh_elu_and_gelu_are_within_their_bounds() -> None:
    """A few roundings of what they return; gelu within half of the 1.5e-7 of its error function and
    of some roundings of values up to 2."""
    x = np.concatenate([np.linspace(-20, 20, 40001), 10.0 ** -np.arange(1, 30)]).astype(np.float32)
    real = x.astype(np.float64)
    want = np.tanh(real)
    assert (np.abs(tanh(x) - want) <= 3e-7 * np.abs(want)).all()
    assert (np.abs(elu(x, 1.0) - np.where(real > 0, real, np.expm1(real))) <= 2e-7).all()
    want = np.array([r / 2 * math.erfc(-r * math.sqrt(0.5)) for r in real])
    assert (np.abs(gelu(x) - want) <= 3e-7 * np.abs(real)).all()
    for function in (tanh, gelu, lambda x: elu(x, 1.0)):
        assert np.isnan(function(np.array([np.nan], np.float32))).all()


@pytest.mark.parametrize("backend", ["c", "numba"])
@pytest.mark.parametrize("function", ["sigmoid", "silu", "tanh", "gelu", "elu", "leaky_relu"])
def test_functions_have_equal_bits_everywhere(backend: Backend, function: str) -> None:
    require(backend)
    x = np.ascontiguousarray(wide_range()[None])
    spec = fs.ActivationF32(function)
    got = np.empty_like(x)
    kernel = next(candidates(spec, backend))
    kernel.prepare(spec, [x.shape], "nchw").run([x], got)
    with np.errstate(invalid="ignore"):  # -inf * 0
        want = fused.run(spec, [x])
    assert np.array_equal(got, want, equal_nan=True)


def network(body: str) -> Model:
    g = GraphBuilder()
    x = g.conv("input", "conv", (6, 3, 3, 3), bias=True, pads=[1] * 4)
    if body == "pools":
        parts = [
            g.add("MaxPool", [x], "max", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
            g.add("AveragePool", [x], "mean", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
        ]
        x = g.add("Concat", parts, "both", axis=1)
        x = g.add("Add", [g.add("GlobalMaxPool", [x], "top"), x], "sum")
        x = g.add("ReduceMean", [x], "out", axes=[2, 3], keepdims=0)
    elif body == "gates":
        gate = g.add("GlobalAveragePool", [x], "mean")
        gate = g.add("HardSigmoid", [gate], "gate", alpha=0.3)
        x = g.add("HardSwish", [g.add("Mul", [gate, x], "gated")], "out")
    elif body == "silu":
        wide = g.add("Mul", [g.add("Sigmoid", [x], "s"), x], "silu")
        x = g.add("Relu", [g.add("Add", [wide, g.add("Sigmoid", [wide], "t")], "u")], "out")
    elif body == "affine":
        x = g.add("Concat", [x, "input"], "both", axis=1)
        arrays = [("scale", 1.0), ("bias", 0.5), ("mean", 0.2)]
        terms = [g.random(name, (9,), size) for name, size in arrays]
        variance = g.weight("variance", g.rng.uniform(0.5, 2, 9).astype(np.float32))
        x = g.add("Relu", [g.add("BatchNormalization", [x, *terms, variance], "norm")], "relu")
        half = g.weight("half", np.float32(0.5))
        per_channel = g.random("per_channel", (9, 1, 1))
        x = g.add("Add", [half, g.add("MaxPool", [x], "max", kernel_shape=[2, 2])], "shifted")
        x = g.add("Mul", [g.add("Sigmoid", [x], "s"), per_channel], "out")
    elif body == "functions":
        root, one, half = (g.weight(f"c{c}", np.float32(c)) for c in (2**0.5, 1, 0.5))
        erf = g.add("Erf", [g.add("Div", [x, root], "d")], "erf")
        product = g.add("Mul", [x, g.add("Add", [erf, one], "a")], "p")
        y = g.add("LeakyRelu", [g.add("Mul", [product, half], "gelu")], "leaky", alpha=0.2)
        x = g.add("Elu", [g.add("Add", [y, g.add("Tanh", [x], "tanh")], "sum")], "out", alpha=0.5)
    elif body == "hard_swish":  # written out in two orders; the last one is none
        x = g.add("MaxPool", [x], "max", kernel_shape=[2, 2])
        zero, two, three, six = (g.weight(f"c{c}", np.float32(c)) for c in (0, 2, 3, 6))
        gate = g.add("Clip", [g.add("Add", [x, three], "a"), zero, six], "gate")
        x = g.add("Div", [g.add("Mul", [x, gate], "p"), six], "one")
        gate = g.add("Clip", [g.add("Add", [three, x], "b"), zero, six], "gate2")
        x = g.add("Mul", [g.add("Div", [gate, six], "d"), x], "two")
        gate = g.add("Clip", [g.add("Add", [x, two], "c"), zero, six], "gate3")
        x = g.add("Div", [g.add("Mul", [x, gate], "q"), six], "out")
    elif body == "quotients":
        x = g.add("MaxPool", [x], "max", kernel_shape=[2, 2])
        per_channel = g.weight("divisors", g.rng.uniform(1, 2, (6, 1, 1)).astype(np.float32))
        x = g.add("Tanh", [g.add("Div", [x, per_channel], "d")], "t")
        x = g.add("Add", [g.add("Div", [x, per_channel], "e"), per_channel], "s")
        x = g.add("Sigmoid", [g.add("Div", [per_channel, x], "f")], "out")
    elif body == "divided":  # no gelu: the error function is of something else
        two, one = (g.weight(f"c{c}", np.float32(c)) for c in (2, 1))
        erf = g.add("Erf", [g.add("Div", [x, two], "d")], "erf")
        x = g.add("LeakyRelu", [g.add("Add", [erf, one], "a")], "out")
    else:
        assert body == "clips"
        low, high = (g.weight(n, np.float32(v)) for n, v in (("low", -0.2), ("high", 0.6)))
        y = g.add("Clip", [x, low, high], "clip")
        x = g.add("Mul", [g.add("Relu", [y], "relu"), g.add("Tanh", [y], "tanh")], "out")
    rank = 2 if body == "pools" else 4
    dims = [f"d{i}" for i in range(rank)]
    return read_onnx(
        g.finish({"input": (TensorProto.FLOAT, (2, 3, 9, 8))}, {x: (TensorProto.FLOAT, dims)})
    )


@pytest.mark.parametrize(
    ("body", "kinds"),
    [
        ("pools", "MaxPoolF32 AveragePoolF32 ConcatF32 MaxPoolF32 AddF32 AveragePoolF32 View"),
        ("gates", "AveragePoolF32 ActivationF32 MulF32 ActivationF32"),
        ("silu", "ActivationF32 ActivationF32 AddF32"),
        ("affine", "ConcatF32 ConvF32 MaxPoolF32 ConvF32 ActivationF32 ConvF32"),
        ("clips", "ActivationF32 ActivationF32 MulF32"),
        ("functions", "ActivationF32 ActivationF32 ActivationF32 AddF32 ActivationF32"),
        ("hard_swish", "MaxPoolF32 ActivationF32 ActivationF32 ConvF32 MulF32 ConvF32"),
        ("quotients", "MaxPoolF32 ConvF32 ActivationF32 ConvF32 Div ActivationF32"),
        ("divided", "ActivationF32 ConvF32 Erf"),
    ],
)
def test_float_networks_mean_the_same(body: str, kinds: str) -> None:
    model = network(body)
    works = [op.work for op in lower(model, {"input": (2, 3, 9, 8)}).operations]
    names = [w.node.op_type if isinstance(w, ReferenceOp) else type(w).__name__ for w in works]
    assert sorted(names) == sorted(["ConvF32", *kinds.split()])
    x = np.random.default_rng(0).standard_normal((2, 3, 9, 8)).astype(np.float32)
    (want,) = run_graph(model, {"input": x}).values()
    for backend in ("numpy", "auto"):
        session = sparing.Session(model, backend=backend, threads=1)
        (got,) = session.run(None, {"input": x})
        # a few float32 roundings of values near 1
        assert got.shape == want.shape and np.abs(got - want).max() < 1e-5
