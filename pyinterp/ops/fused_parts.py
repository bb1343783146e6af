"""What specs of fused operators are made of: array types, windows, output ranges."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..records import record

Array: TypeAlias = npt.NDArray[Any]
F32: TypeAlias = npt.NDArray[np.float32]
I32: TypeAlias = npt.NDArray[np.int32]


@record(frozen=True, slots=True)
class Window:
    """A sliding window over (height, width): of a convolution or a pooling."""

    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right
    dilations: tuple[int, int] = (1, 1)
    ceil_mode: bool = False  # pooling: a last, partial window counts (ONNX ceil_mode)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Output (height, width); 0 or less where the window does not fit the padded input."""
        return self._size(height, 0), self._size(width, 1)

    def _size(self, size: int, axis: int) -> int:
        before, stride = self.pads[axis], self.strides[axis]
        extent = (self.kernel[axis] - 1) * self.dilations[axis] + 1
        spare = size + before + self.pads[axis + 2] - extent
        if not self.ceil_mode:
            return spare // stride + 1
        count = -(-spare // stride) + 1
        # a window that starts in the trailing padding does not count
        return count - 1 if (count - 1) * stride >= size + before else count


@record(frozen=True, slots=True)
class OutputRange:
    """Where a requantized result lands: its zero point and the range it is clamped to (u8)."""

    zero_point: int
    lo: int = 0
    hi: int = 255
