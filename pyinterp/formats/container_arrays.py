"""The arrays of a `.sparing` file: what its header says of them, checked, and their values.

The header is that of a safetensors file, and read here, since all arrays at once take a fraction of
the time that safetensors takes for one after the other.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from functools import cached_property
from io import FileIO
from itertools import chain
from typing import Any

import numpy as np

from ..errors import FormatError, ModelError
from ..kernels.memory import empty
from ..model import Array, Tensor
from .container_graph import MAX_ENTRIES, MAX_RANK, Json, fields, read_shape, text
from .container_tensors import StoredTensor, decode, expected_arrays

RESERVED_KEY = "__metadata__"  # safetensors keeps the metadata itself under this name
MAX_HEADER = 1 << 24  # bytes; bounds what parsing its JSON can take
ENTRY_KEYS = frozenset({"dtype", "shape", "data_offsets"})
SHARED_BYTES = 1 << 17  # files of up to so many are read as one piece, of which arrays are parts
OWN_BYTES = 1 << 16  # in larger ones, arrays below this size do not share memory

# safetensors' names of the dtypes that arrays in the file may have
ELEMENT_CODES = {
    "bool": "BOOL",
    **{f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"F{bits}" for bits in (16, 32, 64)},
}
DTYPES_BY_CODE = {code: np.dtype(name) for name, code in ELEMENT_CODES.items()}
ELEMENT_BYTES = {code: dtype.itemsize for code, dtype in DTYPES_BY_CODE.items()}


class StoredArrays:
    """The arrays of an open file, each to be claimed once, with the dtype and shape expected.

    metadata: what the header holds besides.
    """

    def __init__(self, data: FileIO) -> None:
        """data: a file at its start. Raises FormatError unless its header is safetensors'."""
        size = os.fstat(data.fileno()).st_size
        header_bytes = int.from_bytes(data.read(8), "little")
        if size < 8 or header_bytes > min(size - 8, MAX_HEADER):
            raise FormatError(
                f"a header of {header_bytes} bytes in a file of {size} (at most {MAX_HEADER} are "
                "allowed)"
            )
        self._header = _read_header(data.read(header_bytes))
        self.metadata = self._header.pop(RESERVED_KEY, None)
        self._data, self._nbytes = data, size - 8 - header_bytes
        self.unclaimed = set(self._header)
        if len(self.unclaimed) > MAX_ENTRIES:
            raise FormatError(f"{len(self.unclaimed)} arrays, over the limit of {MAX_ENTRIES}")
        _check_places(self._header, self._nbytes)

    def claim(self, stored: StoredTensor, where: str) -> None:
        """Raise FormatError unless the file holds the arrays that this table row needs."""
        for key, (dtype, shape) in zip(stored.keys, expected_arrays(stored), strict=True):
            if key not in self.unclaimed:
                raise FormatError(f"{where}: array {key!r} is missing, or used twice")
            self.unclaimed.remove(key)
            held = self._header[key]
            held_dtype, held_shape = held["dtype"], tuple(held["shape"])
            fits = held_shape == shape if shape is not None else len(held_shape) == 1
            if held_dtype != ELEMENT_CODES[dtype] or not fits:
                raise FormatError(
                    f"{where}: array {key!r} should be {ELEMENT_CODES[dtype]} of shape "
                    f"{shape or 'one dimension'}, but is {held_dtype} of {held_shape}"
                )

    def claim_rest(self) -> list[str]:
        """The arrays that nobody has claimed: each is the weight of its name."""
        rest = sorted(self.unclaimed)
        if rest:
            text(rest[0], "array")
        self.unclaimed.clear()
        return rest

    @cached_property
    def _blocks(self) -> bytes | memoryview:
        """The bytes of all arrays."""
        if self._nbytes <= SHARED_BYTES:
            small = self._data.read(self._nbytes)
            at = len(small)
        else:
            at, whole = 0, empty(self._nbytes).data
            while at < len(whole) and (count := self._data.readinto(whole[at:])):
                at += count
        if at < self._nbytes:
            raise FormatError("the file became shorter while it was read")
        return small if self._nbytes <= SHARED_BYTES else whole

    def _array(self, entry: dict[str, Any]) -> Array:
        """The array of an entry of the header."""
        begin, end = entry["data_offsets"]
        dtype = DTYPES_BY_CODE[entry["dtype"]]
        shared = self._nbytes <= SHARED_BYTES or end - begin >= OWN_BYTES
        if shared and begin % dtype.itemsize == 0:
            return np.ndarray(entry["shape"], dtype, self._blocks, begin)
        # of its own, it does not keep all bytes of the file in memory
        return np.ndarray(entry["shape"], dtype, bytes(self._blocks[begin:end]))

    def read(self, stored: StoredTensor) -> Tensor:
        """The tensor of a claimed row."""
        try:
            return decode(stored, [self._array(self._header[key]) for key in stored.keys])
        except (FormatError, ModelError) as error:
            raise FormatError(f"tensor {stored.keys[0]!r}: {error}") from error

    def read_plain(self, names: Sequence[str]) -> dict[str, Tensor]:
        """The tensors that claimed arrays are, as they are."""
        entries = {name: self._header[name] for name in names}
        for name, entry in entries.items():
            if entry["dtype"] == "BOOL":  # the only one with bits that are no value
                self.read(StoredTensor("dense", "bool", tuple(entry["shape"]), (name,)))
        return {name: Tensor(self._array(entry)) for name, entry in entries.items()}

    def claim_and_read(self, stored: StoredTensor) -> Array:
        self.claim(stored, "attribute")
        return self.read(stored).numpy()


