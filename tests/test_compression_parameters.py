"""Scales, zero points and layer integers obey the numeric contract, whatever the floats."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sparing.compression.parameters import (
    BIAS_LIMIT,
    Quantizer,
    activation_quantizer,
    quantize_layer,
    range_clip,
)
from sparing.errors import QuantizationError
from sparing.ops.quantize_linear import quantize_linear
from sparing.quantized import Parameters, quantize_scalar, storage_of_clamp

scales = st.floats(2.0**-64, 2.0**63, width=32)
finite = st.floats(-(2.0**60), 2.0**60, width=32)


@given(finite, finite, st.sampled_from([7, 8]))
def test_a_quantizer_covers_its_range_and_holds_zero(a: float, b: float, bits: int) -> None:
    low, high = min(a, b), max(a, b)
    q = activation_quantizer(low, high, bits, "x")
    assert 2.0**-64 <= q.scale < 2.0**64
    assert (q.lo, q.hi) == (0, 2**bits - 1) and q.lo <= q.zero_point <= q.hi
    smallest, largest = (float(q.scale) * (end - q.zero_point) for end in (q.lo, q.hi))
    # The zero point is rounded: either end may lie half a step out, and an ulp for the scale's own
    # rounding.
    half = float(q.scale) * (0.5 + 2.0**-14)
    assert smallest - half <= min(low, 0) and max(high, 0) <= largest + half
    if low >= 0:
        assert q.zero_point == 0
    if low != high and low <= 0 <= high and q.scale > 2.0**-64:
        assert largest - smallest <= (high - low) * (1 + 2.0**-22), "no wider than needed"


def test_a_range_too_wide_for_a_scale_is_refused() -> None:
    with pytest.raises(QuantizationError, match=r"'x': the range .* needs a scale above 2\^64"):
        activation_quantizer(-1e30, 1.0, 8, "x")


@given(scales, st.data())
def test_the_clip_of_a_range_gives_that_range_back(scale: float, data: st.DataObject) -> None:
    lo, zero_point, hi = sorted(data.draw(st.tuples(*[st.integers(0, 255)] * 3)))
    q = Quantizer(np.float32(scale), zero_point, lo, hi)
    low, high = range_clip(q)
    parameters = Parameters(float(q.scale), zero_point, False)
    found = storage_of_clamp(parameters, float(low), float(high))
    assert (found.lo, found.hi) == (lo, hi), "lowering reads the same range"
    ends = quantize_linear(
        np.clip(np.array([-np.inf, low, 0, high, np.inf], np.float32), low, high),
        np.array(q.scale),
        np.array(zero_point, np.uint8),
    )
    assert ends.tolist() == [lo, lo, zero_point, hi, hi]


layers = st.integers(1, 5).flatmap(
    lambda channels: st.tuples(
        hnp.arrays(np.float32, (channels, 2, 3), elements=finite),
        st.none() | hnp.arrays(np.float32, (channels,), elements=finite),
    )
)


@settings(deadline=None)
@given(layers, scales, scales, st.integers(4, 8), st.booleans())
def test_layer_integers_obey_the_contract_or_are_refused(
    layer: tuple[np.ndarray, np.ndarray | None],
    x_scale: float,
    y_scale: float,
    bits: int,
    per_channel: bool,
) -> None:
    weight, bias = layer
    x = Quantizer(np.float32(x_scale), 100, 0, 255)
    sy = np.float32(y_scale)
    try:
        got = quantize_layer(weight, bias, x, sy, bits, per_channel, "layer")
    except QuantizationError as error:
        assert "'layer', channel" in str(error)
        largest = float(np.abs(weight).max())
        offset = 0.0 if bias is None else float(np.abs(bias).max())
        ratios = [largest, largest * x_scale / y_scale, offset / x_scale, offset / y_scale]
        ratios += [x_scale / y_scale, y_scale / x_scale]
        assert max(ratios) > 2.0**32, "only extremes are refused"
        return
    scale = got.weight_scale.astype(np.float64)
    assert scale.shape == ((len(weight),) if per_channel else ())
    multiplier = np.float64(x.scale) * scale / np.float64(sy)
    for values in (scale, multiplier):
        assert (values >= 2.0**-64).all() and (values < 2.0**64).all()
    assert np.abs(got.weight.astype(int)).max() <= 2 ** (bits - 1) - 1
    assert not got.weight[weight == 0].any()
    assert np.abs(got.bias.astype(np.int64)).max() <= BIAS_LIMIT
    assert got.bias_scale.dtype == np.float32
    # within 2 ulp of the product, which is a normal float32
    product = np.float64(x.scale) * scale
    assert (np.abs(got.bias_scale / product - 1) <= 2 * 2.0**-23).all()
    rounding = np.abs(got.weight * scale.reshape(-1, 1, 1) - weight).reshape(len(weight), -1)
    assert (rounding <= scale.reshape(-1, 1) * (0.5 + 2.0**-16)).all()


def test_clamp_bounds_are_quantized_as_by_float32_division() -> None:
    rng = np.random.default_rng(0)
    with np.errstate(over="ignore"):
        for _ in range(2000):
            scale = np.float32(2.0 ** rng.uniform(-64, 64))
            steps = np.float32(rng.integers(-300, 300) + rng.choice([0, 0.5, rng.random()]))
            value = rng.choice([steps * scale, np.float32(rng.standard_normal() * 1e30)])
            zero, signed = int(rng.integers(-128, 128)), bool(rng.integers(2))
            zero, lo = (zero, -128) if signed else (zero + 128, 0)
            wanted = np.clip(np.rint(value / scale) + zero, lo, lo + 255)
            assert quantize_scalar(float(value), Parameters(float(scale), zero, signed)) == wanted
