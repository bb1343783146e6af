"""Bit masks of sparse weights, as they are stored: C order, the most significant bit first."""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from .step import Array

Mask = npt.NDArray[np.uint8]


@cache
def native_module() -> Any:
    """The compiled module, or None where Sparing was installed without a C compiler."""
    name = "sparing.kernels._native"
    return None if importlib.util.find_spec(name) is None else importlib.import_module(name)


def count_bits(mask: Mask) -> int:
    """Set bits of a mask [n]."""
    whole = len(mask) // 8 * 8
    words = np.bitwise_count(np.ascontiguousarray(mask[:whole]).view(np.uint64))
    return int(words.sum(dtype=np.int64)) + int(np.bitwise_count(mask[whole:]).sum())


def expand(mask: Mask, values: Array, size: int) -> Array:
    """Flat array of `size` elements with the values where the mask's bits are set, zero elsewhere.

    mask: [ceil(size / 8)], with as many bits set as there are values.
    """
    dense = np.zeros(size, values.dtype)
    native = native_module()
    if native is None or values.itemsize not in (1, 2, 4, 8):
        return _expand(mask, values, dense)
    pointer = native.ffi.from_buffer
    mask, given = np.ascontiguousarray(mask), np.ascontiguousarray(values).view(np.uint8)
    used = native.lib.sp_expand_bits(
        *(pointer("uint8_t *", mask), size, pointer(given), len(values)),
        *(values.itemsize, pointer(dense.view(np.uint8))),
    )
    assert used == len(values)
    return dense


def _expand(mask: Mask, values: Array, dense: Array) -> Array:
    dense[np.unpackbits(mask, count=dense.size).view(bool)] = values
    return dense
