"""What every Numba kernel shares: how functions are compiled, and the arrays of a step."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numba

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
        self.inputs = tuple(
            ArraySpec(in_layout(tuple(shape), layout), input_dtype(spec, i))
            for i, shape in enumerate(shapes)
        )
        result = in_layout(output_shape(spec, shapes), layout)
        self.output = ArraySpec(result, output_dtype(spec))


class GatedStep(JitStep):
    """Of two inputs of one shape, or with one gate [N, C, 1, 1] a channel as the second."""

    def __init__(self, spec: Spec, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        self._gated = tuple(shapes[0]) != tuple(shapes[1])
        self._layout = layout

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        a, b = inputs
        if not self._gated:
            self.rows(a.reshape(1, -1), b.reshape(1, -1), output.reshape(1, -1))
        elif self._layout == "nchw":  # a row is a channel's plane, with one gate
            planes = a.shape[0] * a.shape[1]
            self.rows(a.reshape(planes, -1), b.reshape(planes, 1), output.reshape(planes, -1))
        else:  # a row is a pixel, whose channels have the image's gates
            channels = a.shape[3]
            for image, gates, result in zip(a, b, output, strict=True):
                pixels = image.reshape(-1, channels)
                self.rows(pixels, gates.reshape(1, channels), result.reshape(-1, channels))

    @abstractmethod
    def rows(self, a: Array, b: Array, out: Array) -> None:
        """a, out: [R, C]; b: [R or 1, C or 1]."""
