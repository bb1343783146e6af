"""The JSON document of a `.sparing` file: nodes, inputs, outputs and the tensor table.

Writing turns the parts of a `Model` into JSON values; reading checks every type, range and size
on the way back, since the file may come from anywhere.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping, Set
from itertools import chain
from typing import Any, TypeAlias

import numpy as np

from ..errors import FormatError
from ..model import Array, Attribute, Dimension, Node, TensorInfo
from .container_tensors import DTYPES, NIBBLE_DTYPES, StoredTensor, named_dtype

Json: TypeAlias = Any

MAX_ENTRIES = 100_000  # nodes, tensors, inputs: the largest CNNs have a few thousand
MAX_DEPTH = 64
MAX_RANK = 64  # NumPy's own limit
MAX_ELEMENTS = 1 << 40
INT64 = range(-(1 << 63), 1 << 63)
DIMENSIONS = range(MAX_ELEMENTS + 1)

NODE_KEYS = frozenset({"op", "inputs", "outputs"})
ALL_NODE_KEYS = NODE_KEYS | {"name", "domain", "attributes"}

KIND_ARRAYS = {"dense": 1, "sparse": 2, "dense_s4": 1}


def check_tree(root: Json) -> None:
    """Raise FormatError where JSON values are nested too deep, not finite or not valid text.

    Level by level, so that depth cannot exhaust the stack.
    """
    level, depth = [root], 0
    while level:
        if depth > MAX_DEPTH:
            raise FormatError(f"JSON is nested over {MAX_DEPTH} deep")
        level, depth = _check_level(level), depth + 1


def _check_level(values: list[Json]) -> list[Json]:
    """Check the values that hold no others; what the others hold."""
    below: list[Json] = []
    texts: list[str] = []
    for value in values:
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, dict):
            below += value.keys()
            below += value.values()
        elif isinstance(value, (list, tuple)):
            below += value
        elif isinstance(value, float) and not math.isfinite(value):
            raise FormatError("JSON holds a number that is not finite")
    check_text("".join(texts))
    return below


def check_text(value: str) -> None:
    """Raise FormatError unless it is Unicode, which JSON's escapes may not be."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise FormatError(f"JSON holds text that is not Unicode: {error}") from error


# Writing


def node_to_json(node: Node, store: Callable[[str, Array], Json], index: int) -> Json:
    """`store(name, array)` puts an attribute's tensor into the file and returns its table row."""
    entry: dict[str, Json] = {
        "op": text(node.op_type, "op"),
        "inputs": list(node.inputs),
        "outputs": list(node.outputs),
    }
    if node.name != (node.outputs[0] if node.outputs else ""):  # most nodes need not be named
        entry["name"] = node.name
    if node.domain:
        entry["domain"] = node.domain
    if node.attributes:
        entry["attributes"] = {
            key: {"tensor": store(f"{index}.{key}", value)}
            if isinstance(value, np.ndarray)
            else _attribute_to_json(node, key, value)
            for key, value in node.attributes.items()
        }
    return entry


