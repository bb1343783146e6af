"""Read ONNX files (https://onnx.ai/onnx/repo-docs/IR.html) into `Model`."""

from __future__ import annotations

import heapq
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FormatError, InputError
from ..model import Attribute, Dimension, Model, Node, Tensor, TensorInfo

if TYPE_CHECKING:
    from onnx import ModelProto

OLDEST_OPSET = 7
METADATA_PREFIX = "sparing."
DEFAULT_DOMAINS = ("", "ai.onnx")
UNKNOWN_DIMENSIONS = ("", "?")  # "?": of Paddle2ONNX, for each of them


def import_onnx() -> Any:
    """The onnx package, or FormatError with the command that installs it."""
    try:
        import onnx
    except ImportError as error:
        raise FormatError(
            "ONNX files need the package onnx: pip install 'sparing[onnx]'"
        ) from error
    return onnx


def read_onnx(source: str | os.PathLike[str] | bytes | ModelProto) -> Model:
    """Read a model of opset 7 or newer from a path, from serialized bytes or from a `ModelProto`.

    Constants become weights, whether initializers (also those that old files list among the graph
    inputs) or Constant nodes; unused ones are dropped. Local functions are expanded and nodes put
    into topological order. Sub-graphs of control flow are dropped, their node stays: running such
    a model reports it as unsupported.
    Raises InputError where the path cannot be read, FormatError where the content is not a model
    that Sparing understands, ModelError where its graph is inconsistent.
    """
    onnx = import_onnx()
    where, folder = "the given model", None
    if isinstance(source, (str, os.PathLike)):
        where, folder = str(source), Path(source).parent
    with _named(where):
        proto = source if isinstance(source, onnx.ModelProto) else _parse(onnx, source)
        if not proto.HasField("graph"):
            raise FormatError("this is not an ONNX model: it holds no graph")
        opset = _opset(onnx, proto)
        if len(proto.functions):
            proto = _inlined(proto)
        return _read_graph(proto, opset, folder)


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Prefix format errors with the file's name, and turn those of decoding into them."""
    try:
        yield
    except FormatError as error:
        raise FormatError(f"{where}: {error}") from error
    except UnicodeDecodeError as error:
        raise FormatError(f"{where}: text that is not UTF-8: {error}") from error


def _parse(onnx: Any, source: str | os.PathLike[str] | bytes) -> Any:
    from google.protobuf.message import DecodeError

    if isinstance(source, bytes):
        data = source
    else:
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise InputError(f"cannot read {str(source)!r}: {error.strerror}") from error
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        raise FormatError(f"this is not an ONNX model, or a damaged one: {error}") from error
    return proto


def _opset(onnx: Any, proto: Any) -> int:
    versions = {entry.version for entry in proto.opset_import if entry.domain in DEFAULT_DOMAINS}
    newest = onnx.defs.onnx_opset_version()
    if len(versions) != 1:
        raise FormatError(
            f"expected one opset version of the default domain, got {sorted(versions) or 'none'}"
        )
    (version,) = versions
    if not OLDEST_OPSET <= version <= newest:
        raise FormatError(
            f"opset {version} is not supported: expected {OLDEST_OPSET} to {newest} "
            f"(the newest that onnx {onnx.__version__} knows)"
        )
    return int(version)


def _inlined(proto: Any) -> Any:
    from onnx.inliner import inline_local_functions

    try:
        return inline_local_functions(proto)
    except Exception as error:  # the C++ inliner documents no exception types
        raise FormatError(f"the model's local functions cannot be expanded: {error}") from error


def _read_graph(proto: Any, opset: int, folder: Path | None) -> Model:
    from .onnx_tensors import sparse_to_array, to_array

    graph = proto.graph
    weights: dict[str, Tensor] = {}

    def add_weight(name: str, tensor: Tensor) -> None:
        if name in weights:
            raise FormatError(f"constant {name!r} is defined twice")
        weights[name] = tensor

    for tensor in graph.initializer:
        add_weight(tensor.name, Tensor(to_array(tensor, folder)))
    for sparse in graph.sparse_initializer:
        add_weight(sparse.values.name, Tensor(sparse_to_array(sparse, folder)))
    nodes = []
    for message in graph.node:
        node = _read_node(message, folder)
        if node.op_type == "Constant" and not node.domain:
            add_weight(node.outputs[0], _constant_value(node))
        else:
            nodes.append(node)

    inputs = tuple(_read_info(info) for info in graph.input if info.name not in weights)
    outputs = tuple(_read_info(info) for info in graph.output)
    used = {name for node in nodes for name in node.inputs} | {info.name for info in outputs}
    used.discard("")  # marks an absent optional input, whatever a constant may be called
    return Model(
        nodes=_sorted_nodes(nodes, {info.name for info in inputs} | weights.keys()),
        inputs=inputs,
        outputs=outputs,
        weights={name: tensor for name, tensor in weights.items() if name in used},
        opset=opset,
        metadata=_read_metadata(proto.metadata_props),
    )


