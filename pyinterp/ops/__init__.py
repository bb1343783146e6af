"""The reference meaning of every operator, in NumPy alone.

`run` computes one node; `check_supported` refuses a model with unknown operators before anything
runs. The reference of the fused integer operators is in `fused.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ModelError, UnsupportedOperatorError
from . import (  # noqa: F401  (importing a module enters its operators into the table)
    activation,
    arithmetic,
    batch_normalization,
    cast,
    compare,
    constant,
    conv,
    conv_transpose,
    dropout,
    elementwise,
    gemm,
    join,
    matmul,
    normalization,
    pad,
    pool,
    qlinear,
    quantize_linear,
    reduce,
    reshape,
    resize,
    search,
    softmax,
)
from .registry import TABLE, Array

if TYPE_CHECKING:
    from ..model import Model, Node

DEFAULT_DOMAINS = ("", "ai.onnx")


def supported() -> list[str]:
    """Names of all operators that have a reference, sorted."""
    return sorted(TABLE)


def check_supported(model: Model) -> None:
    """Raise one UnsupportedOperatorError that lists every operator without a reference."""
    found = [
        node.op_type if node.domain in DEFAULT_DOMAINS else f"{node.domain}.{node.op_type}"
        for node in model.nodes
        if node.domain not in DEFAULT_DOMAINS or node.op_type not in TABLE
    ]
    if found:
        unknown = Counter(found)
        names = ", ".join(f"{name} (x{count})" for name, count in sorted(unknown.items()))
        raise UnsupportedOperatorError(f"{len(unknown)} unsupported operators: {names}")


def run(node: Node, arguments: Sequence[Array | None], opset: int) -> tuple[Array, ...]:
    """The node's outputs, in order; those not asked for may be missing.

    arguments: one array an input, None for absent optional ones. opset: version of the default
    domain. Raises UnsupportedOperatorError for an unknown operator, ModelError for inputs or
    attributes that do not fit it.
    """
    if node.domain not in DEFAULT_DOMAINS or node.op_type not in TABLE:
        raise UnsupportedOperatorError(f"operator {node.domain}.{node.op_type} is not supported")
    entry = TABLE[node.op_type]
    positional, keywords = entry.bind(arguments, node.attributes)
    if "opset" in entry.context:
        keywords["opset"] = opset
    if "outputs" in entry.context:
        keywords["outputs"] = len(node.outputs)
    try:
        with np.errstate(all="ignore"):  # IEEE results (inf, NaN, wrapped integers) are meant
            result = entry.function(*positional, **keywords)
    except (ArithmeticError, IndexError, MemoryError, TypeError, ValueError) as error:
        # What the operator's own checks let through: shapes and types that NumPy refuses.
        shapes = ", ".join("none" if a is None else f"{a.dtype}{list(a.shape)}" for a in arguments)
        raise ModelError(f"inputs {shapes} do not fit: {error}") from error
    results = result if isinstance(result, tuple) else (result,)
    return tuple(np.asarray(one) for one in results)  # NumPy makes scalars of 0-d arrays
