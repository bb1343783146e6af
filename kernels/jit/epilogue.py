"""From int32 sums to the uint8 result of a convolution, in both layouts."""

from __future__ import annotations

import numpy as np

from ...ops.fused_spec import ConvS8
from ..step import Array
from ..sums import fold_zero_point
from . import rounding
from .elementwise import look_up, look_up_rows

# stand for a residual that is not there
_NO_ROWS = np.zeros((1, 1), np.uint8)
_NO_PLANES = np.zeros((1, 1, 1), np.uint8)


class Epilogue:
    """bias: int32 [O], the input's zero point folded in. weight_bytes: of the arrays it holds."""

    def __init__(self, spec: ConvS8) -> None:
        self.bias = fold_zero_point(spec.bias, spec.weight, spec.x_zero_point)
        self.multiplier = np.array(spec.multiplier, np.float32)
        self._range = rounding.to_range(spec.output)
        self._addition = _addition(spec)
        self._table = None if spec.table is None else np.array(spec.table)
        self.weight_bytes = self.bias.nbytes + self.multiplier.nbytes

    def rows(self, sums: Array, residual: Array | None, out: Array) -> None:
        """Channels last. sums: int32 [P, >= O], without bias; residual, out: uint8 [P, O]."""
        other = _NO_ROWS if residual is None else residual
        rounding.requantize_rows(
            sums, self.bias, self.multiplier, other, self._addition, self._range, out
        )
        if self._table is not None:
            look_up(out, self._table, out)

    def planes(
        self, sums: Array, stride: int, rows: range, residual: Array | None, out: Array
    ) -> None:
        """Channels first, some rows of an image. residual, out: uint8 [O, H, W].

        sums: int32 [O, >= len(rows) * stride], bias included, rows `stride` apart.
        """
        other = _NO_PLANES if residual is None else residual
        rounding.requantize_planes(
            sums, stride, self.multiplier, other, self._addition, self._range,
            rows.start, rows.stop, out,
        )  # fmt: skip
        if self._table is not None:
            look_up_rows(out, self._table, rows.start, rows.stop)


def _addition(spec: ConvS8) -> rounding.Addition:
    own = rounding.to_range(spec.output)
    if spec.residual is None:
        zero, one = np.int32(0), np.float32(1)
        return rounding.Addition(np.int32(rounding.NO_RESIDUAL), own, one, zero, one)
    middle = spec.residual.conv_output
    mode = rounding.FROM_SUM if middle is None else rounding.FROM_QUANTIZED
    return rounding.Addition(
        np.int32(mode),
        own if middle is None else rounding.to_range(middle),
        np.float32(spec.residual.conv_multiplier),
        np.int32(spec.residual.zero_point),
        np.float32(spec.residual.multiplier),
    )
