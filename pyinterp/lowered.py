"""A lowered graph: fused operators, reference operators and views, in the order they run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .kernels.step import ArraySpec
from .model import Array, Node
from .ops.fused_spec import Spec
from .records import record


@record(frozen=True, slots=True)
class View:
    """The same bytes under another shape or type: Reshape, Flatten, Squeeze, Unsqueeze.

    dtype: None keeps the input's; else one of the same size.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None = None


@record(frozen=True, slots=True, eq=False)
class ReferenceOp:
    """An ONNX operator that has no kernel: its reference runs. constants: by input position."""

    node: Node
    opset: int
    constants: Mapping[int, Array]


Work: TypeAlias = Spec | View | ReferenceOp


@record(frozen=True, slots=True, eq=False)
class Operation:
    """One step to be: what to compute, from which values. label: the layer's name in messages."""

    label: str
    work: Work
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@record(frozen=True, slots=True, eq=False)
class Lowered:
    """values: logical (NCHW) shape and element type of each value, inputs included.

    notes: label of a layer -> why it was not lowered to integers.
    constants: outputs of the model that do not depend on its inputs.
    tables: as `Model.tables`, all that the lowering used.
    """

    operations: tuple[Operation, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    values: Mapping[str, ArraySpec]
    constants: Mapping[str, Array] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
