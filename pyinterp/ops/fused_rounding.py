"""The one rounding rule, in NumPy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .fused_parts import F32, OutputRange

U8 = npt.NDArray[np.uint8]


def requantize(real: F32, output: OutputRange) -> U8:
    """The one rounding rule: rint half to even, clamp, convert, add the zero point."""
    low, high = np.float32(output.lo - output.zero_point), np.float32(output.hi - output.zero_point)
    clamped = np.clip(np.rint(real), low, high)
    return (clamped.astype(np.int32) + np.int32(output.zero_point)).astype(np.uint8)
