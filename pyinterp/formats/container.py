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
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from ..errors import FormatError, InputError, ModelError
from ..model import Array, Model, Tensor
from ..tables import function_tables
from .atomic import write_atomically
from .container_arrays import MAX_HEADER, RESERVED_KEY, StoredArrays
from .container_graph import (
    Json,
    check_text,
    check_tree,
    fields,
    info_to_json,
    integer,
    items,
    node_to_json,
    read_info,
    read_nodes,
    read_stored,
    stored_to_json,
    text,
)
from .container_tensors import StoredTensor, encode

VERSION = 1
METADATA_KEY = "sparing"
OPSETS = range(1, 1000)
TABLE_ENTRIES = 256


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
        return _read_model(StoredArrays(data))


@contextmanager
def _format_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Every way in which decoding fails, as FormatError with the file's name."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror}") from error
    except (FormatError, ModelError) as error:
        raise FormatError(f"{path}: {error}") from error
    except (ValueError, RecursionError) as error:  # json.loads raises these
        raise FormatError(f"{path}: the graph is not valid JSON: {error}") from error


def _read_model(arrays: StoredArrays) -> Model:
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
    nodes = read_nodes(document["nodes"], arrays.claim_and_read)
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
    weights.update(arrays.read_plain(plain))
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
    if not isinstance(metadata, dict) or metadata.keys() != {METADATA_KEY}:
        raise FormatError("a safetensors file, but not of Sparing: it holds no graph")
    given = metadata[METADATA_KEY]
    if not isinstance(given, str):
        raise FormatError("expected the graph as text")
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