def _read_node(message: Any, folder: Path | None) -> Node:
    attributes: dict[str, Attribute] = {}
    for item in message.attribute:
        if item.name in attributes:
            raise FormatError(f"attribute {item.name!r} of {message.op_type} is given twice")
        value = _read_attribute(item, folder)
        if value is not None:
            attributes[item.name] = value
    return Node(
        op_type=message.op_type,
        inputs=tuple(message.input),
        outputs=tuple(message.output),
        attributes=attributes,
        name=message.name,
        domain="" if message.domain in DEFAULT_DOMAINS else message.domain,
    )


def _read_attribute(item: Any, folder: Path | None) -> Attribute | None:
    """The attribute as Python values; None for sub-graphs, types and unset attributes."""
    from onnx import AttributeProto as Kind

    from .onnx_tensors import sparse_to_array, to_array

    if item.ref_attr_name:
        raise FormatError(f"attribute {item.name!r} refers to a function that does not exist")
    if item.type == Kind.FLOAT:
        return float(item.f)
    if item.type == Kind.INT:
        return int(item.i)
    if item.type == Kind.STRING:
        return str(item.s.decode())
    if item.type == Kind.FLOATS:
        return tuple(float(v) for v in item.floats)
    if item.type == Kind.INTS:
        return tuple(int(v) for v in item.ints)
    if item.type == Kind.STRINGS:
        return tuple(v.decode() for v in item.strings)
    if item.type == Kind.TENSOR:
        return to_array(item.t, folder)
    if item.type == Kind.SPARSE_TENSOR:
        return sparse_to_array(item.sparse_tensor, folder)
    return None


def _constant_value(node: Node) -> Tensor:
    """The value of a Constant node (one of seven attributes holds it)."""
    if len(node.attributes) != 1 or len(node.outputs) != 1:
        raise FormatError(
            f"Constant {node.label!r}: expected one attribute and one output, got "
            f"{sorted(node.attributes)} and {list(node.outputs)}"
        )
    ((key, value),) = node.attributes.items()
    dtypes = {"float": np.float32, "int": np.int64, "string": object}
    if key in ("value", "sparse_value"):
        return Tensor(np.asarray(value))
    kind = key.removeprefix("value_").removesuffix("s")
    if kind not in dtypes:
        raise FormatError(f"Constant {node.label!r}: unknown attribute {key!r}")
    return Tensor(np.array(value, dtype=dtypes[kind]))


def _read_info(info: Any) -> TensorInfo:
    from onnx import helper

    kind = info.type.WhichOneof("value")
    if kind != "tensor_type":
        raise FormatError(f"{info.name!r} must be a tensor, got {kind or 'no type'}")
    tensor = info.type.tensor_type
    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except KeyError as error:
        raise FormatError(f"{info.name!r} has unknown element type {tensor.elem_type}") from error
    shape = None
    if tensor.HasField("shape"):
        shape = tuple(_read_dimension(dim) for dim in tensor.shape.dim)
    return TensorInfo(info.name, dtype, shape)


def _read_dimension(dim: Any) -> Dimension:
    if dim.HasField("dim_value"):
        return int(dim.dim_value) if dim.dim_value >= 0 else None
    return None if dim.dim_param in UNKNOWN_DIMENSIONS else dim.dim_param


def _read_metadata(properties: Iterable[Any]) -> dict[str, Any]:
    """Sparing's own entries, which hold JSON; those of other tools are ignored."""
    metadata = {}
    for entry in properties:
        if entry.key.startswith(METADATA_PREFIX):
            try:
                metadata[entry.key.removeprefix(METADATA_PREFIX)] = json.loads(entry.value)
            except (ValueError, RecursionError) as error:
                raise FormatError(f"metadata {entry.key!r} is not JSON: {error}") from error
    return metadata


def _sorted_nodes(nodes: list[Node], defined: set[str]) -> tuple[Node, ...]:
    """The nodes in topological order: the given order wherever that is one already.

    Names that nothing defines are left to the check of the finished model.
    """
    producer = {name: index for index, node in enumerate(nodes) for name in node.outputs if name}
    consumers: dict[int, list[int]] = {}
    waiting = []
    for index, node in enumerate(nodes):
        sources = {producer[n] for n in node.inputs if n in producer and n not in defined}
        waiting.append(len(sources))
        for source in sources:
            consumers.setdefault(source, []).append(index)
    ready = [index for index, count in enumerate(waiting) if count == 0]
    order = []
    while ready:
        index = heapq.heappop(ready)
        order.append(nodes[index])
        for consumer in consumers.get(index, ()):
            waiting[consumer] -= 1
            if waiting[consumer] == 0:
                heapq.heappush(ready, consumer)
    if len(order) != len(nodes):
        stuck = [node.label for node, count in zip(nodes, waiting, strict=True) if count]
        raise FormatError(f"the graph has a cycle among {stuck[:5]}")
    return tuple(order)