def _attribute_to_json(node: Node, key: str, value: Attribute) -> Json:
    if isinstance(value, (tuple, list)):
        return [_attribute_to_json(node, key, item) for item in value]
    if isinstance(value, str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        return number if math.isfinite(number) else {"float": str(number)}
    raise FormatError(
        f"attribute {key!r} of {node.op_type} {node.label!r} is a {type(value).__name__}, "
        "which a file cannot hold"
    )


def info_to_json(info: TensorInfo) -> Json:
    if info.dtype.name not in DTYPES:
        raise FormatError(f"{info.name!r} has element type {info.dtype}, which cannot be stored")
    shape = None if info.shape is None else list(info.shape)
    return {"name": text(info.name, "name"), "dtype": info.dtype.name, "shape": shape}


def stored_to_json(stored: StoredTensor) -> Json:
    return {
        "kind": stored.kind,
        "dtype": stored.dtype,
        "shape": list(stored.shape),
        "keys": list(stored.keys),
    }


# Reading


def read_nodes(value: Json, load: Callable[[StoredTensor], Array]) -> list[Node]:
    """`load(row)` reads an attribute's tensor."""
    entries = items(value, "nodes")
    for entry in entries:
        fields(entry, "node", NODE_KEYS, ALL_NODE_KEYS)
    _check_names(entries)
    return [_read_node(entry, load) for entry in entries]


def _check_names(entries: list[Json]) -> None:
    """Raise FormatError unless operators, inputs and outputs are texts; of all nodes at once, which
    takes a fraction of the time."""
    ops = [entry["op"] for entry in entries]
    lists = [entry[key] for key in ("inputs", "outputs") for entry in entries]
    if {*map(type, lists)} <= {list} and {*map(type, chain(ops, *lists))} <= {str} and all(ops):
        return
    for entry in entries:  # one of them says what is wrong
        op = text(entry["op"], "op")
        for names in (entry["inputs"], entry["outputs"]):
            for name in items(names, f"node {op!r}"):
                _string(name, f"node {op!r}")


def _read_node(entry: Json, load: Callable[[StoredTensor], Array]) -> Node:
    op, outputs = entry["op"], tuple(entry["outputs"])
    attributes: dict[str, Attribute] = {}
    if "attributes" in entry:
        given = entry["attributes"]
        if not isinstance(given, dict):
            raise FormatError(f"node {op!r}: expected attributes by name, got {_kind(given)}")
        attributes = {key: _read_attribute(item, op, key, load) for key, item in given.items()}
    return Node(
        op,
        tuple(entry["inputs"]),
        outputs,
        attributes,
        _string(entry["name"], op) if "name" in entry else outputs[0] if outputs else "",
        _string(entry["domain"], op) if "domain" in entry else "",
    )


def _all_are(kind: type, values: list[Json]) -> bool:
    return [*map(type, values)].count(kind) == len(values)


def _read_attribute(
    value: Json, op: str, key: str, load: Callable[[StoredTensor], Array]
) -> Attribute:
    if type(value) is int and value in INT64:
        return value
    ints = type(value) is list and value and _all_are(int, value)
    if ints and min(value) in INT64 and max(value) in INT64:
        return tuple(value)
    where = f"node {op!r}, attribute {key!r}"
    if isinstance(value, list):
        scalars = [_read_scalar(item, where) for item in value]
        if len(set(map(type, scalars))) > 1:
            raise FormatError(f"{where}: expected a list of one type, got several")
        return tuple(scalars)  # type: ignore[return-value]  # of one type, as just checked
    if isinstance(value, dict) and value.keys() == {"tensor"}:
        return load(read_stored(value["tensor"], where))
    return _read_scalar(value, where)


def _read_scalar(value: Json, where: str) -> int | float | str:
    if type(value) is int and value in INT64:
        return value
    if isinstance(value, dict) and value.keys() == {"float"}:
        if value["float"] not in ("inf", "-inf", "nan"):
            raise FormatError(f"{where}: expected inf, -inf or nan")
        return float(value["float"])
    if isinstance(value, (str, float)):
        return value
    return integer(value, where, INT64)


def read_info(value: Json, where: str) -> TensorInfo:
    entry = fields(value, where, {"name", "dtype", "shape"})
    name = text(entry["name"], where)
    shape = entry["shape"]
    return TensorInfo(
        name,
        named_dtype(check_dtype(entry["dtype"], name)),
        None if shape is None else tuple(_read_dimension(d, name) for d in items(shape, name)),
    )


def _read_dimension(value: Json, where: str) -> Dimension:
    if value is None or isinstance(value, str):
        return value
    return integer(value, where, DIMENSIONS)


def read_stored(value: Json, where: str) -> StoredTensor:
    """A row of the tensor table, its shape within limits."""
    entry = fields(value, where, {"kind", "dtype", "shape", "keys"})
    dtype = check_dtype(entry["dtype"], where)
    kind = entry["kind"]
    kinds: tuple[str, ...] = ("dense_s4",) if dtype in NIBBLE_DTYPES else ("dense", "sparse")
    if dtype == "int8":
        kinds = (*kinds, "dense_s4")
    if kind not in kinds:
        raise FormatError(f"{where}: expected kind {' or '.join(kinds)} for {dtype}")
    shape = read_shape(entry["shape"], where)
    keys = tuple(text(key, where) for key in items(entry["keys"], where))
    if len(keys) != KIND_ARRAYS[kind]:
        raise FormatError(f"{where}: {kind} takes {KIND_ARRAYS[kind]} arrays, got {len(keys)}")
    return StoredTensor(kind, dtype, shape, keys)


def read_shape(value: Json, where: str) -> tuple[int, ...]:
    """A tensor's shape, within limits."""
    dims = items(value, where, MAX_RANK)
    product = 1
    for dim in dims:
        if type(dim) is not int or dim < 0:
            integer(dim, where, DIMENSIONS)
        product *= dim or 1
    if product > MAX_ELEMENTS:
        raise FormatError(f"{where}: shape {dims} is over {MAX_ELEMENTS} elements")
    return tuple(dims)


def check_dtype(value: Json, where: str) -> str:
    if not isinstance(value, str) or value not in DTYPES:
        raise FormatError(
            f"{where}: expected an element type of {sorted(DTYPES)}, got {value!r:.40}"
        )
    return value


def fields(
    value: Json, where: str, required: Set[str], allowed: Set[str] | None = None
) -> Mapping[str, Json]:
    """An object with the required keys, and no others than the allowed ones (None: no others)."""
    if not isinstance(value, dict):
        raise FormatError(f"{where}: expected an object, got {_kind(value)}")
    allowed = required if allowed is None else allowed
    if not required <= value.keys() <= allowed:
        missing = required - value.keys()
        unknown = value.keys() - allowed
        raise FormatError(
            f"{where}: missing keys {sorted(missing)}, unknown keys {sorted(unknown)[:5]}"
        )
    return value


def items(value: Json, where: str, limit: int = MAX_ENTRIES) -> list[Json]:
    if not isinstance(value, list):
        raise FormatError(f"{where}: expected a list, got {_kind(value)}")
    if len(value) > limit:
        raise FormatError(f"{where}: {len(value)} entries, over the limit of {limit}")
    return value


def text(value: Json, where: str) -> str:
    if type(value) is str and value:
        return value
    if not _string(value, where):
        raise FormatError(f"{where}: expected a name, got empty text")
    return str(value)


def _string(value: Json, where: str) -> str:
    if not isinstance(value, str):
        raise FormatError(f"{where}: expected text, got {_kind(value)}")
    return value


def integer(value: Json, where: str, allowed: range) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value not in allowed:
        raise FormatError(
            f"{where}: expected an integer from {allowed.start} to {allowed.stop - 1}, "
            f"got {value!r:.40}"
        )
    return value


def _kind(value: Json) -> str:
    return "nothing" if value is None else type(value).__name__
