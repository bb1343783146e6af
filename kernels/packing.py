"""Weights in the memory order that the dense C kernels read.

Each function turns weights in ONNX order into one flat, 64-byte aligned array; csrc/sparing.h and
the headers beside the C drivers describe the layouts from the other side.
"""

from __future__ import annotations

import numpy as np

from .grouped import COLUMN_GROUP, round_up
from .memory import empty
from .step import Array


def padded_k(k: int, k_group: int) -> int:
    """K as the micro-kernels see it: whole groups, at least one."""
    return round_up(max(k, 1), k_group)


def pack_panels(rows: Array, nr: int, k_group: int) -> Array:
    """Panels of output channels: flat, one group after the other.

    rows: integer [groups, O, K], the weights of each output channel. A panel holds nr channels,
    the last one of a group the rest, rounded up to COLUMN_GROUP with zero weights, as
    [padded_k / k_group, columns, k_group].
    """
    groups, outputs, k = rows.shape
    columns, k_padded = round_up(outputs, COLUMN_GROUP), padded_k(k, k_group)
    padded = np.zeros((groups, columns, k_padded), rows.dtype)
    padded[:, :outputs, :k] = rows
    words = padded.view(f"u{k_group * rows.itemsize}")  # moving whole groups is quicker
    packed = empty(padded.nbytes).view(words.dtype).reshape(groups, -1)
    whole = columns // nr * nr
    for start, end, width in ((0, whole, nr), (whole, columns, columns - whole)):
        if start < end:
            panels = words[:, start:end].reshape(groups, -1, width, words.shape[2])
            place = packed[:, start * words.shape[2] : end * words.shape[2]]
            place.reshape(groups, -1, words.shape[2], width)[...] = panels.transpose(0, 1, 3, 2)
    return packed.view(rows.dtype).reshape(-1)
