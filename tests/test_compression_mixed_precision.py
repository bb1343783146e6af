"""Sensitivity of layers, and mixed precision that keeps to a divergence."""

from __future__ import annotations

import math
from typing import Any

import models
import numpy as np
import numpy.typing as npt
import pytest

import sparing
from sparing.compression.mixed_precision import sensitivity
from sparing.compression.quantize import quantize
from sparing.errors import InputError, ModelError, QuantizationError
from sparing.evaluation import log_probabilities
from sparing.formats.onnx_reader import read_onnx
from sparing.model import Model

F32 = npt.NDArray[np.float32]
LAYERS = ["stem/node", "conv1/node", "conv2/node", "shortcut/node", "logits/node"]


@pytest.fixture(scope="module")
def net() -> Model:
    return read_onnx(models.residual_net())


@pytest.fixture(scope="module")
def data() -> list[dict[str, F32]]:
    rng = np.random.default_rng(0)
    return [{"input": rng.normal(size=(4, 3, 8, 8)).astype(np.float32)} for _ in range(4)]


def divergence(model: Model, other: Model, data: list[dict[str, F32]]) -> float:
    """Mean KL(model || other), written anew."""
    total, count = 0.0, 0
    for feeds in data:
        p, q = (log_probabilities(sparing.Session(m).run(None, feeds)[0]) for m in (model, other))
        total += float((np.exp(p) * (p - q)).sum())
        count += len(p)
    return total / count


def bits(model: Model) -> dict[str, int]:
    """Label of a quantized layer -> bits of its largest integer."""
    found = {}
    for name, tensor in model.weights.items():
        if name.endswith("/weight/quantized"):
            largest = int(np.abs(tensor.numpy()).max())
            found[name.removesuffix("/weight/quantized")] = largest.bit_length() + 1
    return found


def test_a_layer_is_as_sensitive_as_its_quantization_alone_shows(
    net: Model, data: list[dict[str, F32]]
) -> None:
    done: list[str] = []
    found = sensitivity(net, data, weight_bits=4, on_layer=done.append)
    assert [one.label for one in found] == done and set(done) == set(LAYERS)
    for one in found:
        others = [label for label in LAYERS if label != one.label]
        alone = quantize(
            net, data, weight_bits=4, rounding="nearest", bias_correction=False, ignored=others
        )
        # batches of another size: float sums may round another way
        assert math.isclose(one.divergence, divergence(net, alone, data), rel_tol=1e-3)
        assert one.divergence > 0 and 0 < one.sqnr_db < 60


def test_all_but_one_is_the_other_way_round(net: Model, data: list[dict[str, F32]]) -> None:
    found = sensitivity(net, data, weight_bits=4, all_but=True)
    for one in found:
        spared = quantize(
            net, data, weight_bits=4, rounding="nearest", bias_correction=False,
            ignored=[one.label],
        )  # fmt: skip
        assert math.isclose(one.divergence, divergence(net, spared, data), rel_tol=1e-3)


def test_more_bits_are_less_sensitive(net: Model, data: list[dict[str, F32]]) -> None:
    four, eight = (sensitivity(net, data, weight_bits=b) for b in (4, 8))
    assert sum(one.divergence for one in four) > 5 * sum(one.divergence for one in eight)


def test_the_fewest_most_sensitive_layers_get_eight_bits(
    net: Model, data: list[dict[str, F32]]
) -> None:
    four, eight = (quantize(net, data, weight_bits=b) for b in (4, 8))
    worst, best = (divergence(net, model, data) for model in (four, eight))
    limit = math.sqrt(worst * best)
    mixed = quantize(net, data, weight_bits=4, max_divergence=limit)
    assert divergence(net, mixed, data) <= limit * (1 + 1e-3)
    chosen = mixed.metadata["recipe"]["quantize"]["chosen_bits"]
    assert set(chosen.values()) == {8} and 0 < len(chosen) < len(LAYERS)
    assert {label for label, width in bits(mixed).items() if width == 8} == set(chosen)
    order = sorted(sensitivity(net, data, weight_bits=4), key=lambda one: -one.divergence)
    assert set(chosen) == {one.label for one in order[: len(chosen)]}


def test_layers_that_eight_bits_do_not_save_stay_in_float(
    net: Model, data: list[dict[str, F32]]
) -> None:
    eight = divergence(net, quantize(net, data), data)
    mixed = quantize(net, data, weight_bits=4, max_divergence=eight / 2)
    chosen = mixed.metadata["recipe"]["quantize"]["chosen_bits"]
    floats = {label for label, width in chosen.items() if width == "float"}
    assert floats and len(floats) < len(LAYERS)
    assert bits(mixed).keys() == set(LAYERS) - floats
    assert divergence(net, mixed, data) <= eight / 2 * (1 + 1e-3)


def test_a_limit_that_holds_changes_nothing(net: Model, data: list[dict[str, F32]]) -> None:
    plain, limited = quantize(net, data), quantize(net, data, max_divergence=10.0)
    assert plain.nodes == limited.nodes
    assert "chosen_bits" not in limited.metadata["recipe"]["quantize"]


def test_a_limit_for_floats_alone_is_refused(net: Model, data: list[dict[str, F32]]) -> None:
    with pytest.raises(QuantizationError, match="holds only where every layer stays in float"):
        quantize(net, data, max_divergence=1e-12)


@pytest.mark.parametrize("limit", [0, -1.0, True, "low", math.nan])
def test_wrong_limits_are_named(net: Model, data: list[dict[str, F32]], limit: Any) -> None:
    with pytest.raises(InputError, match="max_divergence: expected a positive number"):
        quantize(net, data, max_divergence=limit)


def test_quantized_models_are_refused(data: list[dict[str, F32]]) -> None:
    with pytest.raises(ModelError, match="give the float model"):
        sensitivity(read_onnx(models.qdq_net()), data)
