"""Layer-by-layer repair: outputs come closer, means come back, and it is the same every time."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from typing import Any

import models
import numpy as np
import numpy.typing as npt
import pytest
from onnx import TensorProto

import sparing
from sparing.compression import reconstruct
from sparing.compression.quantize import quantize
from sparing.formats.onnx_reader import read_onnx
from sparing.interpreter import run_graph
from sparing.model import Model, Node

Feeds = list[dict[str, npt.NDArray[np.float32]]]
BUILDS = [models.residual_net, models.depthwise_net]
NEAREST: dict[str, Any] = {"rounding": "nearest", "bias_correction": False}


def net(build: Any) -> Model:
    return read_onnx(build())


def feeds(model: Model, count: int, seed: int = 0, batch: int = 8) -> Feeds:
    """Normal images; what they have in common is little, so that overfitting would show."""
    rng = np.random.default_rng(seed)
    shape = [d for d in model.inputs[0].shape or () if isinstance(d, int)]
    return [{"input": rng.normal(size=(batch, *shape)).astype(np.float32)} for _ in range(count)]


def noise(model: Model, quantized: Model, batches: Feeds, name: str = "logits") -> float:
    """Mean square of the error of a value, over the mean square of the value."""
    wanted = np.concatenate([run_graph(model, f, [name])[name] for f in batches])
    got = np.concatenate([run_graph(quantized, f, [name])[name] for f in batches])
    return float(np.square(got - wanted).sum() / np.square(wanted).sum())


def layers(model: Model) -> list[Node]:
    return [n for n in model.nodes if n.op_type in ("Conv", "Gemm", "MatMul")]


def integers(model: Model, node: Node, place: int = 1) -> npt.NDArray[Any]:
    return model.weights[model.producers()[node.inputs[place]].inputs[0]].numpy()


@pytest.mark.parametrize("build", BUILDS)
def test_four_bit_weights_lose_less_on_new_images(build: Any) -> None:
    model = net(build)
    calibration, fresh = feeds(model, 12), feeds(model, 12, seed=1)
    nearest = quantize(model, calibration, weight_bits=4, **NEAREST)
    repaired = quantize(model, calibration, weight_bits=4)
    assert noise(model, repaired, fresh) < 0.5 * noise(model, nearest, fresh)


@pytest.mark.parametrize("build", BUILDS)
def test_bias_correction_gives_means_back(build: Any) -> None:
    model = net(build)
    calibration = feeds(model, 12)
    shifts = []
    for corrected in (False, True):
        quantized = quantize(
            model, calibration, weight_bits=4, rounding="nearest", bias_correction=corrected
        )
        wanted, got = (
            np.concatenate([run_graph(m, f)["logits"] for f in calibration])
            for m in (model, quantized)
        )
        shifts.append(np.abs((wanted - got).mean(axis=0)).max() / wanted.std())
    # what remains: half a quantum of the bias, and the output's rounding over 96 images
    assert shifts[1] < 0.01 < shifts[0]


def test_a_layer_makes_up_for_the_residual_it_is_added_to() -> None:
    g = models.GraphBuilder()
    coarse = g.conv("input", "coarse", (8, 6, 1, 1))
    fine = g.conv("input", "fine", (8, 6, 1, 1))
    g.add("Relu", [g.add("Add", [coarse, fine], "total")], "logits")
    shapes: Any = {"input": (TensorProto.FLOAT, ("N", 6, 8, 8))}
    model = read_onnx(g.finish(shapes, {"logits": (TensorProto.FLOAT, ("N", 8, 8, 8))}))
    calibration = feeds(model, 12)
    settings = {"coarse/node": {"weight_bits": 4}}
    got = quantize(model, calibration, layers=settings)
    alone = quantize(model, calibration, layers=settings, **NEAREST)
    # Both read the same input, so that the 8-bit layer can take all that the 4-bit one got wrong.
    assert noise(model, got, calibration, "logits") < 0.3 * noise(
        model, alone, calibration, "logits"
    )


@pytest.mark.parametrize("rounding", ["nearest", "gptq"])
def test_the_same_every_time_and_for_every_batch_size(rounding: str) -> None:
    model = net(models.residual_net)
    images = np.concatenate([f["input"] for f in feeds(model, 3)])
    results = [
        quantize(
            model,
            [{"input": images[i : i + batch]} for i in range(0, 24, batch)],
            weight_bits=4,
            rounding=rounding,
        )
        for batch in (4, 4, 6)
    ]
    for other in results[1:]:
        assert other.nodes == results[0].nodes
        for name, tensor in results[0].weights.items():
            assert np.array_equal(tensor.numpy(), other.weights[name].numpy())


def test_a_one_shot_iterator_is_enough() -> None:
    model = net(models.residual_net)
    once, again = (quantize(model, x) for x in (iter(feeds(model, 3)), feeds(model, 3)))
    for name, tensor in once.weights.items():
        assert np.array_equal(tensor.numpy(), again.weights[name].numpy())


def test_layers_may_be_rounded_to_nearest_one_by_one() -> None:
    model = net(models.residual_net)
    settings = {"conv1/node": {"rounding": "nearest"}}
    plain = quantize(model, feeds(model, 2), method="minmax", **NEAREST)
    mixed = quantize(model, feeds(model, 2), method="minmax", layers=settings, weight_bits=8)
    same = {
        a.name: np.array_equal(integers(plain, a), integers(mixed, b))
        for a, b in zip(layers(plain), layers(mixed), strict=True)
    }
    assert same.pop("conv1/node") and not any(same.values())


def test_layers_too_wide_for_their_moments_round_to_nearest(monkeypatch: Any) -> None:
    model = net(models.residual_net)
    monkeypatch.setattr(reconstruct, "LARGEST_MOMENTS", 60**2)
    plain = quantize(model, feeds(model, 2), **NEAREST)
    repaired = quantize(model, feeds(model, 2))
    same = {
        a.name: np.array_equal(integers(plain, a), integers(repaired, b))
        for a, b in zip(layers(plain), layers(repaired), strict=True)
    }
    # 3x3 over 8 and 12 channels: 72 and 108 weights a channel
    assert {name for name, equal in same.items() if equal} == {"conv1/node", "conv2/node"}


def test_a_matrix_product_of_sequences_has_no_bias_and_gains_all_the_same() -> None:
    g = models.GraphBuilder()
    g.add("MatMul", ["input", g.random("w", (16, 10))], "logits")
    shapes: Any = {"input": (TensorProto.FLOAT, ("N", 7, 16))}
    model = read_onnx(g.finish(shapes, {"logits": (TensorProto.FLOAT, ("N", 7, 10))}))
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(16, 16))
    batches: Feeds = [
        {"input": (rng.normal(size=(8, 7, 16)) @ mix + 1).astype(np.float32)} for _ in range(8)
    ]
    nearest, repaired = (
        noise(model, quantize(model, batches[:4], weight_bits=4, **options), batches[4:])
        for options in (NEAREST, {})
    )
    assert repaired < 0.7 * nearest


@pytest.mark.parametrize("bits", [(8, 8), (7, 7), (4, 8)])
def test_fixed_point_scales_are_powers_of_two(bits: tuple[int, int]) -> None:
    model = net(models.depthwise_net)
    calibration = feeds(model, 6)
    quantized = quantize(
        model,
        calibration,
        weight_bits=bits[0],
        activation_bits=bits[1],
        power_of_two_scales=True,
        symmetric_activations=True,
    )
    scales = 0
    for node in quantized.nodes:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale = quantized.weights[node.inputs[1]].numpy()
            assert (np.frexp(scale)[0] == 0.5).all()
            scales += 1
        if node.op_type == "QuantizeLinear":
            zero = int(quantized.weights[node.inputs[2]].numpy())
            assert zero in (0, 2 ** (bits[1] - 1))
    assert scales
    # steps up to twice as wide, for weights and activations: 6 dB and more below free scales
    assert noise(model, quantized, feeds(model, 4, seed=1)) < (0.05 if bits[0] > 4 else 0.2)
    x = calibration[0]
    (want,) = sparing.Session(quantized, backend="numpy").run(None, x)
    assert np.array_equal(sparing.Session(quantized).run(None, x)[0], want)


def test_memory_does_not_grow_with_the_number_of_images() -> None:
    model = net(models.depthwise_net)

    def stream(count: int) -> Iterator[dict[str, npt.NDArray[np.float32]]]:
        rng = np.random.default_rng(0)
        for _ in range(count):
            yield {"input": rng.normal(size=(4, 3, 9, 9)).astype(np.float32)}

    def peak(batches: int) -> int:
        gc.collect()
        tracemalloc.start()
        quantize(model, stream(batches))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(2)  # first calls allocate what stays: caches of NumPy and of the interpreter
    few = peak(20), peak(40)  # enough that patches waiting to be multiplied are as many as ever
    # 480 images more hold 0.5 MB, their activations over 7 MB, and the spools' rows take 16 bytes.
    # A peak may hold cyclic garbage that waits for the collector: growth would show in both.
    assert min(peak(160), peak(160)) < max(few) + 200_000
