"""Float sums, products and activations, by the steps of `ops/fused_float.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numba import float32, int32

from ...ops import fused_spec as fs
from ..step import Array, Layout, Shape, Step
from .base import GatedStep, JitStep, compiled

_POWERS = (2.0 ** np.arange(-126, 1)).astype(np.float32)  # of 2, from the exponent -126 on


@compiled
def _clamp(x: np.float32, lo: np.float32, hi: np.float32) -> np.float32:
    """NaN passes."""
    if x < lo:
        x = lo
    if x > hi:
        x = hi
    return x


@compiled
def _binary_rows(
    a: Array, b: Array, product: bool, lo: np.float32, hi: np.float32, out: Array
) -> None:
    """a, out: [R, C]; b: [R or 1, C or 1]."""
    for r in range(a.shape[0]):
        row = b[r if b.shape[0] > 1 else 0]
        for c in range(a.shape[1]):
            other = row[c if row.size > 1 else 0]
            value = a[r, c] * other if product else a[r, c] + other
            out[r, c] = _clamp(value, lo, hi)


@compiled
def _clip(x: Array, a: np.float32, b: np.float32, out: Array) -> None:
    for i in range(x.size):
        out[i] = _clamp(x[i], a, b)


@compiled
def _hard_sigmoid(x: Array, a: np.float32, b: np.float32, out: Array) -> None:
    for i in range(x.size):
        out[i] = _clamp(x[i] * a + b, float32(0), float32(1))


@compiled
def _hard_swish(x: Array, a: np.float32, b: np.float32, out: Array) -> None:
    for i in range(x.size):
        out[i] = x[i] * _clamp(x[i] * a + b, float32(0), float32(1))


@compiled
def _exp_of_negative(t: np.float32) -> np.float32:
    if t < float32(-87):
        return float32(0)
    if t != t:
        return t
    magic = float32(12582912)
    n = t * float32(1.44269504) + magic - magic
    r = t - n * float32(0.693359375) - n * float32(-2.12194440e-4)
    p = float32(1.9875691500e-4)
    p = p * r + float32(1.3981999507e-3)
    p = p * r + float32(8.3334519073e-3)
    p = p * r + float32(4.1665795894e-2)
    p = p * r + float32(1.6666665459e-1)
    p = p * r + float32(5.0000001201e-1)
    p = p * (r * r) + r + float32(1)
    return float32(p * _POWERS[int32(n) + 126])


@compiled
def _logistic(x: np.float32) -> np.float32:
    power = _exp_of_negative(x if x < float32(0) else -x)
    numerator = float32(1) if x >= float32(0) else power
    return float32(numerator / (float32(1) + power))


@compiled
def _sigmoid(x: Array, a: np.float32, b: np.float32, out: Array) -> None:
    for i in range(x.size):
        out[i] = _logistic(x[i])


@compiled
def _silu(x: Array, a: np.float32, b: np.float32, out: Array) -> None:
    for i in range(x.size):
        out[i] = x[i] * _logistic(x[i])


@compiled
def _leaky_relu(x: Array, a: np.float32, b: np.float32, out: Array) -> None:
    for i in range(x.size):
        out[i] = x[i] if x[i] >= float32(0) else x[i] * a


@compiled
def _elu(x: Array, a: np.float32, b: np.float32, out: Array) -> None:
    for i in range(x.size):
        positive = x[i] > float32(0)
        out[i] = x[i] if positive else a * (_exp_of_negative(x[i]) - float32(1))


@compiled
def _tanh(x: Array, a: np.float32, b: np.float32, out: Array) -> None:
    for i in range(x.size):
        power = _exp_of_negative(np.abs(x[i]) * float32(-2))
        large = (float32(1) - power) / (float32(1) + power)
        square = x[i] * x[i]
        p = float32(-5.70498872745e-3)
        p = p * square + float32(2.06390887954e-2)
        p = p * square + float32(-5.37397155531e-2)
        p = p * square + float32(1.33314422036e-1)
        p = p * square + float32(-3.33332819422e-1)
        if np.abs(x[i]) < float32(0.625):
            out[i] = p * square * x[i] + x[i]
        else:
            out[i] = -large if x[i] < float32(0) else large


@compiled
def _gelu(x: Array, a: np.float32, b: np.float32, out: Array) -> None:
    for i in range(x.size):
        u = np.abs(x[i]) * float32(0.70710678)
        t = float32(1) / (float32(1) + u * float32(0.3275911))
        p = float32(1.061405429)
        p = p * t + float32(-1.453152027)
        p = p * t + float32(1.421413741)
        p = p * t + float32(-0.284496736)
        p = p * t + float32(0.254829592)
        rest = p * t * _exp_of_negative(-(u * u))
        out[i] = x[i] * float32(0.5) * (float32(2) - rest if x[i] >= float32(0) else rest)


FUNCTIONS: dict[str, Callable[[Array, np.float32, np.float32, Array], None]] = {
    "clip": _clip,
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": _hard_swish,
    "sigmoid": _sigmoid,
    "silu": _silu,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "tanh": _tanh,
    "gelu": _gelu,
}


class _Binary(GatedStep):
    def __init__(
        self, spec: fs.AddF32 | fs.MulF32, shapes: Sequence[Shape], layout: Layout
    ) -> None:
        super().__init__(spec, shapes, layout)
        self._product = isinstance(spec, fs.MulF32)
        self._lo, self._hi = np.float32(spec.lo), np.float32(spec.hi)

    def rows(self, a: Array, b: Array, out: Array) -> None:
        _binary_rows(a, b, self._product, self._lo, self._hi, out)


class _ActivationF32(JitStep):
    def __init__(self, spec: fs.ActivationF32, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        self._function = FUNCTIONS[spec.function]
        self._a, self._b = np.float32(spec.a), np.float32(spec.b)

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        self._function(inputs[0].reshape(-1), self._a, self._b, output.reshape(-1))


def add_f32(spec: fs.AddF32, shapes: Sequence[Shape], layout: Layout, threads: int) -> Step:
    return _Binary(spec, shapes, layout)


def mul_f32(spec: fs.MulF32, shapes: Sequence[Shape], layout: Layout, threads: int) -> Step:
    return _Binary(spec, shapes, layout)


def activation_f32(
    spec: fs.ActivationF32, shapes: Sequence[Shape], layout: Layout, threads: int
) -> Step:
    return _ActivationF32(spec, shapes, layout)
