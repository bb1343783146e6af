"""Checks and small conversions that many operators share; all raise ModelError."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..errors import ModelError
from .registry import Array, Ints

# No tensor of a CNN comes near; a hostile attribute must not exhaust the memory.
MAX_TENSOR_BYTES = 2**31


def require(condition: bool, message: str) -> None:
    if not condition:
        raise ModelError(message)


def one_of(value: str, allowed: Sequence[str], name: str) -> str:
    require(value in allowed, f"{name}: expected one of {', '.join(allowed)}, got {value!r}")
    return value


def axis_of(axis: int, rank: int, name: str = "axis") -> int:
    """`axis` counted from the front."""
    require(-rank <= axis < rank, f"{name}: expected {-rank} to {rank - 1}, got {axis}")
    return axis % rank


def axes_of(axes: Iterable[int], rank: int) -> Ints:
    """Distinct axes counted from the front, in the order given."""
    found = tuple(axis_of(axis, rank, "axes") for axis in axes)
    require(len(set(found)) == len(found), f"axes: expected distinct axes, got {found}")
    return found


def size_checked(shape: Iterable[int], dtype: np.dtype[Any]) -> Ints:
    """`shape`, unless negative or larger than MAX_TENSOR_BYTES (axes of 0 counting as 1)."""
    shape = tuple(int(n) for n in shape)
    require(all(n >= 0 for n in shape), f"expected dimensions of 0 or more, got {shape}")
    size = math.prod(max(n, 1) for n in shape) * dtype.itemsize
    require(
        size <= MAX_TENSOR_BYTES,
        f"a tensor of {shape} {dtype} takes {size} bytes, more than the limit {MAX_TENSOR_BYTES}",
    )
    return shape


def broadcast_shape(*arrays: Array) -> Ints:
    """The common shape of `arrays` by NumPy's rules, which are ONNX's."""
    try:
        shape = np.broadcast_shapes(*(a.shape for a in arrays))
    except ValueError:
        shapes = " and ".join(str(a.shape) for a in arrays)
        raise ModelError(f"expected shapes that broadcast, got {shapes}") from None
    return size_checked(shape, max((a.dtype for a in arrays), key=lambda d: d.itemsize))


def same_dtype(*arrays: Array) -> np.dtype[Any]:
    dtypes = [a.dtype for a in arrays]
    require(
        all(d == dtypes[0] for d in dtypes),
        f"expected inputs of one type, got {', '.join(map(str, dtypes))}",
    )
    return dtypes[0]


def integers(values: Array, name: str) -> Ints:
    """A 1-D (or scalar) integer tensor as a tuple."""
    require(
        values.dtype.kind in "iu" and values.ndim <= 1,
        f"{name}: expected integers [n], got {values.dtype} {values.shape}",
    )
    return tuple(int(v) for v in values.reshape(-1))


def scalar(values: Array, name: str) -> Any:
    """The only value of a one-element tensor, as a Python number."""
    require(values.size == 1, f"{name}: expected one value, got shape {values.shape}")
    return values.reshape(-1)[0].item()


def per_channel(values: Array, rank: int, name: str, channels: int) -> Array:
    """A per-channel vector [C], shaped [C, 1, ...] to broadcast over [N, C, ...]."""
    require(
        values.shape == (channels,), f"{name}: expected shape ({channels},), got {values.shape}"
    )
    return values.reshape((channels,) + (1,) * (rank - 2))
