"""Narrow floats and packed integers take the bytes they promise and come back as they were."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import models
import numpy as np
import pytest

import sparing
from sparing.compression.quantize import quantize
from sparing.compression.storage_float import store_floats
from sparing.errors import InputError, ModelError, QuantizationError
from sparing.fold import simplify
from sparing.formats import load, save
from sparing.formats.onnx_reader import read_onnx
from sparing.interpreter import run_graph
from sparing.model import Model, Tensor

# bytes a weight, and half a step of the format relative to the value (or, below, to the channel)
FORMATS = [("float16", 2, 2.0**-11), ("bfloat16", 2, 2.0**-8), ("float8_e4m3fn", 1, 2.0**-4)]


def net() -> Model:
    return simplify(read_onnx(models.residual_net()))


def wide() -> Model:
    """A layer large enough that its weights are most of the file."""
    g = models.GraphBuilder()
    g.conv("input", "output", (64, 32, 3, 3), bias=True)
    shape: Any = (1, ("N", 32, 8, 8))
    return read_onnx(g.finish({"input": shape}, {"output": (1, ("N", 64, 6, 6))}))


@pytest.mark.parametrize(("dtype", "size", "half"), FORMATS)
def test_weights_come_back_within_half_a_step(dtype: str, size: int, half: float) -> None:
    if dtype != "float16":
        pytest.importorskip("ml_dtypes")
    model = net()
    stored = store_floats(model, dtype)
    restored = simplify(stored)
    before = {n.label: n for n in model.nodes}
    for node in restored.nodes:
        if node.op_type not in ("Conv", "Gemm"):
            continue
        wanted = model.weights[before[node.label].inputs[1]].numpy()
        got = restored.weights[node.inputs[1]].numpy()
        rows = np.abs(wanted).reshape(len(wanted), -1).max(axis=1)
        # subnormals of the format: float8 has 2^-9 of 448 at the channel's largest weight
        floor = rows.reshape(-1, *(1,) * (wanted.ndim - 1)) * 2.0**-17
        assert (np.abs(got - wanted) <= half * np.abs(wanted) * 1.001 + floor).all()
        assert got.dtype == np.float32
    assert stored.metadata["recipe"]["store"] == {"dtype": dtype}


@pytest.mark.parametrize(("dtype", "size", "half"), FORMATS)
def test_files_shrink_and_sessions_run_them(
    dtype: str, size: int, half: float, tmp_path: Path
) -> None:
    if dtype != "float16":
        pytest.importorskip("ml_dtypes")
    model = wide()
    stored = store_floats(model, dtype)
    save(stored, tmp_path / "small.sparing")
    weights = 64 * 32 * 9
    table = 1024 if size == 1 else 0  # of the 256 values
    header = 2500  # graph, recipe and provenance as JSON
    assert (tmp_path / "small.sparing").stat().st_size < weights * size + table + 64 * 8 + header
    again = load(tmp_path / "small.sparing")
    x = {"input": np.random.default_rng(0).normal(size=(2, 32, 8, 8)).astype(np.float32)}
    wanted = run_graph(model, x)["output"]
    (got,) = sparing.Session(again, threads=1).run(None, x)
    # independent errors of up to half a step on each of 288 products
    assert np.sqrt(np.square(got - wanted).mean() / np.square(wanted).mean()) < half


def test_layers_may_be_left_out() -> None:
    model = net()
    stored = store_floats(model, "float16", ignored=["conv1.*"])
    kept = next(n for n in stored.nodes if n.label.startswith("conv1"))
    assert stored.weights[kept.inputs[1]].dtype == np.float32
    assert sum(n.op_type == "Cast" for n in stored.nodes) == 4


def test_what_does_not_fit_is_refused() -> None:
    model = net()
    with pytest.raises(InputError, match="dtype: expected one of float16, bfloat16"):
        store_floats(model, "float4")
    with pytest.raises(InputError, match="matches no node"):
        store_floats(model, "float16", ignored=["nothing"])
    with pytest.raises(ModelError, match="expected a float model"):
        store_floats(read_onnx(models.qdq_net()), "float16")
    node = next(n for n in model.nodes if n.op_type == "Conv")
    large = {**model.weights, node.inputs[1]: Tensor(model.weights[node.inputs[1]].numpy() * 1e6)}
    with pytest.raises(QuantizationError, match=f"{re.escape(repr(node.label))}: weights up to"):
        store_floats(model.replace(weights=large), "float16")


def test_four_bit_weights_take_half_a_byte(tmp_path: Path) -> None:
    model = wide()
    x = {"input": np.random.default_rng(0).normal(size=(4, 32, 8, 8)).astype(np.float32)}
    sizes = {}
    for bits in (4, 8):
        quantized = quantize(model, [x], weight_bits=bits)
        path = tmp_path / f"w{bits}.sparing"
        save(quantized, path)
        sizes[bits] = path.stat().st_size
        again = load(path)
        for name, tensor in quantized.weights.items():
            assert again.weights[name].dtype == tensor.dtype
            assert np.array_equal(again.weights[name].numpy(), tensor.numpy())
        session = sparing.Session(again, threads=1)
        assert np.array_equal(session.run(None, x)[0], sparing.Session(quantized).run(None, x)[0])
    weights = 64 * 32 * 9
    # one row of the table more, and nothing else
    assert abs(sizes[8] - sizes[4] - weights // 2) < 200
