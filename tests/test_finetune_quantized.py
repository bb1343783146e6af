"""Fine-tuning of quantized models: they learn as they will run, and are written back exactly."""

from __future__ import annotations

import numpy as np
import pytest
from finetune_subject import (
    accuracy,
    feeds,
    labelled,
    logits,
    needs_torch,
    pruned_net,
    scalar,
    torch_output,
    tuned,
    zero_masks,
)
from qdq_builder import QdqBuilder

import sparing


@needs_torch
@pytest.mark.parametrize(("weight_bits", "activation_bits"), [(8, 8), (8, 7), (4, 8)])
def test_quantized_models_learn_as_they_will_run(weight_bits: int, activation_bits: int) -> None:
    quantized = sparing.quantize(
        pruned_net(),
        [feeds(labelled()[0][:64])],
        weight_bits=weight_bits,
        activation_bits=activation_bits,
    )
    result = tuned(quantized, labelled(), epochs=2, learning_rate=1e-2)

    assert result.nodes == quantized.nodes
    largest = 2 ** (weight_bits - 1) - 1
    changed = 0
    for node in result.nodes:
        q = result.weights.get(node.inputs[0])
        if node.op_type == "DequantizeLinear" and q is not None and q.dtype == np.int8:
            old, new = quantized.weights[node.inputs[0]].numpy(), q.numpy()
            assert np.abs(new.astype(int)).max() <= largest
            assert not new[old == 0].any()
            changed += int((new != old).sum())
    assert changed > 0
    integers = logits(result, labelled()[0])
    fake = torch_output(result, feeds(labelled()[0]))
    # Both round at the same places; sums in float32 and in integers fall on different sides of a
    # tie now and then, which moves an activation by one quantum.
    assert (integers.argmax(1) == fake.argmax(1)).mean() >= 0.99
    assert np.abs(integers - fake).mean() < 0.02 * np.abs(fake).mean()
    assert accuracy(result, labelled()) > 0.85


@needs_torch
def test_quantization_is_repeated_by_the_rules_of_quantize() -> None:
    """Weights are int8 in +-127, bias int32; its scale is sx * sw exactly."""
    result = tuned(sparing.quantize(pruned_net(), [feeds(labelled()[0][:64])]), labelled())
    producers = result.producers()
    layers = [node for node in result.nodes if node.op_type in ("Conv", "Gemm")]
    assert len(layers) == 5
    for layer in layers:
        x, weight, bias = (producers[name] for name in layer.inputs)
        q = result.weights[weight.inputs[0]].numpy()
        assert q.dtype == np.int8
        assert np.abs(q.astype(int)).max() <= 127
        scale = result.weights[weight.inputs[1]].numpy()
        wanted = result.weights[x.inputs[1]].numpy() * scale
        assert np.array_equal(result.weights[bias.inputs[1]].numpy(), wanted)
        assert result.weights[bias.inputs[0]].dtype == np.int32


@needs_torch
def test_zeros_of_a_quantized_model_can_be_released() -> None:
    quantized = sparing.quantize(pruned_net(), [feeds(labelled()[0][:64])])
    released = tuned(quantized, labelled(), learning_rate=1e-2, keep_zeros=False)
    before, after = zero_masks(quantized), zero_masks(released)
    assert any((before[name] & ~after[name]).any() for name in before)


@needs_torch
def test_weights_that_cannot_be_written_back_stay() -> None:
    """Zero points on weights: the layer is frozen, the other one learns; a float bias, too."""
    b = QdqBuilder()
    x = b.q_conv(b.quantize("input", "x"), "conv", (4, 3, 3, 3))
    x = b.quantize(x, "y", zero_point=128)
    weight = b.weight("odd.q", b.rng.integers(0, 255, (4, 4, 1, 1)).astype(np.uint8))
    parameters = [b.weight("odd.scale", scalar(0.01)), b.weight("odd.zero", np.uint8(120))]
    odd = b.add("DequantizeLinear", [weight, *parameters], "odd.weight")
    x = b.add("GlobalAveragePool", [b.add("Conv", [x, odd], "odd")], "pool")
    b.add("Flatten", [x], "out")
    model = b.model(("N", 3, 5, 5), "out", rank=2)
    name = model.inputs[0].name
    x_train = np.random.default_rng(0).normal(0, 1, (16, 3, 5, 5)).astype(np.float32)
    batches = [({name: x_train}, np.arange(16) % 4)]
    result = sparing.finetune(model, batches, 2, learning_rate=1e-2, threads=1)
    before, after = model.weights, result.weights
    same = {key for key in before if np.array_equal(before[key].numpy(), after[key].numpy())}
    assert {"odd.q", "odd.scale", "odd.zero", "x.scale", "conv.weight.zero"} <= same
    assert not same & {"conv.weight.q", "conv.weight.scale", "conv.bias"}
