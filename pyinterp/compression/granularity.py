"""Which weights go together: single ones, N of every M, and blocks that kernels can skip.

All work on weights as a convolution has them, [O, I, kernel...]: output channels, input channels
of a group, taps. Matrices are [O, I].
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..model import Array

F64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

NAMES = ("element", "1x4", "4x1", "N:M", "channel", "block")
BLOCK = 4  # weights of a block: what a byte-wise dot product or a panel of rows takes at once


@dataclass(frozen=True, slots=True)
class Granularity:
    """How weights are grouped; a group is kept or removed as a whole.

    rows, columns: of a block, along output and input channels (at one tap; blocks at the end may
    be smaller). kept, of: for N:M, `kept` of every `of` weights along the input channels stay
    (arXiv:2104.08378); 0 for the others.
    """

    rows: int = 1
    columns: int = 1
    kept: int = 0
    of: int = 0

    @property
    def fixed_sparsity(self) -> float | None:
        """The sparsity that N:M implies; None where it can be chosen."""
        return 1 - self.kept / self.of if self.of else None

    def groups(self, shape: tuple[int, ...], conv_groups: int = 1) -> npt.NDArray[np.int64]:
        """Number of the group that each weight belongs to, [O, I, kernel...], counted from 0.

        Blocks of output channels do not cross the groups of a convolution.
        """
        outputs, inputs = shape[0] // conv_groups, shape[1]
        row = np.arange(shape[0])
        block_row = row // outputs * -(-outputs // self.rows) + row % outputs // self.rows
        block_column = np.arange(inputs) // self.columns
        taps = int(np.prod(shape[2:], dtype=np.int64))
        columns = -(-inputs // self.columns)
        index = (block_row[:, None] * columns + block_column)[..., None] * taps + np.arange(taps)
        return index.reshape(shape)

    def scores(self, values: Array, groups: Array) -> F64:
        """The mean of the values in each group, so that small blocks compare with full ones."""
        flat = groups.reshape(-1)
        if self.rows == self.columns == 1:  # each weight is a group, in order
            return values.reshape(-1).astype(np.float64)
        return np.bincount(flat, values.reshape(-1)) / np.bincount(flat)

    def keep(self, values: F64, groups: Array, removed: int) -> Mask:
        """All groups but the `removed` ones with the least values; N:M has its own number.

        values: what each weight is worth, [O, I, kernel...], at least 0.
        """
        if self.of:
            return self._best_of_each(values)
        kept = np.ones(int(groups.max(initial=-1)) + 1, bool)
        kept[smallest(self.scores(values, groups), removed)] = False
        return kept[groups]

    def _best_of_each(self, values: F64) -> Mask:
        last = np.moveaxis(values, 1, -1)  # input channels side by side
        padding = -last.shape[-1] % self.of
        padded = np.pad(last, [(0, 0)] * (last.ndim - 1) + [(0, padding)], constant_values=-1.0)
        windows = padded.reshape(*last.shape[:-1], -1, self.of)
        order = np.argsort(-windows, axis=-1, kind="stable")
        kept = np.zeros(windows.shape, bool)
        np.put_along_axis(kept, order[..., : self.kept], True, axis=-1)
        mask = kept.reshape(padded.shape)[..., : last.shape[-1]]
        return np.ascontiguousarray(np.moveaxis(mask, -1, 1))


def granularity_of(name: object) -> Granularity:
    """The grouping of weights that a name stands for; InputError for others."""
    if name == "element":
        return Granularity()
    if name == "1x4":
        return Granularity(columns=BLOCK)
    if name == "4x1":
        return Granularity(rows=BLOCK)
    found = re.fullmatch(r"(\d{1,3}):(\d{1,3})", name) if isinstance(name, str) else None
    if found:
        kept, of = (int(part) for part in found.groups())
        if 0 < kept < of:
            return Granularity(kept=kept, of=of)
    raise InputError(
        f"granularity: expected one of {', '.join(NAMES)} (2:4, say, with 0 < N < M), got {name!r}"
    )


def smallest(values: Array, count: int) -> npt.NDArray[np.int64]:
    """Positions of exactly `count` smallest values; of equal ones the first positions."""
    if count == 0:
        return np.zeros(0, np.int64)
    threshold = np.partition(values, count - 1)[count - 1]
    below = np.flatnonzero(values < threshold)
    equal = np.flatnonzero(values == threshold)
    return np.concatenate([below, equal[: count - below.size]])
