"""Sparing's own model file, `.sparing`: a safetensors file with the graph in its metadata.

The metadata has one key, "sparing" (safetensors writes several in random order), which holds JSON
with sorted keys: format version, opset, nodes, inputs, outputs, the tensor table, the tables of
quantized functions and the model's metadata. The tensor table has rows only for weights that are
not simply an array of their name, dtype and shape. Nothing depends on time or place, so the same
model gives the same bytes.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from ..errors import FormatError, InputError, ModelError
from ..kernels.memory import empty
from ..model import Array, Model, Tensor
from ..tables import function_tables
from .atomic import write_atomically
from .container_graph import (
    MAX_ENTRIES,
    Json,
    check_dtype,
    check_text,
    check_tree,
    fields,
    info_to_json,
    integer,
    items,
    node_to_json,
    read_info,
    read_node,
    read_shape,
    read_stored,
    stored_to_json,
    text,
)
from .container_tensors import StoredTensor, decode, encode, expected_arrays

VERSION = 1
METADATA_KEY = "sparing"
RESERVED_KEY = "__metadata__"  # safetensors keeps the metadata itself under this name
MAX_HEADER = 1 << 24  # bytes; bounds what parsing its JSON can take
OPSETS = range(1, 1000)
TABLE_ENTRIES = 256
OWN_BYTES = 1 << 16  # arrays below this size do not share memory

# safetensors' names of the dtypes that arrays in the file may have
ELEMENT_CODES = {
    "bool": "BOOL",
    **{f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"F{bits}" for bits in (16, 32, 64)},
}
DTYPES_BY_CODE = {code: np.dtype(name) for name, code in ELEMENT_CODES.items()}


def save_container(model: Model, path: str | os.PathLike[str]) -> None:
    """Write the model to `path`, replacing it as a whole; weights in the form that is smallest.

    Raises FormatError where the format cannot hold the model (strings or 8-bit floats as weights,
    metadata that is not JSON), InputError where the file cannot be written.
    """
    try:
        data = _serialize(model)
    except (TypeError, ValueError) as error:  # from json: metadata of other types, NaN, ...
        raise FormatError(f"{path}: the model's metadata is not plain JSON: {error}") from error
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error
    write_atomically(Path(path), data)


def _serialize(model: Model) -> bytes:
    arrays: dict[str, Array] = {}
    tables = function_tables(model)
    taken = model.weights.keys()  # a weight called "a.mask" keeps its name beside a sparse "a"

    def store(name: str, tensor: Tensor) -> StoredTensor:
        kind, parts = encode(tensor)
        suffixes = (".mask", ".values") if kind == "sparse" else ("",)
        keys = []
        for suffix, part in zip(suffixes, parts, strict=True):
            key = name + suffix
            while key in arrays or (key in taken and key != name) or key == RESERVED_KEY:
                key += "+"
            arrays[key] = part
            keys.append(key)
        return StoredTensor(kind, tensor.dtype.name, tensor.shape, tuple(keys))

    def store_attribute(name: str, array: Array) -> Json:
        return stored_to_json(store(name, Tensor(array)))

    rows = {
        text(name, "weight"): store(name, model.weights[name]) for name in sorted(model.weights)
    }
    document = {
        "version": VERSION,
        "opset": model.opset,
        "tensors": {
            name: stored_to_json(row) for name, row in rows.items() if not row.is_array(name)
        },
        "nodes": [
            node_to_json(node, store_attribute, index) for index, node in enumerate(model.nodes)
        ],
        "inputs": [info_to_json(info) for info in model.inputs],
        "outputs": [info_to_json(info) for info in model.outputs],
        "metadata": dict(model.metadata),
        "tables": {text(name, "table"): table.tobytes().hex() for name, table in tables.items()},
    }
    check_tree(document)
    header = json.dumps(
        document, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )
    data: bytes = safetensors.numpy.save(arrays, {METADATA_KEY: header})
    header_bytes = int.from_bytes(data[:8], "little")
    if header_bytes > MAX_HEADER:
        raise FormatError(f"the graph takes {header_bytes} bytes, over the limit of {MAX_HEADER}")
    return data


def load_container(path: str | os.PathLike[str]) -> Model:
    """Read a model that `save_container` wrote.

    Header, tensor table and graph are checked before any weight is read, and what is read is
    bounded by the size of the file.
    Raises InputError where the file cannot be read, and FormatError for any other content than
    an intact container.
    """
    with _format_errors(path), open(path, "rb", buffering=0) as data:
        header_bytes = _header_size(data)
        with safetensors.safe_open(path, "numpy"):
            return _read_model(_StoredArrays(data, header_bytes))


@contextmanager
def _format_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Every way in which decoding fails, as FormatError with the file's name."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror}") from error
    except (FormatError, ModelError) as error:
        raise FormatError(f"{path}: {error}") from error
    except safetensors.SafetensorError as error:
        raise FormatError(f"{path}: not an intact safetensors file: {error}") from error
    except (ValueError, RecursionError) as error:  # json.loads raises these
        raise FormatError(f"{path}: the graph is not valid JSON: {error}") from error


def _header_size(data: FileIO) -> int:
    """Of a file at its start, within limits: safetensors alone would parse one of 100 MB."""
    size = os.fstat(data.fileno()).st_size
    header = int.from_bytes(data.read(8), "little")
    if size < 8 or header > min(size - 8, MAX_HEADER):
        raise FormatError(
            f"a header of {header} bytes in a file of {size} (at most {MAX_HEADER} are allowed)"
        )
    return header


class _StoredArrays:
    """The arrays of an open file, each to be claimed once, with the dtype and shape expected."""

    def __init__(self, data: FileIO, header_bytes: int) -> None:
        """data: a file at its header, which safetensors has checked: dtypes, shapes, and where
        arrays lie.

        The rest is read at once, which takes a fraction of the time of safetensors' copies.
        """
        self._header: dict[str, Any] = json.loads(data.read(header_bytes))
        self.metadata = self._header.pop(RESERVED_KEY, None)
        self._data, self._at = data, 8 + header_bytes
        self.unclaimed = set(self._header)
        if len(self.unclaimed) > MAX_ENTRIES:
            raise FormatError(f"{len(self.unclaimed)} arrays, over the limit of {MAX_ENTRIES}")

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
        for key in rest:
            held = self._header[key]
            if not key or held["dtype"] not in DTYPES_BY_CODE:
                check_dtype(held["dtype"], f"array {text(key, 'array')!r}")
            if held["shape"]:
                read_shape(held["shape"], f"array {key!r}")
        self.unclaimed.clear()
        return rest

    @cached_property
    def _blocks(self) -> memoryview:
        """The bytes of all arrays."""
        blocks = empty(os.fstat(self._data.fileno()).st_size - self._at)
        at, whole = 0, blocks.data
        while at < len(whole) and (count := self._data.readinto(whole[at:])):
            at += count
        if at < len(whole):
            raise FormatError("the file became shorter while it was read")
        return whole

    def _array(self, key: str) -> Array:
        entry = self._header[key]
        begin, end = entry["data_offsets"]
        dtype = DTYPES_BY_CODE[entry["dtype"]]
        if end - begin < OWN_BYTES or begin % dtype.itemsize:
            # of its own, it does not keep all bytes of the file in memory
            return np.ndarray(entry["shape"], dtype, self._blocks[begin:end].tobytes())
        return np.ndarray(entry["shape"], dtype, self._blocks, begin)

    def read(self, stored: StoredTensor) -> Tensor:
        """The tensor of a claimed row."""
        try:
            return decode(stored, [self._array(key) for key in stored.keys])
        except (FormatError, ModelError) as error:
            raise FormatError(f"tensor {stored.keys[0]!r}: {error}") from error

    def read_plain(self, name: str) -> Tensor:
        """The tensor that a claimed array is."""
        if self._header[name]["dtype"] == "BOOL":  # the only one with bits that are no value
            array = self._array(name)
            return self.read(StoredTensor("dense", array.dtype.name, array.shape, (name,)))
        return Tensor(self._array(name))

    def claim_and_read(self, stored: StoredTensor) -> Array:
        self.claim(stored, "attribute")
        return self.read(stored).numpy()


def _read_model(arrays: _StoredArrays) -> Model:
    document = _document(arrays.metadata)
    table = document["tensors"]
    if not isinstance(table, dict):
        raise FormatError("expected the tensor table by name")
    rows = {}
    for name, entry in table.items():
        where = f"tensor {text(name, 'tensor table')!r}"
        rows[name] = read_stored(entry, where)
        arrays.claim(rows[name], where)
    if not isinstance(document["metadata"], dict):
        raise FormatError("expected the metadata by name")
    check_tree(document["metadata"])  # all else is read value by value
    nodes = [read_node(v, arrays.claim_and_read) for v in items(document["nodes"], "nodes")]
    plain = arrays.claim_rest()
    both = rows.keys() & plain
    if both:
        raise FormatError(f"tensor {min(both)!r} is both a row of the table and an array")
    weights = dict.fromkeys([*rows, *plain], Tensor(np.zeros(0)))
    model = Model(  # checks the graph before the weights are read
        nodes=tuple(nodes),
        inputs=tuple(read_info(v, "input") for v in items(document["inputs"], "inputs")),
        outputs=tuple(read_info(v, "output") for v in items(document["outputs"], "outputs")),
        weights=weights,
        opset=integer(document["opset"], "opset", OPSETS),
        metadata=document["metadata"],
        tables=_read_tables(document["tables"]),
    )
    for name, row in rows.items():
        weights[name] = arrays.read(row)
    for name in plain:
        weights[name] = arrays.read_plain(name)
    return model


def _read_tables(document: Any) -> dict[str, Array]:
    if not isinstance(document, dict):
        raise FormatError("expected the tables by name")
    tables = {}
    for name, digits in document.items():
        if not isinstance(digits, str) or len(digits) != 2 * TABLE_ENTRIES:
            raise FormatError(f"table {name!r:.80}: expected {TABLE_ENTRIES} bytes in hexadecimal")
        tables[name] = np.frombuffer(bytes.fromhex(digits), np.uint8)
    return tables


def _document(metadata: Any) -> Any:
    """The JSON document, its version and top-level keys checked."""
    if not metadata or metadata.keys() != {METADATA_KEY}:
        raise FormatError("a safetensors file, but not of Sparing: it holds no graph")
    given = metadata[METADATA_KEY]
    document = json.loads(
        given,
        object_pairs_hook=_without_duplicates,
        parse_constant=_refuse_constant,
        parse_float=_finite_float,
    )
    if "\\u" in given:  # else all of it is the text of a file, which is Unicode
        check_text(json.dumps(document, ensure_ascii=False))
    version = document.get("version") if isinstance(document, dict) else None
    if version != VERSION:
        raise FormatError(f"format version {version!r:.40}; this release reads version {VERSION}")
    keys = {"version", "opset", "tensors", "nodes", "inputs", "outputs", "metadata", "tables"}
    return fields(document, "document", keys)


def _without_duplicates(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise FormatError("a key occurs twice in a JSON object")
    return unique


def _finite_float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise FormatError("JSON holds a number that is not finite")
    return number


def _refuse_constant(name: str) -> Json:
    raise FormatError(f"{name} is not JSON")
