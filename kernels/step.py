"""A prepared kernel: weights packed, shapes fixed, ready to run many times."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..records import record

Array: TypeAlias = npt.NDArray[Any]
Shape: TypeAlias = tuple[int, ...]
Layout: TypeAlias = Literal["nchw", "nhwc", "nc4hw4", "slab"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
WORD = 4  # channels that nc4hw4 keeps together; it is for uint8 alone
SLAB = 64  # pixels of a slab (SP_SLAB_WIDTH in csrc/sparing.h); it is for float32 alone


@record(frozen=True, slots=True)
class ArraySpec:
    """Shape (in memory order) and element type of an activation."""

    shape: Shape
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def check(self, array: Array, what: str) -> None:
        """Raise InputError unless the array is exactly this, in C order."""
        if array.shape != self.shape or array.dtype != self.dtype or not array.flags.c_contiguous:
            raise InputError(
                f"{what}: expected C-contiguous {self.dtype}{list(self.shape)}, got "
                f"{array.dtype}{list(array.shape)} with strides {array.strides}"
            )


def in_layout(shape: Shape, layout: Layout) -> Shape:
    """The memory shape of a logical [N, C, H, W] activation; other ranks have one layout only.

    nc4hw4 is [N, ceil(C / 4), H, W, 4], where channels beyond the last one hold anything. slab is
    [ceil(N * H * W / 64), C, 64]: all images' pixels in a row, where those beyond the last one hold
    anything.
    """
    if len(shape) != 4 or layout == "nchw":
        return shape
    if layout == "nhwc":
        return shape[0], shape[2], shape[3], shape[1]
    if layout == "slab":
        return -(-shape[0] * shape[2] * shape[3] // SLAB), shape[1], SLAB
    return shape[0], -(-shape[1] // WORD), *shape[2:], WORD


class Step(ABC):
    """One fused operator, prepared for fixed input shapes by one kernel.

    inputs, output: the arrays `run` takes, in the kernel's layout. weight_bytes: bytes of packed
    weights it holds. detail: what explain() adds, e.g. the micro-kernel's name.
    """

    inputs: tuple[ArraySpec, ...]
    output: ArraySpec
    weight_bytes: int = 0
    detail: str = ""

    def run(self, inputs: Sequence[Array], output: Array) -> None:
        """Compute `output` in place. Raises InputError for arrays of another shape or dtype."""
        if len(inputs) != len(self.inputs):
            raise InputError(f"expected {len(self.inputs)} inputs, got {len(inputs)}")
        for i, (spec, array) in enumerate(zip(self.inputs, inputs, strict=True)):
            spec.check(array, f"input {i}")
        self.output.check(output, "output")
        self.execute(inputs, output)

    @abstractmethod
    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        """`run` without the checks, for callers that made the arrays from `inputs` and `output`."""
