"""Sizes and ranges that the cases of several operators share.

Channel counts lie below, at and above the kernels' tiles (4, 16, 32, 64 and their sums), pixel
counts below, at and above theirs (4, 6, 64).
"""

from __future__ import annotations

from sparing.ops import fused_spec as fs

FULL = fs.OutputRange(zero_point=0)
U7 = fs.OutputRange(zero_point=0, lo=0, hi=127)
S7 = fs.OutputRange(zero_point=64, lo=0, hi=127)
S8 = fs.OutputRange(zero_point=128)
NARROW = fs.OutputRange(zero_point=100, lo=100, hi=180)  # a fused Relu6 in a signed tensor
HIGH_ZERO = fs.OutputRange(zero_point=251)  # for sums that are all negative
ODD = fs.OutputRange(zero_point=37, lo=1, hi=254)

# (input channels, output channels), each below, at or above a tile
CHANNELS = (
    *((1, 1), (3, 4), (4, 3), (5, 15), (15, 16), (16, 17), (17, 31), (31, 32)),
    *((32, 33), (33, 63), (63, 64), (64, 65), (65, 130), (130, 5)),
)
# (height, width): pixel counts 1, 2, 5, 6, 7, 13, 14, 63, 64, 65, 130
PIXELS = (
    *((1, 1), (1, 2), (5, 1), (2, 3), (1, 7), (13, 1), (2, 7)),
    *((7, 9), (8, 8), (5, 13), (10, 13)),
)
