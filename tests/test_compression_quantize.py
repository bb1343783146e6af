"""Quantized graphs: where the quantizers stand, what they compute, and what the integers obey."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import models
import numpy as np
import numpy.typing as npt
import pytest
from onnx import ModelProto, TensorProto

import sparing
from sparing.compression.quantize import quantize
from sparing.errors import InputError, ModelError, QuantizationError
from sparing.fold import simplify
from sparing.formats.onnx_reader import read_onnx
from sparing.interpreter import run_graph
from sparing.model import Model, Node

Feeds = list[dict[str, npt.NDArray[np.float32]]]


# Each weight by itself at a scale that covers the largest, and ranges that cover all values.
PLAIN: Any = {"method": "minmax", "rounding": "nearest", "bias_correction": False}


def feeds(model: Model, count: int = 4, seed: int = 0, batch: int = 4) -> Feeds:
    rng = np.random.default_rng(seed)
    shape = [d for d in model.inputs[0].shape or () if isinstance(d, int)]
    name = model.inputs[0].name
    return [{name: rng.normal(size=(batch, *shape)).astype(np.float32)} for _ in range(count)]


def net(build: Any = models.residual_net, **arguments: Any) -> Model:
    return read_onnx(build(**arguments))


def finish(g: models.GraphBuilder, x: models.Dims, y: models.Dims, name: str = "output") -> Model:
    proto: ModelProto = g.finish({"input": (TensorProto.FLOAT, x)}, {name: (TensorProto.FLOAT, y)})
    return read_onnx(proto)


def sqnr(model: Model, quantized: Model, batches: Feeds) -> float:
    """Signal to quantization noise of the first output, in dB."""
    name = model.outputs[0].name
    wanted = np.concatenate([run_graph(model, f)[name] for f in batches]).astype(np.float64)
    got = np.concatenate([run_graph(quantized, f)[name] for f in batches])
    return float(10 * np.log10((wanted**2).sum() / ((wanted - got) ** 2).sum()))


def constant(model: Model, name: str) -> npt.NDArray[Any]:
    return model.weights[name].numpy()


def dequantized(model: Model, node: Node, position: int) -> Node:
    """The DequantizeLinear behind an input of a node."""
    found = model.producers()[node.inputs[position]]
    assert found.op_type == "DequantizeLinear"
    return found


def layers(model: Model) -> list[Node]:
    return [n for n in model.nodes if n.op_type in ("Conv", "Gemm", "MatMul")]


def chain(model: Model, start: str) -> list[str]:
    """Operator types behind a value, as long as one node alone reads each value."""
    types, readers = [], model.consumers()
    while len(readers.get(start, [])) == 1:
        node = readers[start][0]
        types.append(node.op_type)
        start = node.outputs[0]
    return types


def test_quantizers_stand_where_the_integer_operators_need_them() -> None:
    model = net()
    quantized = quantize(model, feeds(model))
    # input, stem_relu, conv1_relu, conv2, shortcut, sum_relu, pool, flat, logits
    assert Counter(n.op_type for n in quantized.nodes) == {
        "QuantizeLinear": 9,
        "DequantizeLinear": 9 + 2 * 5,
        "Conv": 4,
        "Relu": 3,
        "Add": 1,
        "GlobalAveragePool": 1,
        "Flatten": 1,
        "Gemm": 1,
    }
    pair = ["QuantizeLinear", "DequantizeLinear"]
    for name in ("stem_bn", "conv1_bn"):
        assert chain(quantized, name)[:3] == ["Relu", *pair], "no quantizer before a fused Relu"
    rest = ["Add", "Relu", *pair, "GlobalAveragePool", *pair, "Flatten", *pair, "Gemm", *pair]
    assert chain(quantized, "conv2_bn") == [*pair, *rest]
    last = quantized.producers()["logits"]
    assert last.op_type == "DequantizeLinear" and quantized.outputs == model.outputs


def test_what_moves_values_shares_the_scale_of_its_input() -> None:
    model = net()
    quantized = quantize(model, feeds(model))
    producers = quantized.producers()
    gemm = layers(quantized)[-1]
    behind_flatten = producers[gemm.inputs[0]]
    pool = next(n for n in quantized.nodes if n.op_type == "Flatten").inputs[0]
    assert behind_flatten.inputs[1:] == producers[pool].inputs[1:]


def test_the_old_model_stays_as_it_is() -> None:
    model = net()
    nodes, weights = model.nodes, {name: t.numpy().copy() for name, t in model.weights.items()}
    quantize(model, feeds(model))
    assert model.nodes == nodes
    for name, array in weights.items():
        assert np.array_equal(model.weights[name].numpy(), array)


@pytest.mark.parametrize("build", [models.residual_net, models.depthwise_net])
@pytest.mark.parametrize(
    # One tensor at 8 bits over a normal's range has some 38 dB, 6 fewer for each bit. Six layers
    # with two noisy operands each add 12 times that noise, 11 dB; what is left of 38 - 11 at the
    # coarser of the two widths, less 1 dB (4-bit weights alone: 3 dB back, one operand is finer).
    ("bits", "least"),
    [((8, 8), 26.0), ((8, 7), 20.0), ((7, 7), 20.0), ((4, 8), 5.0)],
)
def test_the_quantized_graph_computes_nearly_the_same(
    build: Any, bits: tuple[int, int], least: float
) -> None:
    model = net(build)
    calibration = feeds(model, 8)  # measured on the same inputs: nothing is clipped
    quantized = quantize(model, calibration, weight_bits=bits[0], activation_bits=bits[1])
    assert sqnr(model, quantized, calibration) > least


def test_percentiles_clip_outliers() -> None:
    model = net()
    calibration = feeds(model, 8)
    spoiled = [*calibration, {"input": calibration[0]["input"] * 50}]
    noise = [
        sqnr(
            model,
            quantize(model, spoiled, **PLAIN | {"method": method}, percentile=98.0),
            calibration,
        )
        for method in ("minmax", "percentile")
    ]
    # One batch of nine is 50 times too large. Ranges that follow it cost 34 dB; the 98th percentile
    # still lies within that batch's values, but where there are many of them.
    assert noise[1] > noise[0] + 10


def test_scales_per_channel_beat_one_scale() -> None:
    g = models.GraphBuilder()
    spread = np.float32(10.0) ** np.linspace(-2, 1, 8, dtype=np.float32)
    weight = g.rng.normal(size=(8, 3, 3, 3)).astype(np.float32) * spread.reshape(-1, 1, 1, 1)
    x = g.add("Conv", ["input", g.weight("w1", weight)], "conv1")
    back = g.rng.normal(size=(4, 8, 1, 1)).astype(np.float32) / spread.reshape(1, -1, 1, 1)
    g.add("Conv", [x, g.weight("w2", back)], "output")
    model = finish(g, ("N", 3, 8, 8), ("N", 4, 6, 6))
    scales = [quantize(model, feeds(model), per_channel=flag, **PLAIN) for flag in (True, False)]
    shapes = [constant(m, dequantized(m, layers(m)[0], 1).inputs[1]).shape for m in scales]
    assert shapes == [(8,), ()]
    first = [dequantized(m, layers(m)[0], 1) for m in scales]
    errors = [
        np.abs(run_graph(m, feeds(m)[0], [node.outputs[0]])[node.outputs[0]] - weight)
        .reshape(8, -1)
        .max(axis=1)
        for m, node in zip(scales, first, strict=True)
    ]
    largest = np.abs(weight).reshape(8, -1).max(axis=1)
    assert (errors[0] <= largest / 127 / 2 * 1.0001).all(), "half a step of each channel"
    assert errors[1][0] > 20 * errors[0][0], "the small channel drowns in one scale for all"


@pytest.mark.parametrize("bits", [4, 5, 6, 7, 8])
@pytest.mark.parametrize("build", [models.residual_net, models.depthwise_net])
def test_weights_keep_to_their_bits(build: Any, bits: int) -> None:
    model = net(build)
    quantized = quantize(model, feeds(model, 1), weight_bits=bits, **PLAIN)
    largest = 2 ** (bits - 1) - 1
    for node in layers(quantized):
        weights = constant(quantized, dequantized(quantized, node, 1).inputs[0])
        assert weights.dtype == np.int8
        assert np.abs(weights.reshape(len(weights), -1)).max(axis=1).tolist() == [largest] * len(
            weights
        ), "the largest weight of each channel uses the whole range"


@pytest.mark.parametrize("build", [models.residual_net, models.depthwise_net])
def test_biases_have_the_scale_of_the_products(build: Any) -> None:
    model = simplify(net(build))
    quantized = quantize(model, feeds(model, 1), **PLAIN)
    float_layers = {node.label: node for node in layers(model)}
    for node in layers(quantized):
        x, weight, bias = (dequantized(quantized, node, i) for i in range(3))
        sx = constant(quantized, x.inputs[1])
        sw = constant(quantized, weight.inputs[1])
        assert constant(quantized, bias.inputs[0]).dtype == np.int32
        assert np.array_equal(constant(quantized, bias.inputs[1]), sx * sw)
        real = constant(model, float_layers[node.label].inputs[2]).astype(np.float64)
        integers = np.rint(real / (sx.astype(np.float64) * sw.astype(np.float64)))
        assert np.array_equal(constant(quantized, bias.inputs[0]), integers)


@pytest.mark.parametrize(("bits", "hi"), [(8, 255), (7, 127)])
def test_activations_keep_to_their_bits_and_hold_zero(bits: int, hi: int) -> None:
    model = net()
    calibration = feeds(model)
    quantized = quantize(model, calibration, activation_bits=bits, **PLAIN)
    seen: dict[str, tuple[int, int]] = {}
    integers = {n.outputs[0]: n for n in quantized.nodes if n.op_type == "QuantizeLinear"}

    def observe(name: str, array: npt.NDArray[Any]) -> None:
        if name in integers:
            assert array.dtype == np.uint8
            low, high = seen.get(name, (255, 0))
            seen[name] = min(low, int(array.min())), max(high, int(array.max()))

    far = {"input": calibration[0]["input"] * 100}  # beyond all that was calibrated
    for batch in (*calibration, far):
        run_graph(quantized, batch, observe=observe)
    assert seen.keys() == integers.keys()
    assert all(high <= hi for _, high in seen.values())
    assert seen[next(n for n in seen if n.startswith("input"))] == (0, hi), "clamped at both ends"
    for name, node in integers.items():
        zero = int(constant(quantized, node.inputs[2]))
        assert 0 <= zero <= hi
        if "relu" in name:
            assert zero == 0


def test_a_convolution_without_bias_gets_none() -> None:
    g = models.GraphBuilder()
    g.conv("input", "output", (4, 3, 3, 3))
    model = finish(g, ("N", 3, 8, 8), ("N", 4, 6, 6))
    quantized = quantize(model, feeds(model), bias_correction=False)
    assert len(layers(quantized)[0].inputs) == 2


def test_zeros_stay_zero_and_are_stored_sparse() -> None:
    model = net()
    pruned = sparing.prune(model, 0.8)
    quantized = quantize(pruned, feeds(model))
    float_layers = {node.label: node for node in layers(pruned)}
    for node in layers(quantized):
        name = dequantized(quantized, node, 1).inputs[0]
        zeros = constant(pruned, float_layers[node.label].inputs[1]) == 0
        assert not constant(quantized, name)[zeros].any()
        tensor = quantized.weights[name]
        if zeros.mean() > 0.2:
            assert tensor.nbytes < tensor.numpy().nbytes


def test_an_all_zero_channel_keeps_its_bias() -> None:
    g = models.GraphBuilder()
    weight = g.rng.normal(size=(3, 3, 1, 1)).astype(np.float32)
    weight[:2] = 0
    names = [g.weight("w", weight), g.weight("b", np.array([0.37, 0, -2], np.float32))]
    g.add("Conv", ["input", *names], "output")
    model = finish(g, ("N", 3, 4, 4), ("N", 3, 4, 4))
    quantized = quantize(model, feeds(model), **PLAIN)
    bias = dequantized(quantized, layers(quantized)[0], 2)
    assert np.abs(constant(quantized, bias.inputs[0])).max() <= 2**30
    (real,) = run_graph(quantized, feeds(model)[0], [bias.outputs[0]]).values()
    # 2^30 quanta a channel: exact to float32 where the weights leave the choice
    np.testing.assert_allclose(real[:2], [0.37, 0], rtol=2**-23)


def test_a_bias_far_above_the_weights_makes_their_scale_coarser() -> None:
    g = models.GraphBuilder()
    weight = np.array([1e-9, 1.0], np.float32).reshape(2, 1, 1, 1)
    names = [g.weight("w", weight), g.weight("b", np.array([5.0, 1.0], np.float32))]
    g.add("Conv", ["input", *names], "output")
    model = finish(g, ("N", 1, 4, 4), ("N", 2, 4, 4))
    quantized = quantize(model, feeds(model))
    bias = dequantized(quantized, layers(quantized)[0], 2)
    largest = np.abs(constant(quantized, bias.inputs[0]))
    assert 2**29 < largest[0] <= 2**30
    assert sqnr(model, quantized, feeds(model)) > 35  # one 8-bit output: some 40 dB


def test_unused_ranges_get_scale_one() -> None:
    g = models.GraphBuilder()
    x = g.add("Relu", [g.conv("input", "conv", (4, 3, 1, 1))], "relu")
    g.conv(x, "output", (2, 4, 1, 1))
    model = finish(g, ("N", 3, 4, 4), ("N", 2, 4, 4))
    zero = [{"input": np.zeros((1, 3, 4, 4), np.float32)}]
    quantized = quantize(model, zero)
    for node in quantized.nodes:
        if node.op_type == "QuantizeLinear":
            assert constant(quantized, node.inputs[1]) == 1
    assert not run_graph(quantized, zero[0])["output"].any()


def test_an_accumulator_that_could_overflow_is_refused() -> None:
    g = models.GraphBuilder()
    channels = 70_000  # 70,000 * 255 * 127 is above 2^31
    weight = np.ones((2, channels, 1, 1), np.float32)
    weight[0] = 0
    g.add("Conv", ["input", g.weight("w", weight)], "output")
    model = finish(g, ("N", channels, 1, 1), ("N", 2, 1, 1))
    batch = [{"input": np.ones((1, channels, 1, 1), np.float32)}]
    with pytest.raises(QuantizationError, match="'output/node', channel 1: the accumulator"):
        quantize(model, batch)
    quantize(model, batch, weight_bits=7)


def test_weights_that_are_not_finite_are_refused() -> None:
    g = models.GraphBuilder()
    weight = np.ones((3, 2, 1, 1), np.float32)
    weight[2, 1] = np.inf
    g.add("Relu", ["input"], "seen")
    g.add("Conv", ["input", g.weight("w", weight)], "output")
    model = finish(g, ("N", 2, 1, 1), ("N", 3, 1, 1))
    batch = [{"input": np.ones((1, 2, 1, 1), np.float32)}]
    with pytest.raises(QuantizationError, match="'output' holds NaN or infinity"):
        quantize(model, batch)


def test_ignored_layers_stay_in_float() -> None:
    model = net()
    quantized = quantize(model, feeds(model), ignored=["conv2.*", "logits/.*"])
    by_name = {n.name: n for n in layers(quantized)}
    for name, node in by_name.items():
        left_out = name in ("conv2/node", "logits/node")
        assert (node.inputs[1] in quantized.weights) == left_out
    assert quantized.producers()["logits"].op_type == "Gemm"
    # the Add behind an ignored convolution has a float operand and stays float
    add = next(n for n in quantized.nodes if n.op_type == "Add")
    assert "conv2_bn" in add.inputs
    assert sqnr(model, quantized, feeds(model)) > 26


def test_settings_of_single_layers() -> None:
    model = net()
    settings: dict[str, dict[str, Any]] = {
        "conv.*": {"weight_bits": 4},
        "conv2/node": {"per_channel": False},
        "logits/node": {"ignored": True},
    }
    quantized = quantize(model, feeds(model), layers=settings)
    by_name = {n.name: n for n in layers(quantized)}
    largest = {}
    for name in ("stem/node", "conv1/node", "conv2/node", "shortcut/node"):
        node = dequantized(quantized, by_name[name], 1)
        largest[name] = int(np.abs(constant(quantized, node.inputs[0])).max())
    assert largest == {"stem/node": 127, "conv1/node": 7, "conv2/node": 7, "shortcut/node": 127}
    conv2 = dequantized(quantized, by_name["conv2/node"], 1)
    assert constant(quantized, conv2.inputs[1]).shape == () and "axis" not in conv2.attributes
    assert by_name["logits/node"].inputs[1] in quantized.weights


def test_the_recipe_and_its_source_are_recorded() -> None:
    model = net()
    one, two = (quantize(model, feeds(model), ignored=("stem.*",)) for _ in range(2))
    assert one.metadata == two.metadata
    assert one.metadata["recipe"] == {
        "quantize": {
            "weight_bits": 8,
            "activation_bits": 8,
            "per_channel": True,
            "method": "mse",
            "rounding": "gptq",
            "bias_correction": True,
            "equalize": False,
            "symmetric_activations": False,
            "power_of_two_scales": False,
            "ignored": ["stem.*"],
        }
    }
    assert re.fullmatch("[0-9a-f]{64}", one.metadata["provenance"]["source"])
    assert one.metadata["labels"] == models.LABELS
    other = quantize(net(seed=1), feeds(model))
    assert other.metadata["provenance"] != one.metadata["provenance"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight_bits": 3}, "weight_bits: expected 4 to 8, got 3"),
        ({"weight_bits": "8"}, "weight_bits: expected 4 to 8, got '8'"),
        ({"activation_bits": 6}, "activation_bits: expected 7 or 8, got 6"),
        ({"per_channel": 1}, "per_channel: expected true or false"),
        ({"method": "best"}, "method: expected one of minmax, moving_average"),
        ({"rounding": "up"}, "rounding: expected one of gptq, nearest, got 'up'"),
        ({"bias_correction": "yes"}, "bias_correction: expected true or false, got 'yes'"),
        ({"equalize": 1}, "equalize: expected true or false, got 1"),
        ({"symmetric_activations": 2}, "symmetric_activations: expected true or false"),
        ({"power_of_two_scales": None}, "power_of_two_scales: expected true or false"),
        ({"layers": {"conv1/node": {"rounding": "x"}}}, "'conv1/node': rounding: expected one"),
        ({"ignored": "conv.*"}, "ignored: expected a list"),
        ({"ignored": ["conv"]}, "ignored: 'conv' matches no node; there are stem/node"),
        ({"ignored": ["("]}, r"ignored: '\(' is no regular expression"),
        ({"ignored": [3]}, "ignored: expected a list"),
        ({"layers": {"conv1/node": {"bits": 4}}}, r"unknown \['bits'\], expected some of"),
        ({"layers": {"conv1/node": {"weight_bits": 9}}}, "'conv1/node': weight_bits"),
        ({"layers": {"conv1/node": 4}}, "expected settings by name"),
        ({"layers": {"conv1/node": {"ignored": "no"}}}, "ignored: expected true or false"),
        ({"ignored": [".*"]}, "expected a layer to quantize"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    model = net()
    with pytest.raises(InputError, match=message):
        quantize(model, feeds(model), **arguments)


def test_a_quantized_model_is_refused() -> None:
    model = net(models.qdq_net)
    with pytest.raises(ModelError, match="expected a float model, got a quantized one"):
        quantize(model, feeds(model))
