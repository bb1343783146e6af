"""What folding, proofs and costs ask of weights: sums of each output channel, and how many of them
are not zero."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar
from weakref import ref

import numpy as np
import numpy.typing as npt

from ..records import record
from .bits import native_module
from .step import WORD, Array

I64 = npt.NDArray[np.int64]
BLOCK = 2**16  # weights summed at a time in int32: 2^16 times an int16 still fits

Answer = TypeVar("Answer")
# by the array's id: what was asked about it
_answers: dict[int, tuple[ref[Array], dict[Callable[[Array], Any], Any]]] = {}


def per_weight(function: Callable[[Array], Answer]) -> Callable[[Array], Answer]:
    """Ask a function only once about each array that is read-only, as those of models are."""

    @wraps(function)
    def look_up(weight: Array) -> Answer:
        key = id(weight)
        found = _answers.get(key)
        if found is None or found[0]() is not weight:
            if weight.flags.writeable:
                return function(weight)
            found = _answers[key] = ref(weight, lambda _: _answers.pop(key, None)), {}
        answers = found[1]
        if function not in answers:
            answers[function] = function(weight)
        answer: Answer = answers[function]
        return answer

    return look_up


@record(frozen=True, slots=True)
class Counts:
    """Of a weight [O, C, ...]. sums, positive: of all and of the positive weights of each output
    channel, [O]. nonzeros: in all. blocks: of four neighbouring input channels, those that are not
    all zero; 0 where C is not a multiple of four. most, least: of all output channels the largest
    sum of positive weights, and the least of negative ones.
    """

    sums: I64
    positive: I64
    nonzeros: int
    blocks: int
    most: int
    least: int


@per_weight
def count_weights(weight: Array) -> Counts:
    """weight: int8 or int16 [O, C, ...]."""
    native = native_module()
    if native is None or weight.dtype != np.int8:
        return _count(weight)
    rows, channels, *taps = weight.shape
    return _count_natively(native, np.ascontiguousarray(weight), rows, channels, math.prod(taps))


def _count(weight: Array) -> Counts:
    blocks = 0
    if weight.shape[1] % WORD == 0:
        words = weight.reshape(len(weight), weight.shape[1] // WORD, WORD, *weight.shape[2:])
        blocks = int(np.count_nonzero(words.any(axis=2)))
    sums, positive = _sum_rows(weight), _sum_rows(np.maximum(weight, 0))
    most, least = positive.max(initial=0), (sums - positive).min(initial=0)
    nonzeros = int(np.count_nonzero(weight))
    return Counts(sums, positive, nonzeros, blocks, int(most), int(least))


def _sum_rows(weight: Array) -> I64:
    rows = weight.reshape(len(weight), math.prod(weight.shape[1:]))
    sums = np.zeros(len(rows), np.int64)
    for start in range(0, rows.shape[1], BLOCK):
        # einsum adds up widened rows some times faster than sum(dtype=) does
        sums += np.einsum("ij->i", rows[:, start : start + BLOCK].astype(np.int32))
    return sums


def _count_natively(native: Any, weight: Array, rows: int, channels: int, taps: int) -> Counts:
    ffi = native.ffi
    sums, positive = np.empty(rows, np.int64), np.empty(rows, np.int64)
    totals = ffi.new("sp_weight_totals *")
    native.lib.sp_count_weights(
        ffi.from_buffer("int8_t *", weight),
        *(rows, channels, taps),
        *(ffi.from_buffer("int64_t *", sums), ffi.from_buffer("int64_t *", positive), totals),
    )
    return Counts(sums, positive, totals.nonzeros, totals.blocks, totals.most, totals.least)


@per_weight
def _count_floats(weight: Array) -> int:
    return int(np.count_nonzero(weight))


def count_nonzeros(weight: Array) -> int:
    """weight: of any type."""
    return _count_floats(weight) if weight.dtype.kind == "f" else count_weights(weight).nonzeros


def reach(weight: Array, low: int, high: int) -> tuple[I64, I64]:
    """The least and the largest `sum x w` of each output channel over all x in [low, high], [O]."""
    counts = count_weights(weight)
    positive, negative = counts.positive, counts.sums - counts.positive
    return low * positive + high * negative, high * positive + low * negative


def extremes(values: Array) -> tuple[Any, Any]:
    """The least and the largest value, NaN where any is, 0 where there is none: of few values, in a
    quarter of the time that min and max take."""
    if not values.size:
        return 0, 0
    return values.item(values.argmin()), values.item(values.argmax())


def fold_zero_point(bias: Array, weight: Array, x_zero_point: int) -> Array:
    """`bias - x_zp * sum(w)` of each output channel, modulo 2^32: int32 [O].

    Kernels then sum x * w, with padded taps that hold x_zp.
    """
    if x_zero_point == 0:  # nearly always behind a Relu
        return bias.copy()
    return bias - (x_zero_point * count_weights(weight).sums).astype(np.int32)  # wraps
