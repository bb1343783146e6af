"""Dynamic and weight-only quantization: the graphs, what they compute, and their bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import models
import numpy as np
import numpy.typing as npt
import pytest

import sparing
from sparing.compression.quantize import quantize
from sparing.errors import InputError, QuantizationError
from sparing.formats.onnx_reader import read_onnx
from sparing.interpreter import run_graph
from sparing.model import Model, Tensor

F32 = npt.NDArray[np.float32]
BUILDS = [models.residual_net, models.depthwise_net]


def feeds(model: Model, count: int = 4, seed: int = 0) -> list[dict[str, F32]]:
    rng = np.random.default_rng(seed)
    shape = [d for d in model.inputs[0].shape or () if isinstance(d, int)]
    return [{"input": rng.normal(size=(4, *shape)).astype(np.float32)} for _ in range(count)]


def noise(model: Model, other: Model, batches: list[dict[str, F32]]) -> float:
    """Mean square of the error of the logits over their mean square."""
    wanted = np.concatenate([run_graph(model, f, ["logits"])["logits"] for f in batches])
    got = np.concatenate([run_graph(other, f, ["logits"])["logits"] for f in batches])
    return float(np.square(got - wanted).sum() / np.square(wanted).sum())


def kinds(model: Model) -> set[str]:
    return {node.op_type for node in model.nodes}


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("backend", ["numpy", "auto"])
def test_dynamic_quantization_needs_no_data_and_runs_everywhere(build: Any, backend: Any) -> None:
    model = read_onnx(build())
    dynamic = quantize(model, mode="dynamic")
    assert {"DynamicQuantizeLinear", "ConvInteger"} <= kinds(dynamic)
    assert not kinds(dynamic) & {"Conv", "Gemm", "MatMul", "DequantizeLinear", "QuantizeLinear"}
    batch = feeds(model)[0]
    (got,) = sparing.Session(dynamic, backend).run(None, batch)
    # the integers are exact; the float operators around them are those of the graph
    assert np.array_equal(got, run_graph(dynamic, batch, ["logits"])["logits"])
    # 8-bit weights and activations of a few layers: some tenths of a percent
    assert noise(model, dynamic, feeds(model)) < 0.01


@pytest.mark.parametrize("build", BUILDS)
def test_dynamic_ranges_follow_each_input(build: Any) -> None:
    """Inputs a thousand times larger than any before lose no accuracy: nothing was calibrated."""
    model = read_onnx(build())
    large = [{"input": f["input"] * np.float32(1000)} for f in feeds(model)]
    static = quantize(model, feeds(model))
    dynamic = quantize(model, mode="dynamic")
    assert noise(model, dynamic, large) < 0.02 and noise(model, static, large) > 0.2


@pytest.mark.parametrize("build", BUILDS)
def test_onnxruntime_computes_the_same_from_a_dynamic_model(build: Any, tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    model = read_onnx(build())
    dynamic = quantize(model, mode="dynamic", weight_bits=7)  # 8 saturate there under AVX2
    path = tmp_path / "dynamic.onnx"
    sparing.save(dynamic, path)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in feeds(model):
        (wanted,) = session.run(None, batch)
        (got,) = sparing.Session(dynamic).run(None, batch)
        # the float operations between the integers may round and fuse another way: a few ulp, which
        # can turn the rounding of single activations
        assert np.abs(got - wanted).max() <= 0.01 * np.abs(wanted).max()


def test_a_model_that_onnxruntime_quantized_dynamically_runs(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    import onnxruntime as ort
    from onnxruntime.quantization import quantize_dynamic

    onnx.save(models.residual_net(), tmp_path / "float.onnx")
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "dynamic.onnx")
    session = ort.InferenceSession(tmp_path / "dynamic.onnx", providers=["CPUExecutionProvider"])
    batch = feeds(read_onnx(models.residual_net()))[0]
    (wanted,) = session.run(None, batch)
    (got,) = sparing.Session(str(tmp_path / "dynamic.onnx")).run(None, batch)
    assert np.abs(got - wanted).max() <= 0.01 * np.abs(wanted).max()  # as above


@pytest.mark.parametrize("mode", ["dynamic", "weights"])
@pytest.mark.parametrize("build", BUILDS)
def test_calibration_rounds_weights_better(mode: str, build: Any) -> None:
    model = read_onnx(build())
    fresh = feeds(model, 8, seed=1)
    by_itself = quantize(model, mode=mode, weight_bits=4)
    calibrated = quantize(model, feeds(model, 12), mode=mode, weight_bits=4)
    assert noise(model, calibrated, fresh) < 0.75 * noise(model, by_itself, fresh)
    assert by_itself.metadata["recipe"]["quantize"]["rounding"] == "nearest"
    assert calibrated.metadata["recipe"]["quantize"]["rounding"] == "gptq"


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_weight_only_models_keep_integers_and_compute_floats(bits: int) -> None:
    model = read_onnx(models.residual_net())
    small = quantize(model, mode="weights", weight_bits=bits)
    assert {"Conv", "DequantizeLinear"} <= kinds(small) and "QuantizeLinear" not in kinds(small)
    largest = 2 ** (bits - 1) - 1
    for node in small.nodes:
        if node.op_type in ("Conv", "Gemm"):
            stored = small.producers()[node.inputs[1]]
            integers, scale = (small.weights[name].numpy() for name in stored.inputs)
            assert integers.dtype == np.int8 and np.abs(integers).max() == largest
            assert scale.shape == (len(integers),)
            assert small.weights[node.inputs[2]].numpy().dtype == np.float32
    batch = feeds(model)[0]
    (got,) = sparing.Session(small).run(None, batch)
    wanted = run_graph(small, batch, ["logits"])["logits"]
    # float sums in another order: K + 2 roundings of 6e-8 a layer, K at most 72 here
    assert np.abs(got - wanted).max() <= 1e-4 * np.abs(wanted).max()


@pytest.mark.parametrize("mode", ["dynamic", "weights"])
def test_files_take_the_bytes_of_the_bits(mode: str, tmp_path: Path) -> None:
    g = models.GraphBuilder()
    g.conv("input", "output", (64, 32, 3, 3), bias=True)
    shape: Any = (1, ("N", 32, 8, 8))
    model = read_onnx(g.finish({"input": shape}, {"output": (1, ("N", 64, 6, 6))}))
    weights = 64 * 32 * 9
    for bits, size in ((8, 1.0), (4, 0.5)):
        path = tmp_path / f"{bits}.sparing"
        small = quantize(model, mode=mode, weight_bits=bits)
        sparing.save(small, path)
        assert path.stat().st_size < size * weights + 6000  # graph, scales, bias
        batch = {"input": np.random.default_rng(0).normal(size=(1, 32, 8, 8)).astype(np.float32)}
        before, after = (sparing.Session(m).run(None, batch)[0] for m in (small, path))
        assert np.array_equal(before, after)


@pytest.mark.parametrize("mode", ["dynamic", "weights"])
def test_zeros_ignored_layers_and_single_scales(mode: str) -> None:
    model = read_onnx(models.residual_net())
    pruned = sparing.prune(model, 0.6)
    small = quantize(
        pruned, mode=mode, per_channel=False, power_of_two_scales=True, ignored=["logits/.*"]
    )
    names = [n for n in small.weights if n.endswith("/weight/quantized")]
    assert len(names) == 4 and "Gemm" in kinds(small)
    for name in names:
        label = name.removesuffix("/weight/quantized")
        node = next(n for n in pruned.nodes if n.label == label)
        zeros = pruned.weights[node.inputs[1]].numpy() == 0
        assert not small.weights[name].numpy()[zeros].any() and zeros.any()
        mantissa, _ = np.frexp(small.weights[f"{label}/weight/scale"].numpy())
        assert mantissa.shape == () and mantissa == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "dynamically"}, "mode: expected one of static, dynamic, weights, got 'dynam"),
        ({}, "expected calibration feeds, or a calibration_cache that exists"),
        ({"mode": "weights", "rounding": "gptq"}, "rounding 'gptq' and bias_correction need feeds"),
        ({"mode": "dynamic", "bias_correction": True}, "need feeds, got none"),
        ({"mode": "dynamic", "max_divergence": 0.1}, "max_divergence: it needs calibration"),
    ],
)
def test_what_needs_data_says_so(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        quantize(read_onnx(models.residual_net()), **arguments)


def test_weights_that_are_not_finite_are_refused() -> None:
    model = read_onnx(models.residual_net())
    name = model.nodes[0].inputs[1]
    bad = model.weights[name].numpy().copy()
    bad[0, 0, 0, 0] = np.nan
    broken = model.replace(weights={**model.weights, name: Tensor(bad)})
    with pytest.raises(QuantizationError, match="channel 0: weights or bias are not finite"):
        quantize(broken, mode="weights")
