"""Reference of the float operators without weights. Every kernel gives these bits: each fixes the
order of its float32 operations, and none takes a function from the C library."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .fused_spec import F32, ActivationF32, AddF32, AveragePoolF32, MaxPoolF32, MulF32
from .fused_windows import average_pool_counts, windows


def max_pool_f32(spec: MaxPoolF32, x: F32) -> F32:
    result: F32 = windows(x, spec.window, -np.inf).max(axis=(4, 5))
    return result


def average_pool_divisors(spec: AveragePoolF32, height: int, width: int) -> F32:
    """Divisor of each output pixel, float32 [H', W']."""
    counts = average_pool_counts(spec.window, height, width, spec.count_include_pad)
    return counts.astype(np.float32)


def average_pool_f32(spec: AveragePoolF32, x: F32) -> F32:
    """Sums of the window's rows, one tap after the other; their sum; one division."""
    taps = windows(x, spec.window, 0)
    total = np.zeros(taps.shape[:4], np.float32)
    for i in range(spec.window.kernel[0]):
        row = np.zeros_like(total)
        for j in range(spec.window.kernel[1]):
            row += taps[..., i, j]
        total += row
    return total / average_pool_divisors(spec, x.shape[2], x.shape[3])


def _clip(x: F32, lo: float, hi: float) -> F32:
    return np.clip(x, np.float32(lo), np.float32(hi))


def add_f32(spec: AddF32, a: F32, b: F32) -> F32:
    return _clip(a + b, spec.lo, spec.hi)


def mul_f32(spec: MulF32, a: F32, b: F32) -> F32:
    return _clip(a * b, spec.lo, spec.hi)


def exp_of_negative(t: F32) -> F32:
    """exp(t) for t <= 0, and 0 below -87, where float32 would soon lose bits.

    t = n ln 2 + r with an integer n, |r| <= ln 2 / 2; exp(r) by the polynomial of Cephes' expf
    (Moshier), times 2^n. ln 2 is subtracted in two parts, the first of which is exact.
    """
    f32 = np.float32
    limited = np.maximum(t, f32(-87))
    magic = f32(1.5 * 2**23)  # adding it rounds to an integer, half to even
    n = limited * f32(1.44269504) + magic - magic
    n = np.where(n > -126, n, f32(-126))  # NaN, too: it has no integer
    r = limited - n * f32(0.693359375) - n * f32(-2.12194440e-4)
    p = f32(1.9875691500e-4)
    for coefficient in (
        *(1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2),
        *(1.6666665459e-1, 5.0000001201e-1),
    ):
        p = p * r + f32(coefficient)
    p = p * (r * r) + r + f32(1)
    two_to_n = ((n.astype(np.int32) + 127) << 23).view(np.float32)
    return np.where(t < -87, f32(0), p * two_to_n)


def sigmoid(x: F32) -> F32:
    """1 / (1 + exp(-x)), within 4 units in the last place, and below -87 exactly 0."""
    power = exp_of_negative(-np.abs(x))
    one = np.float32(1)
    return np.where(x >= 0, one, power) / (one + power)


def _gate(x: F32, a: float, b: float) -> F32:
    return _clip(x * np.float32(a) + np.float32(b), 0, 1)


def elu(x: F32, a: float) -> F32:
    negative = np.where(x > 0, np.float32(0), x)
    return np.where(x > 0, x, np.float32(a) * (exp_of_negative(negative) - np.float32(1)))


def tanh(x: F32) -> F32:
    """(1 - e) / (1 + e) of e = exp(-2 |x|); near 0 the polynomial of Cephes' tanhf (Moshier)."""
    f32 = np.float32
    power = exp_of_negative(np.abs(x) * f32(-2))
    large = (f32(1) - power) / (f32(1) + power)
    square = x * x
    p = f32(-5.70498872745e-3)
    for coefficient in (2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1):
        p = p * square + f32(coefficient)
    return np.where(np.abs(x) < f32(0.625), p * square * x + x, np.where(x < 0, -large, large))


def gelu(x: F32) -> F32:
    """x / 2 * (1 + erf(x / sqrt(2))), with erf by formula 7.1.26 of Abramowitz and Stegun, which is
    within 1.5e-7."""
    f32 = np.float32
    u = np.abs(x) * f32(0.70710678)
    t = f32(1) / (f32(1) + u * f32(0.3275911))
    p = f32(1.061405429)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        p = p * t + f32(coefficient)
    rest = p * t * exp_of_negative(-(u * u))  # 1 - erf(u)
    return x * f32(0.5) * np.where(x >= 0, f32(2) - rest, rest)


ACTIVATIONS: dict[str, Callable[[F32, float, float], F32]] = {
    "clip": _clip,
    "hard_sigmoid": _gate,
    "hard_swish": lambda x, a, b: x * _gate(x, a, b),
    "sigmoid": lambda x, _a, _b: sigmoid(x),
    "silu": lambda x, _a, _b: x * sigmoid(x),
    "leaky_relu": lambda x, a, _b: np.where(x >= 0, x, x * np.float32(a)),
    "elu": lambda x, a, _b: elu(x, a),
    "tanh": lambda x, _a, _b: tanh(x),
    "gelu": lambda x, _a, _b: gelu(x),
}


def activation_f32(spec: ActivationF32, x: F32) -> F32:
    with np.errstate(over="ignore", invalid="ignore"):  # of huge values: inf, or inf * 0
        return ACTIVATIONS[spec.function](x, spec.a, spec.b)
