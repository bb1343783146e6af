"""How ranges are chosen from what calibration saw."""

from __future__ import annotations

import itertools

import models
import numpy as np
import numpy.typing as npt
import pytest

from sparing.compression.calibrate import MOMENTUM, Histogram, MovingAverage, observed_ranges
from sparing.compression.calibration_methods import entropy_range, mse_range
from sparing.compression.parameters import activation_quantizer, next_power_of_two, quantize_layer
from sparing.errors import InputError
from sparing.formats.onnx_reader import read_onnx

F32 = npt.NDArray[np.float32]


def tailed(seed: int = 0) -> F32:
    """A normal bulk with rare values 30 times as large."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=100_000)
    values[:5] *= 30
    return values.astype(np.float32)


def histogram(values: F32) -> Histogram:
    seen = Histogram()
    seen.update(values)
    return seen


def rounding_error(values: F32, low: float, high: float, levels: int) -> float:
    """Mean squared error of quantizing the values themselves."""
    step = (high - low) / levels
    zero = np.rint(-low / step)
    q = np.clip(np.rint(values.astype(np.float64) / step), -zero, levels - zero)
    return float(np.square(q * step - values).mean())


@pytest.mark.parametrize("levels", [15, 127, 255])
@pytest.mark.parametrize("kind", ["tailed", "relu", "shifted"])
def test_mse_beats_every_range_on_a_grid(kind: str, levels: int) -> None:
    values = tailed()
    if kind == "relu":
        values = np.maximum(values, 0)
    if kind == "shifted":
        values = values + np.float32(2)
    seen = histogram(values)
    full = min(seen.low, 0.0), max(seen.high, 0.0)
    low, high = mse_range(seen.centers(), seen.counts.astype(float), full, levels)
    got = rounding_error(values, low, high, levels)
    shares = np.linspace(0.3, 1, 15)
    lows = full[0] * shares if full[0] < 0 else np.zeros(1)
    grid = [
        rounding_error(values, a, b, levels) for a, b in itertools.product(lows, full[1] * shares)
    ]
    # bins stand for their values (up to 1/4096 of the range), and the search goes by coordinates
    assert got <= 1.02 * min(grid)
    assert full[0] <= low <= 0 <= high <= full[1]


def test_mse_keeps_the_range_of_evenly_spread_values() -> None:
    values = np.linspace(-1, 3, 50_000, dtype=np.float32)
    seen = histogram(values)
    low, high = mse_range(seen.centers(), seen.counts.astype(float), (-1.0, 3.0), 255)
    assert low <= -0.98 and high >= 2.95


def test_entropy_leaves_out_a_far_tail() -> None:
    values = np.abs(tailed())
    seen = histogram(values)
    low, high = entropy_range(seen.centers(), seen.counts.astype(float), (0.0, seen.high), 255)
    assert low == 0 and high < 0.8 * seen.high
    assert high > float(np.percentile(values, 99))


@pytest.mark.parametrize("search", [mse_range, entropy_range])
def test_a_constant_tensor_keeps_its_range(search: object) -> None:
    assert callable(search)
    seen = histogram(np.full(100, 2.5, np.float32))
    low, high = search(seen.centers(), seen.counts.astype(float), (2.5, 2.5), 255)
    assert low == 0 and 0.7 < high <= 2.5
    seen = histogram(np.zeros(100, np.float32))
    assert search(seen.centers(), seen.counts.astype(float), (0.0, 0.0), 255) == (0.0, 0.0)


def test_moving_averages_follow_the_extremes_of_arrays() -> None:
    seen = MovingAverage()
    low = high = 0.0
    for i, array in enumerate(np.random.default_rng(0).normal(size=(20, 50)).astype(np.float32)):
        seen.update(array)
        weight = 1.0 if i == 0 else 1 - MOMENTUM
        low = (1 - weight) * low + weight * float(array.min())
        high = (1 - weight) * high + weight * float(array.max())
    assert (seen.low, seen.high) == pytest.approx((low, high))


@pytest.mark.parametrize("method", ["mse", "entropy", "moving_average"])
def test_every_method_gives_ranges_within_the_extremes(method: str) -> None:
    net = read_onnx(models.residual_net())
    rng = np.random.default_rng(0)
    feeds = [{"input": rng.normal(size=(2, 3, 8, 8)).astype(np.float32)} for _ in range(3)]
    names = ["input", "conv1_relu", "logits"]
    widest = observed_ranges(net, feeds, names)
    got = observed_ranges(net, feeds, names, method)
    for name in names:
        assert min(widest[name][0], 0) <= got[name][0] < got[name][1] <= max(widest[name][1], 0)
    assert got == observed_ranges(net, feeds, names, method), "deterministic"


def test_unknown_methods_are_refused() -> None:
    net = read_onnx(models.residual_net())
    with pytest.raises(InputError, match="method: expected one of minmax, moving_average"):
        observed_ranges(net, [], ["logits"], "kl")


def test_symmetric_quantizers_have_their_zero_in_the_middle() -> None:
    for bits, middle in ((8, 128), (7, 64)):
        q = activation_quantizer(-1.0, 3.0, bits, "x", symmetric=True)
        assert q.zero_point == middle
        assert float(q.scale) * (q.hi - middle) == pytest.approx(3.0)
        assert activation_quantizer(0.0, 3.0, bits, "x", symmetric=True).zero_point == 0


def test_powers_of_two_cover_the_range() -> None:
    for low, high in ((-1.0, 3.0), (0.0, 255.0), (0.0, 1e-7), (-4.0, 0.0)):
        exact = activation_quantizer(low, high, 8, "x")
        q = activation_quantizer(low, high, 8, "x", power_of_two=True)
        assert np.frexp(q.scale)[0] == 0.5
        assert exact.scale <= q.scale < 2 * exact.scale
        ends = [float(q.scale) * (end - q.zero_point) for end in (q.lo, q.hi)]
        assert ends[0] <= low + float(q.scale) / 2 and high - float(q.scale) / 2 <= ends[1]
    values = np.array([1.0, 1.5, 2.0, 0.3], np.float32)
    assert next_power_of_two(values).tolist() == [1.0, 2.0, 2.0, 0.5]


def test_weights_at_powers_of_two() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(5, 3, 3, 3)).astype(np.float32)
    x = activation_quantizer(-1.0, 1.0, 8, "x", power_of_two=True)
    layer = quantize_layer(weight, None, x, np.float32(1), 8, True, "layer", power_of_two=True)
    for scale in (layer.weight_scale, layer.bias_scale):
        assert (np.frexp(scale)[0] == 0.5).all()
    error = np.abs(layer.weight * layer.weight_scale.reshape(-1, 1, 1, 1) - weight)
    assert (error <= layer.weight_scale.reshape(-1, 1, 1, 1) / 2).all()
