"""What quantization and pruning share: which nodes are layers, and how arguments select them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from ..errors import InputError, ModelError
from ..fold_linear import fresh_name
from ..model import Array, Model, Node, SparseTensor, Tensor

LayerSettings = Mapping[str, Mapping[str, Any]]

_NORMAL_GEMM = {"transA": 0, "transB": 1, "alpha": 1.0, "beta": 1.0}
_QUANTIZED = {
    *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"),
    *("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"),
}


def is_layer(model: Model, node: Node) -> bool:
    """Conv, Gemm or MatMul with constant float32 weights, and a constant bias if it has one.

    MatMul counts with a matrix only, Gemm in the form that `fold.normalize_gemm` makes.
    """
    if node.domain or node.op_type not in ("Conv", "Gemm", "MatMul"):
        return False
    constants = [model.weights.get(name) for name in node.inputs[1:] if name]
    if any(tensor is None or tensor.dtype != np.float32 for tensor in constants):
        return False
    if node.inputs[0] in model.weights:
        return False
    if node.op_type == "MatMul":
        return len(model.weights[node.inputs[1]].shape) == 2
    if node.op_type == "Gemm":
        scales = [node.attributes.get(key, default) for key, default in _NORMAL_GEMM.items()]
        return scales == list(_NORMAL_GEMM.values())
    return True


def with_bias(model: Model, labels: Set[str]) -> Model:
    """The model whose named layers all have a bias, zeros where there was none; MatMul has none."""
    weights, changed = dict(model.weights), {}
    for node in model.nodes:
        if node.label in labels and node.op_type != "MatMul" and not any(node.inputs[2:]):
            name = fresh_name(f"{node.label}/bias", weights)
            outputs = weights[node.inputs[1]].shape[0]
            weights[name] = Tensor(np.zeros(outputs, np.float32))
            changed[node.label] = replace(node, inputs=(*node.inputs[:2], name))
    nodes = tuple(changed.get(node.label, node) for node in model.nodes)
    return model.replace(nodes=nodes, weights=weights)


def refuse_quantized(model: Model, wanted: str) -> None:
    """Raise ModelError where the model is quantized already; `wanted` says what to do instead."""
    for node in model.nodes:
        if node.op_type in _QUANTIZED:
            raise ModelError(
                f"expected a float model, got a quantized one ({node.op_type} {node.label!r}): "
                f"{wanted}"
            )


def pattern_list(patterns: Iterable[str], argument: str) -> list[str]:
    """The expressions as a list; InputError for anything but a sequence of texts."""
    if isinstance(patterns, Iterable) and not isinstance(patterns, str):
        listed = list(patterns)
        if all(isinstance(pattern, str) for pattern in listed):
            return listed
    raise InputError(f"{argument}: expected a list of regular expressions, got {patterns!r}")


def matching(model: Model, patterns: Iterable[str], argument: str) -> set[str]:
    """Labels of the nodes that one of the regular expressions matches as a whole.

    Raises InputError for an invalid expression and for one that matches nothing.
    """
    labels = [node.label for node in model.nodes]
    found: set[str] = set()
    for pattern in patterns:
        try:
            expression = re.compile(pattern)
        except re.error as error:
            raise InputError(f"{argument}: {pattern!r} is no regular expression: {error}") from None
        hits = [label for label in labels if expression.fullmatch(label)]
        if not hits:
            raise InputError(
                f"{argument}: {pattern!r} matches no node; there are {', '.join(labels[:8])}"
                f"{', ...' if len(labels) > 8 else ''} (after BatchNorm is folded)"
            )
        found.update(hits)
    return found


def layer_settings(
    model: Model, layers: LayerSettings | None, known: Iterable[str]
) -> dict[str, dict[str, Any]]:
    """Label of a node -> the settings given for it; where several match, later ones win.

    known: the settings there are, besides "ignored". Raises InputError for others.
    """
    settings: dict[str, dict[str, Any]] = {}
    allowed = {*known, "ignored"}
    for pattern, given in (layers or {}).items():
        if not isinstance(given, Mapping):
            raise InputError(f"layers {pattern!r}: expected settings by name, got {given!r}")
        unknown = sorted(given.keys() - allowed)
        if unknown:
            raise InputError(
                f"layers {pattern!r}: unknown {unknown}, expected some of {sorted(allowed)}"
            )
        if not isinstance(given.get("ignored", False), bool):
            raise InputError(f"layers {pattern!r}: ignored: expected true or false")
        for label in matching(model, [pattern], "layers"):
            settings.setdefault(label, {}).update(given)
    return settings


def stored(array: Array) -> Tensor:
    """The array in the smaller of the forms that weights are kept in."""
    sparse = SparseTensor.from_dense(array)
    return sparse if sparse.nbytes < array.nbytes else Tensor(array)


def recorded(model: Model, source: Model, step: str, arguments: Mapping[str, Any]) -> Model:
    """The model with `arguments` of a step in its recipe, and where it came from.

    Provenance is the package's version and a SHA-256 of the weights that the first step was given:
    nothing that differs between two runs of one recipe.
    """
    metadata = dict(source.metadata)
    metadata["recipe"] = {**metadata.get("recipe", {}), step: dict(arguments)}
    origin = metadata.get("provenance", {}).get("source") or weights_digest(source)
    metadata["provenance"] = {"sparing": _version(), "source": origin}
    return model.replace(metadata=metadata)


def _version() -> str:
    try:
        return version("sparing")
    except PackageNotFoundError:  # imported from a source tree that was never installed
        return "source tree"


def weights_digest(model: Model) -> str:
    """SHA-256 of names, types, shapes and values of the weights, independent of their storage."""
    digest = hashlib.sha256()
    for name in sorted(model.weights):
        array = model.weights[name].numpy()
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
