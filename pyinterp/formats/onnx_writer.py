"""Write `Model` as standard ONNX: what other runtimes read, QDQ for quantized models."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError
from ..model import Attribute, Model, Node, TensorInfo
from .atomic import write_atomically
from .onnx_reader import METADATA_PREFIX, import_onnx

# IR 4 is the oldest in which initializers need not be graph inputs too.
OLDEST_IR = 4
PROTOBUF_LIMIT = (1 << 31) - 1


def write_onnx(model: Model, path: str | os.PathLike[str]) -> None:
    """Write the graph as it stands to `path`, replacing it as a whole.

    The same model gives the same bytes. Weights are written dense, `metadata` as JSON under
    "sparing." keys. The oldest IR version that the opset allows is chosen, for older runtimes.
    Raises FormatError where ONNX cannot hold the model (over 2 GiB, an operator or attribute that
    its opset does not know), InputError where the file cannot be written.
    """
    onnx = import_onnx()
    size = sum(tensor.numpy().nbytes for tensor in model.weights.values())
    if size >= PROTOBUF_LIMIT:
        raise FormatError(f"{path}: weights of {size} bytes; one ONNX file holds less than 2 GiB")
    try:
        proto = to_proto(model)
        if any(info.shape is None for info in model.outputs):
            _infer_output_shapes(onnx, proto)
        onnx.checker.check_model(proto, full_check=True)
        data = proto.SerializeToString(deterministic=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise FormatError(f"{path}: not valid as ONNX opset {model.opset}: {error}") from error
    except (ValueError, TypeError) as error:
        raise FormatError(f"{path}: cannot be written as ONNX: {error}") from error
    write_atomically(Path(path), data)


def to_proto(model: Model) -> Any:
    """The model as an unchecked `onnx.ModelProto`."""
    from onnx import helper, numpy_helper

    domains = sorted({node.domain for node in model.nodes} - {""})
    imports = [helper.make_opsetid("", model.opset)]
    imports += [helper.make_opsetid(domain, 1) for domain in domains]
    oldest = helper.find_min_ir_version_for(imports[:1])
    graph = helper.make_graph(
        nodes=[
            _node(node, name, model.opset)
            for node, name in zip(model.nodes, _node_names(model.nodes), strict=True)
        ],
        name="sparing",
        inputs=[_info(info) for info in model.inputs],
        outputs=[_info(info) for info in model.outputs],
        initializer=[
            numpy_helper.from_array(tensor.numpy(), name) for name, tensor in model.weights.items()
        ],
    )
    proto = helper.make_model(
        graph,
        producer_name="sparing",
        opset_imports=imports,
        ir_version=max(OLDEST_IR, oldest),
    )
    for key in sorted(model.metadata):
        value = json.dumps(model.metadata[key], sort_keys=True, ensure_ascii=False, allow_nan=False)
        proto.metadata_props.add(key=METADATA_PREFIX + key, value=value)
    return proto


def _infer_output_shapes(onnx: Any, proto: Any) -> None:
    """Fill in what the operators tell: ONNX wants the rank of every graph output."""
    inferred = onnx.shape_inference.infer_shapes(proto)
    for output, known in zip(proto.graph.output, inferred.graph.output, strict=True):
        output.CopyFrom(known)


def _node_names(nodes: Sequence[Node]) -> list[str]:
    """The nodes' names, with a number where one occurs again: onnxruntime refuses equal ones."""
    taken = {node.name for node in nodes}
    seen: set[str] = set()
    names = []
    for node in nodes:
        name = node.name
        if name and name in seen:
            name = next(n for i in count(1) if (n := f"{node.name}_{i}") not in taken)
            taken.add(name)
        seen.add(name)
        names.append(name)
    return names


def _node(node: Node, name: str, opset: int) -> Any:
    from onnx import helper

    message = helper.make_node(
        node.op_type, node.inputs, node.outputs, name=name or None, domain=node.domain or None
    )
    for key in sorted(node.attributes):
        message.attribute.append(_attribute(node, key, opset))
    return message


def _attribute(node: Node, key: str, opset: int) -> Any:
    from onnx import defs, helper, numpy_helper

    value: Attribute = node.attributes[key]
    if isinstance(value, np.ndarray):
        return helper.make_attribute(key, numpy_helper.from_array(value))
    kind = None
    if value == ():  # only the operator's schema knows the type of an empty list
        try:
            kind = defs.get_schema(node.op_type, opset, node.domain).attributes[key].type.value
        except (defs.SchemaError, KeyError) as error:
            raise FormatError(
                f"{node.op_type} {node.label!r}: the type of the empty attribute {key!r} is unknown"
            ) from error
    return helper.make_attribute(key, value, attr_type=kind)


def _info(info: TensorInfo) -> Any:
    from onnx import helper

    element_type = helper.np_dtype_to_tensor_dtype(info.dtype)
    return helper.make_tensor_value_info(info.name, element_type, info.shape)
