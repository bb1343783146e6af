"""Weights kept as narrower floats: less to store, computed in float32 all the same.

The graph converts them back by standard operators on constants, which lowering computes once:
`float16` and `bfloat16` by a Cast, `float8_e4m3fn` (Micikevicius et al., 2022, arXiv:2209.05433) as
bytes that index a table of its 256 values, times a scale for each output channel.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import InputError, QuantizationError
from ..fold import simplify
from ..fold_linear import fresh_name
from ..model import Array, Model, Node, Tensor
from .layers import is_layer, matching, pattern_list, recorded, refuse_quantized
from .opset import raise_opset

STORAGE_DTYPES = ("float16", "bfloat16", "float8_e4m3fn")
_FLOAT32, _INT32 = 1, 6  # TensorProto.DataType


def store_floats(model: Model, dtype: str = "float16", ignored: Iterable[str] = ()) -> Model:
    """A new model whose Conv, Gemm and MatMul weights are kept as `dtype`; biases stay float32.

    dtype: "float16", "bfloat16" or "float8_e4m3fn"; the last two need the package ml_dtypes.
    ignored: regular expressions of node names (whole names, BatchNorm folded) that keep float32.
    Raises InputError for arguments that do not fit, ModelError for a quantized model,
    QuantizationError, naming the layer, for weights beyond float16's range.
    """
    if dtype not in STORAGE_DTYPES:
        raise InputError(f"dtype: expected one of {', '.join(STORAGE_DTYPES)}, got {dtype!r}")
    refuse_quantized(model, "store the float model's weights")
    patterns = pattern_list(ignored, "ignored")
    source = simplify(raise_opset(simplify(model)))
    left_out = matching(source, patterns, "ignored")
    layers = [n for n in source.nodes if is_layer(source, n) and n.label not in left_out]
    if not layers:
        raise InputError("expected a layer to store (Conv, Gemm or MatMul), found none")
    weights = dict(source.weights)
    added: dict[str, list[Node]] = {}  # label of a layer -> nodes that restore its weight
    changed: dict[str, Node] = {}
    for node in layers:
        added[node.label] = _restoring(node, weights, dtype)
        restored = added[node.label][-1].outputs[0]
        changed[node.label] = replace(node, inputs=(node.inputs[0], restored, *node.inputs[2:]))
    nodes: list[Node] = []
    for node in source.nodes:
        nodes += [*added.get(node.label, []), changed.get(node.label, node)]
    read = {name for node in nodes for name in node.inputs} | {o.name for o in source.outputs}
    kept = {name: tensor for name, tensor in weights.items() if name in read}
    arguments: dict[str, Any] = {"dtype": dtype, **({"ignored": patterns} if patterns else {})}
    return recorded(source.replace(nodes=tuple(nodes), weights=kept), model, "store", arguments)


def _restoring(node: Node, weights: dict[str, Tensor], dtype: str) -> list[Node]:
    """Nodes whose last output is the weight; what they read is added to `weights`."""
    values = weights[node.inputs[1]].numpy()
    label = f"{node.label}/weight"

    def constant(part: str, array: Array) -> str:
        name = fresh_name(f"{label}/{part}", weights)
        weights[name] = Tensor(array)
        return name

    if dtype != "float8_e4m3fn":
        narrow = constant(dtype, _narrowed(values, dtype, node.label))
        return [Node("Cast", (narrow,), (f"{label}/float",), {"to": _FLOAT32}, f"{label}/cast")]
    axis = 1 if node.op_type == "MatMul" else 0
    codes, scale = _float8(values, axis)
    table = _named("float8_e4m3fn")
    every = np.arange(256, dtype=np.uint8).view(table).astype(np.float32)
    every[~np.isfinite(every)] = 0  # the two NaNs, which no weight becomes
    inputs = constant("codes", codes), constant("table", every), constant("scale", scale)
    return [
        Node("Cast", inputs[:1], (f"{label}/index",), {"to": _INT32}, f"{label}/cast"),
        Node("Gather", (inputs[1], f"{label}/index"), (f"{label}/unit",), {}, f"{label}/gather"),
        Node("Mul", (f"{label}/unit", inputs[2]), (f"{label}/float",), {}, f"{label}/scaled"),
    ]


def _named(dtype: str) -> np.dtype[Any]:
    if dtype == "float16":
        return np.dtype(np.float16)
    try:
        import ml_dtypes
    except ImportError as error:
        raise InputError(f"{dtype} needs the package ml_dtypes: pip install ml_dtypes") from error
    return np.dtype(getattr(ml_dtypes, dtype))


def _narrowed(values: Array, dtype: str, label: str) -> Array:
    with np.errstate(over="ignore"):
        narrow = values.astype(_named(dtype))
    if not np.isfinite(narrow.astype(np.float32)).all():
        largest = float(np.abs(values).max())
        raise QuantizationError(f"{label!r}: weights up to {largest:g} do not fit {dtype}")
    return narrow


def _float8(values: Array, axis: int) -> tuple[Array, Array]:
    """Codes (uint8) and scales, shaped to multiply: the largest weight of a channel becomes 448."""
    table = _named("float8_e4m3fn")
    others = tuple(i for i in range(values.ndim) if i != axis)
    largest = np.abs(values).max(axis=others, keepdims=True)
    scale = np.where(largest > 0, largest / np.float32(448), np.float32(1)).astype(np.float32)
    scale = np.maximum(scale, np.finfo(np.float32).tiny)
    return np.clip(values / scale, -448, 448).astype(table).view(np.uint8), scale
