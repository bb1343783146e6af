"""How single tensors are stored in a `.sparing` file.

| kind | arrays in the file |
|---|---|
| `dense` | the values; bfloat16 as its bits in uint16 |
| `sparse` | bit mask (uint8, C order, most significant bit first), then the non-zero values |
| `dense_s4` | int4, uint4, and int8 within [-8, 7], packed two a byte, the first in the low half |

A value counts as zero where all its bits are zero, so that -0.0 survives.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ..errors import FormatError
from ..model import Array, SparseTensor, Tensor

PLAIN_DTYPES = frozenset(
    {
        "bool",
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64"),
    }
)
NIBBLE_DTYPES = frozenset({"int4", "uint4"})
_ANY_BITS = PLAIN_DTYPES - {"bool"}  # whose every pattern of bits is a value
DTYPES = PLAIN_DTYPES | NIBBLE_DTYPES | {"bfloat16"}

# Bytes that a second array costs in the header: a sparse form must save more than that.
SECOND_ARRAY_COST = 128
ROW_COST = 64  # bytes of a row of the tensor table, which packed tensors need


class StoredTensor(NamedTuple):
    """One row of the tensor table. keys: names of its arrays in the file, in the order above."""

    kind: str
    dtype: str
    shape: tuple[int, ...]
    keys: tuple[str, ...]

    def is_array(self, name: str) -> bool:
        """Whether the array of that name says by itself all that this row does."""
        return (self.kind, self.keys) == ("dense", (name,)) and self.dtype in PLAIN_DTYPES

    @property
    def size(self) -> int:
        # Python's integers: a hostile shape must not wrap around
        product = 1
        for dim in self.shape:
            product *= dim
        return product


@cache
def named_dtype(name: str) -> np.dtype[Any]:
    """The dtype of that name. Raises FormatError where it needs ml_dtypes and that is absent."""
    if name in PLAIN_DTYPES:
        return np.dtype(name)
    try:
        import ml_dtypes
    except ImportError as error:
        raise FormatError(
            f"element type {name} needs the package ml_dtypes: pip install ml_dtypes"
        ) from error
    return np.dtype(getattr(ml_dtypes, name))


def encode(tensor: Tensor) -> tuple[str, tuple[Array, ...]]:
    """The kind that takes the fewest bytes, and its arrays. Raises FormatError for odd dtypes."""
    dtype = tensor.dtype.name
    if dtype not in DTYPES:
        raise FormatError(f"element type {dtype} cannot be stored, only {sorted(DTYPES)}")
    if dtype in NIBBLE_DTYPES:
        return "dense_s4", (_pack_nibbles(tensor.numpy()),)
    sparse = tensor if isinstance(tensor, SparseTensor) else _sparse_if_smaller(tensor.numpy())
    packed = _nibbles_if_smaller(tensor)
    smaller = packed is None or sparse is None or sparse.nbytes + SECOND_ARRAY_COST < packed.nbytes
    if sparse is not None and _saves_bytes(sparse) and smaller:
        return "sparse", (sparse.mask, _plain(sparse.values))
    return ("dense", (_plain(tensor.numpy()),)) if packed is None else ("dense_s4", (packed,))


def _nibbles_if_smaller(tensor: Tensor) -> Array | None:
    """int8 values that fit 4 bits, packed: the weights of 4-bit layers."""
    if tensor.dtype != np.int8 or int(np.prod(tensor.shape, dtype=np.int64)) <= ROW_COST * 2:
        return None
    values = tensor.numpy()
    return _pack_nibbles(values) if values.min() >= -8 and values.max() <= 7 else None


def _sparse_if_smaller(array: Array) -> SparseTensor | None:
    if array.nbytes <= SECOND_ARRAY_COST:
        return None
    sparse = SparseTensor.from_dense(array)
    return sparse if _saves_bytes(sparse) else None


def _saves_bytes(sparse: SparseTensor) -> bool:
    dense_bytes = int(np.prod(sparse.shape, dtype=np.int64)) * sparse.dtype.itemsize
    return sparse.nbytes + SECOND_ARRAY_COST < dense_bytes


def _plain(array: Array) -> Array:
    """Contiguous and little-endian, as safetensors wants it."""
    if array.dtype.name == "bfloat16":
        array = array.view(np.uint16)
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)


def _pack_nibbles(array: Array) -> Array:
    flat = array.reshape(-1).astype(np.int8).view(np.uint8) & 15
    padded = np.append(flat, np.zeros(flat.size % 2, np.uint8))
    return padded[0::2] | padded[1::2] << 4


def expected_arrays(stored: StoredTensor) -> list[tuple[str, tuple[int, ...] | None]]:
    """dtype and shape of each array in the file; None for the one whose length the mask tells."""
    plain = "uint16" if stored.dtype == "bfloat16" else stored.dtype
    if stored.kind == "dense_s4":
        return [("uint8", ((stored.size + 1) // 2,))]
    if stored.kind == "sparse":
        return [("uint8", ((stored.size + 7) // 8,)), (plain, None)]
    return [(plain, stored.shape)]


def decode(stored: StoredTensor, arrays: list[Array]) -> Tensor:
    """The tensor from arrays of the expected dtypes and shapes.

    Raises FormatError or ModelError where their content is impossible.
    """
    if stored.kind == "dense" and stored.dtype in _ANY_BITS:
        return Tensor(arrays[0])
    dtype = named_dtype(stored.dtype)
    if stored.kind == "dense_s4":
        return Tensor(_unpack_nibbles(arrays[0], stored, dtype))
    values = arrays[-1]
    if dtype == np.bool_ and (values.view(np.uint8) > 1).any():
        raise FormatError("a boolean is neither 0 nor 1")
    if values.dtype != dtype:
        values = values.view(dtype)
    if stored.kind == "sparse":
        return SparseTensor(arrays[0], values, stored.shape)
    return Tensor(values)


def _nibble_pairs(signed: bool) -> Array:
    """The two values of each byte, as two bytes, [256]."""
    bytes_ = np.arange(256, dtype=np.uint8)
    pairs = np.stack([bytes_ & 15, bytes_ >> 4], axis=-1).view(np.int8)
    if signed:
        pairs = (pairs ^ 8) - np.int8(8)  # extends the sign
    return np.ascontiguousarray(pairs).view(np.uint16)[:, 0]


def _unpack_nibbles(packed: Array, stored: StoredTensor, dtype: np.dtype[Any]) -> Array:
    if stored.size % 2 and packed[-1] >> 4:
        raise FormatError("the padding after the last 4-bit value is not zero")
    pairs = _nibble_pairs(signed=stored.dtype in ("int4", "int8")).take(packed)
    values = pairs.view(np.int8)[: stored.size]
    return values.astype(dtype, copy=False).reshape(stored.shape)
