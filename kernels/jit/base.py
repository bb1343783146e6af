"""What every Numba kernel shares: how functions are compiled, and the arrays of a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numba
import numpy as np

from ...ops.fused_shapes import input_dtype, output_dtype, output_shape
from ...ops.fused_spec import Spec
from ..step import Array, ArraySpec, Layout, Shape, Step, in_layout

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile at first use, and keep the machine code on disk. No fastmath: it breaks the bits.

    error_model="numpy": a division by zero gives infinity, as in NumPy, instead of an exception.
    """
    return cast(F, numba.njit(nogil=True, cache=True, error_model="numpy")(function))


class JitStep(Step):
    """A step whose arrays follow from its spec, its logical (NCHW) shapes and its layout."""

    detail = "Numba"

    def __init__(self, spec: Spec, shapes: Sequence[Shape], layout: Layout) -> None:
        dtype = input_dtype(spec)
        self.inputs = tuple(ArraySpec(in_layout(tuple(s), layout), dtype) for s in shapes)
        result = in_layout(output_shape(spec, shapes), layout)
        self.output = ArraySpec(result, output_dtype(spec))


def fold_zero_point(bias: Array, weight: Array, x_zero_point: int) -> Array:
    """`bias - x_zp * sum(w)` of each output row, modulo 2^32: int32 [O].

    Kernels then sum x * w, with padded taps that hold x_zp.
    """
    sums = weight.reshape(len(bias), -1).sum(axis=1, dtype=np.int64)
    folded = bias.astype(np.int64) - x_zero_point * sums
    return folded.astype(np.uint32).view(np.int32)
