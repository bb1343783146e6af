"""Steps that run the reference operators: the "numpy" backend, and the judge of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ops import fused
from ..ops.fused_shapes import input_dtype, output_dtype, output_shape
from ..ops.fused_spec import Spec
from .step import Array, ArraySpec, Layout, Shape, Step, in_layout


class ReferenceStep(Step):
    def __init__(self, spec: Spec, shapes: Sequence[Shape]) -> None:
        self._spec = spec
        self.inputs = tuple(ArraySpec(tuple(shape), input_dtype(spec)) for shape in shapes)
        self.output = ArraySpec(output_shape(spec, shapes), output_dtype(spec))
        self.detail = "NumPy reference"

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        output[...] = fused.run(self._spec, inputs)


def reference(spec: Spec, shapes: Sequence[Shape], layout: Layout, threads: int) -> Step:
    """The reference of any fused operator, NCHW."""
    return ReferenceStep(spec, shapes)


class TransposeStep(Step):
    """Change the layout of an activation with NumPy."""

    def __init__(self, shape: Shape, before: Layout, after: Layout, dtype: np.dtype[Any]) -> None:
        self._axes = (0, 2, 3, 1) if after == "nhwc" else (0, 3, 1, 2)
        self.inputs = (ArraySpec(in_layout(shape, before), dtype),)
        self.output = ArraySpec(in_layout(shape, after), dtype)

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        output[...] = inputs[0].transpose(self._axes)
