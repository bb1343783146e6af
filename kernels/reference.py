"""Steps that run the reference operators: the "numpy" backend, and the judge of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ops import fused
from ..ops.fused_shapes import input_dtype, output_dtype, output_shape
from ..ops.fused_spec import Spec
from .step import SLAB, WORD, Array, ArraySpec, Layout, Shape, Step, in_layout


class ReferenceStep(Step):
    def __init__(self, spec: Spec, shapes: Sequence[Shape]) -> None:
        self._spec = spec
        self.inputs = tuple(
            ArraySpec(tuple(shape), input_dtype(spec, i)) for i, shape in enumerate(shapes)
        )
        self.output = ArraySpec(output_shape(spec, shapes), output_dtype(spec))
        self.detail = "NumPy reference"

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        output[...] = fused.run(self._spec, inputs)


def reference(spec: Spec, shapes: Sequence[Shape], layout: Layout, threads: int) -> Step:
    """The reference of any fused operator, NCHW."""
    return ReferenceStep(spec, shapes)


def to_nchw(array: Array, layout: Layout, shape: Shape) -> Array:
    """A view or copy of an activation of logical shape [N, C, H, W] that is in `layout`; other
    ranks as they are."""
    if len(shape) != 4 or layout == "nchw":
        return array
    if layout == "nhwc":
        return array.transpose(0, 3, 1, 2)
    batch, channels, height, width = shape
    if layout == "slab":
        pixels = array.transpose(0, 2, 1).reshape(-1, channels)[: batch * height * width]
        return pixels.reshape(batch, height, width, channels).transpose(0, 3, 1, 2)
    planes = array.transpose(0, 1, 4, 2, 3).reshape(batch, -1, height, width)
    return planes[:, :channels]


def from_nchw(array: Array, layout: Layout) -> Array:
    """A view or copy in `layout` of an activation [N, C, H, W]; other ranks as they are. What
    stands for no pixel or channel is zero."""
    if array.ndim != 4 or layout == "nchw":
        return array
    if layout == "nhwc":
        return array.transpose(0, 2, 3, 1)
    batch, channels, height, width = array.shape
    if layout == "slab":
        pixels = array.transpose(0, 2, 3, 1).reshape(-1, channels)
        slabs = np.pad(pixels, ((0, -len(pixels) % SLAB), (0, 0))).reshape(-1, SLAB, channels)
        return slabs.transpose(0, 2, 1)
    padded = np.pad(array, ((0, 0), (0, -channels % WORD), (0, 0), (0, 0)))
    return padded.reshape(batch, -1, WORD, height, width).transpose(0, 1, 3, 4, 2)


class TransposeStep(Step):
    """Change the layout of an activation with NumPy."""

    def __init__(self, shape: Shape, before: Layout, after: Layout, dtype: np.dtype[Any]) -> None:
        self._shape, self._before, self._after = shape, before, after
        self.inputs = (ArraySpec(in_layout(shape, before), dtype),)
        self.output = ArraySpec(in_layout(shape, after), dtype)

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        planes = to_nchw(inputs[0], self._before, self._shape)
        output[...] = from_nchw(planes, self._after)
