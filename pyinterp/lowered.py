"""A lowered graph: fused operators, reference operators and views, in the order they run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .errors import QuantizationError
from .kernels.step import ArraySpec
from .kernels.sums import count_weights, extremes, reach
from .model import Array, Node
from .ops.fused_spec import ConvS8, GemmS8, Spec


@dataclass(frozen=True, slots=True)
class View:
    """The same bytes under another shape or type: Reshape, Flatten, Squeeze, Unsqueeze.

    dtype: None keeps the input's; else one of the same size.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceOp:
    """An ONNX operator that has no kernel: its reference runs. constants: by input position."""

    node: Node
    opset: int
    constants: Mapping[int, Array]


Work: TypeAlias = Spec | View | ReferenceOp


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One step to be: what to compute, from which values. label: the layer's name in messages."""

    label: str
    work: Work
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
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


def check_accumulator(spec: ConvS8 | GemmS8, x_lo: int, x_hi: int, label: str) -> None:
    """Refuse weights whose exact sum could leave int32 for some input in [x_lo, x_hi].

    This is the only condition that refuses a model: every backend refuses the same ones.
    Raises QuantizationError naming the layer and the channel.
    """
    low, high = x_lo - spec.x_zero_point, x_hi - spec.x_zero_point
    counts = count_weights(spec.weight)
    furthest = max(abs(low), abs(high)) * (counts.most - counts.least)
    if furthest + max(map(abs, extremes(spec.bias))) < 2**31:
        return  # nearly always, and quicker to find than what each channel can reach
    least, most = reach(spec.weight, low, high)
    bias = spec.bias.astype(np.int64)
    smallest, largest = bias + least, bias + most
    bad = ((largest > 2**31 - 1) | (smallest < -(2**31))).nonzero()[0]
    if bad.size:
        channel = int(bad[0])
        raise QuantizationError(
            f"{label!r}, output channel {channel}: its sum can reach "
            f"{int(smallest[channel])}..{int(largest[channel])}, beyond int32"
        )
