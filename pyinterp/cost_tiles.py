"""What dense int8 products in tile registers (AMX) take: csrc/conv_s8/tiled.h."""

from __future__ import annotations

from math import prod

from .kernels.grouped import COLUMN_GROUP, groups_to_join, round_up
from .ops.fused_spec import ConvS8, GemmS8

Shape = tuple[int, ...]

TILE_BYTES = 64  # of a row of activations
FINISHING_MACS = 200  # products that an output value is worth


def tile_macs(spec: ConvS8 | GemmS8, output: Shape) -> float:
    """Multiply-accumulates of whole tiles, and what requantizing their sums is worth."""
    values = prod(output)
    outputs, channels, *kernel = spec.weight.shape
    groups = spec.groups if isinstance(spec, ConvS8) else 1
    joined = groups_to_join(spec) if isinstance(spec, ConvS8) else 1
    group_outputs = outputs // groups * joined
    row, rows = channels * joined, prod(kernel)  # a row of taps is one stretch of memory, or a tap
    if groups == 1 and kernel:
        row, rows = row * kernel[1], kernel[0]
    columns = round_up(group_outputs, COLUMN_GROUP) / group_outputs
    return values * (columns * rows * round_up(row, TILE_BYTES) + FINISHING_MACS)
