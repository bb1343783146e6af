"""Layers whose sums could leave int32: made coarser where that changes nothing to speak of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from case_builders import conv_s8
from qdq_builder import SCALE, QdqBuilder, feeds_for

from sparing.accumulator import LARGEST_CHANGE, fit_accumulator
from sparing.errors import QuantizationError
from sparing.interpreter import run_graph
from sparing.kernels.sums import reach
from sparing.ops import fused_spec as fs
from sparing.session import Session

LOW, HIGH = 0, 255
BARELY = 2**31 - 16000  # as onnxruntime's quantizer makes the bias of a channel of tiny weights


def _layer(biases: list[int], multiplier: float, weight: int | None = None) -> fs.ConvS8:
    spec = conv_s8("layer", (1, 64, 3, 3), len(biases), (1, 1), x_zp=100).spec
    assert isinstance(spec, fs.ConvS8)
    if weight is not None:
        spec = replace(spec, weight=np.full_like(spec.weight, weight))
    multipliers = np.full(len(biases), multiplier, np.float32)
    return replace(spec, bias=np.array(biases, np.int32), multiplier=multipliers)


def test_sums_that_stay_in_int32_are_left_alone() -> None:
    spec = _layer([0, 2**30, -(2**30)], 1.0)
    assert fit_accumulator(spec, LOW, HIGH, "layer") is spec
    near = _layer([BARELY, -BARELY], 1e-8, weight=0)
    assert fit_accumulator(near, LOW, HIGH, "layer") is near


@pytest.mark.parametrize("sign", [1, -1])
def test_a_channel_beyond_int32_gets_a_coarser_scale(sign: int) -> None:
    spec = _layer([7, sign * BARELY, -5], 4e-8)
    fitted = fit_accumulator(spec, LOW, HIGH, "layer")
    least, most = reach(fitted.weight, LOW - 100, HIGH - 100)
    assert (fitted.bias + least >= -(2**31)).all() and (fitted.bias + most < 2**31).all()
    others = [0, 2]
    for name in ("weight", "bias", "multiplier"):
        assert np.array_equal(getattr(fitted, name)[others], getattr(spec, name)[others])
    assert fitted.multiplier[1] == 2 * spec.multiplier[1]
    x = np.random.default_rng(0).integers(LOW - 100, HIGH - 99, (200, 64))
    values = [
        (x @ s.weight[1].ravel().astype(np.int64) + s.bias[1]) * np.float64(s.multiplier[1])
        for s in (spec, fitted)
    ]
    assert 0 < np.abs(values[0] - values[1]).max() <= LARGEST_CHANGE


def test_weights_that_halve_exactly_may_have_any_multiplier() -> None:
    spec = _layer([2**31 - 2], 1.0, weight=64)
    fitted = fit_accumulator(spec, LOW, HIGH, "layer")
    assert (fitted.weight == 32).all() and fitted.bias[0] == 2**30 - 1
    assert fitted.multiplier[0] == 2


def test_a_change_that_shows_is_refused() -> None:
    with pytest.raises(QuantizationError, match=r"'layer', output channel 1: .* beyond int32"):
        fit_accumulator(_layer([0, BARELY], 1e-3), LOW, HIGH, "layer")


def test_an_imported_model_with_such_a_channel_keeps_its_meaning() -> None:
    b = QdqBuilder()
    x = b.quantize("input", "x")
    parts = [
        b.weight("w.q", b.rng.integers(-127, 128, (4, 16, 1, 1)).astype(np.int8)),
        b.weight("w.scale", np.full(4, 1e-9, np.float32)),
        b.weight("w.zero", np.zeros(4, np.int8)),
    ]
    weight = b.add("DequantizeLinear", parts, "w", axis=0)
    farthest = SCALE * 1e-9 * BARELY
    bias = b.weight("bias", np.array([farthest, -farthest, 0, farthest / 2], np.float32))
    conv = b.add("Conv", [x, weight, bias], "conv")
    y_scale = farthest / 60
    model = b.model(("n", 16, 5, 5), b.quantize(conv, "y", scale=y_scale))
    feeds = feeds_for(model)
    (got,) = Session(model, backend="numpy").run(None, feeds)
    (want,) = run_graph(model, feeds).values()
    assert np.abs(got - want).max() <= y_scale * 1.0001
    assert np.ptp(want) > 50 * y_scale