def _read_header(data: bytes) -> dict[str, Json]:
    try:
        header = json.loads(data.decode())
    except ValueError as error:
        raise FormatError(f"not an intact safetensors file: {error}") from error
    if not isinstance(header, dict):
        raise FormatError("not an intact safetensors file: its header is no object")
    return header


def _check_places(header: dict[str, Json], nbytes: int) -> None:
    """Raise FormatError unless the arrays are of known types, and lie one behind the other in so
    many bytes, which they fill. All arrays at once, which takes half of the time."""
    entries = [*header.values()]
    for key, entry in header.items():
        if type(entry) is not dict or not entry.keys() >= ENTRY_KEYS:
            fields(entry, f"array {key!r}", ENTRY_KEYS)
    codes = [entry["dtype"] for entry in entries]
    shapes, spans = ([entry[key] for entry in entries] for key in ("shape", "data_offsets"))
    if not {*map(type, codes)} <= {str} or not {*codes} <= DTYPES_BY_CODE.keys():
        key, code = next(pair for pair in zip(header, codes, strict=True) if not _is_code(pair[1]))
        known = sorted(DTYPES_BY_CODE)
        raise FormatError(f"array {key!r}: expected an element type of {known}, got {code!r:.40}")
    lists = {*map(type, shapes), *map(type, spans)} <= {list} and {*map(len, spans)} <= {2}
    numbers: list[Json] = [*chain(*shapes, *spans)] if lists else [None]
    if not {*map(type, numbers)} <= {int} or min(numbers, default=0) < 0:
        raise FormatError("shapes and offsets of arrays: expected lists of integers from 0 on")
    if max(map(len, shapes), default=0) > MAX_RANK or 0 in chain(*shapes):
        for key, shape in zip(header, shapes, strict=True):  # which the file may not bound
            read_shape(shape, f"array {key!r}")
    sizes = [*map(math.prod, shapes)]
    wanted = [size * ELEMENT_BYTES[code] for size, code in zip(sizes, codes, strict=True)]
    if wanted != [end - begin for begin, end in spans]:
        raise FormatError("arrays do not fill the bytes that they are said to")
    spans.sort()
    if [*[begin for begin, _ in spans], nbytes] != [0, *[end for _, end in spans]]:
        raise FormatError("arrays overlap, or leave bytes of the file out")


def _is_code(value: Json) -> bool:
    return isinstance(value, str) and value in DTYPES_BY_CODE
