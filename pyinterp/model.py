"""A model: a graph of ONNX operators plus its weights, whatever their storage.

Models are values: nothing here is changed in place, and every function that transforms a model
returns a new one. Weights are `Tensor`s: the form in which they are stored (dense, or as bit mask
plus non-zero values), decoded by `numpy()` when an operator needs them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .errors import ModelError
from .kernels.bits import count_bits, expand
from .records import record

Array: TypeAlias = npt.NDArray[Any]
# ints, floats, strings, tuples of these, and constant tensors: what ONNX attributes hold
Attribute: TypeAlias = (
    int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | Array
)
Dimension: TypeAlias = int | str | None  # None: unknown; str: symbolic


class Tensor:
    """A dense constant. The base of the other storage kinds, which decode on demand."""

    __slots__ = ("_array", "dtype", "shape")

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def __init__(self, array: Array) -> None:
        array = np.asarray(array)
        if not isinstance(array.base, bytes):  # which nobody can write to
            array = array.view()
            array.flags.writeable = False
        self._array, self.dtype, self.shape = array, array.dtype, array.shape

    @property
    def nbytes(self) -> int:
        """Bytes this tensor occupies in the form it is kept in."""
        return self._array.nbytes

    def numpy(self) -> Array:
        """The values as a read-only dense array."""
        return self._array


class SparseTensor(Tensor):
    """A constant stored as a bit mask (C order, most significant bit first) plus its non-zeros."""

    __slots__ = ("_mask", "_values")

    def __init__(self, mask: npt.NDArray[np.uint8], values: Array, shape: tuple[int, ...]) -> None:
        """mask: uint8 [ceil(size / 8)]; values: [nnz], in the order of the mask's set bits.

        Raises ModelError where the three do not fit together.
        """
        size = math.prod(shape)
        if mask.dtype != np.uint8 or mask.shape != ((size + 7) // 8,):
            raise ModelError(f"mask of {mask.shape} {mask.dtype} does not fit a tensor of {shape}")
        set_bits = count_bits(mask)
        after_last = size % 8 and mask[-1] & (0xFF >> size % 8)
        if after_last or values.shape != (set_bits,):
            raise ModelError(
                f"mask with {set_bits} bits does not fit {values.shape} values of {shape}"
            )
        self._mask, self._values = mask, values
        self.dtype, self.shape = values.dtype, tuple(shape)

    @classmethod
    def from_dense(cls, array: Array) -> SparseTensor:
        flat = np.ascontiguousarray(array).reshape(-1)
        set_bits = flat.view(f"u{flat.itemsize}") != 0  # as bits, so that -0.0 survives
        return cls(np.packbits(set_bits), flat[set_bits], array.shape)

    @property
    def mask(self) -> npt.NDArray[np.uint8]:
        return self._mask

    @property
    def values(self) -> Array:
        return self._values

    @property
    def nbytes(self) -> int:
        return self._mask.nbytes + self._values.nbytes

    def numpy(self) -> Array:
        dense = expand(self._mask, self._values, math.prod(self.shape)).reshape(self.shape)
        dense.flags.writeable = False
        return dense


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Name, element type and shape of a model input or output.

    A dimension is an int, a symbol's name, or None where nothing is known; shape is None where not
    even the rank is.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[Dimension, ...] | None

    def __str__(self) -> str:
        dims = (
            "?"
            if self.shape is None
            else ", ".join("?" if d is None else str(d) for d in self.shape)
        )
        return f"{self.name}: {self.dtype}[{dims}]"


@record(frozen=True, slots=True)
class Node:
    """One operator. Absent optional inputs and outputs are empty strings, as in ONNX."""

    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    name: str = ""
    domain: str = ""

    @property
    def label(self) -> str:
        """What messages call this node: its name, or its first output where it has none."""
        return self.name or (self.outputs[0] if self.outputs else self.op_type)


@dataclass(frozen=True, slots=True)
class Model:
    """A graph in topological order, with its weights.

    opset: version of the default ONNX domain. metadata: JSON-able; the keys in use are
    "preprocessing" (size, mean, std, channels, layout), "labels", "recipe" and "provenance".
    tables: output of a QuantizeLinear -> the table (uint8 [256]) that computes it from the
    quantized value before it, where that is a non-linear function (`lower_functions`). Kept,
    since another CPU's exp could round another way.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    weights: Mapping[str, Tensor]
    opset: int = 21
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, npt.NDArray[np.uint8]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_graph(self)

    def replace(self, **changes: Any) -> Model:
        """A copy with some fields changed; checked like a new model."""
        return replace(self, **changes)

    def producers(self) -> dict[str, Node]:
        """Value name -> the node that computes it."""
        return {out: node for node in self.nodes for out in node.outputs if out}

    def consumers(self) -> dict[str, list[Node]]:
        """Value name -> the nodes that read it (once per node), in graph order."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                if name:
                    found.setdefault(name, []).append(node)
        return found

    def has(self, operators: Set[str]) -> bool:
        """Whether a node is one of these operators, of any domain: where none is, rewrites of them
        need not look at every node."""
        return not operators.isdisjoint([node.op_type for node in self.nodes])

    def constants(self, node: Node) -> Iterator[tuple[int, Tensor]]:
        """Positions and tensors of the node's inputs that are weights."""
        return ((i, self.weights[n]) for i, n in enumerate(node.inputs) if n in self.weights)


def check_graph(model: Model) -> None:
    """Raise ModelError unless every value is defined once, before its uses, and outputs exist.

    A cycle shows as a use before the definition, since nodes stand in topological order.
    """
    defined = set(model.weights)
    for info in model.inputs:
        if info.name in defined:
            raise ModelError(f"input {info.name!r} is defined twice")
        defined.add(info.name)
    for node in model.nodes:
        for name in node.inputs:
            if name and name not in defined:
                raise ModelError(
                    f"{node.op_type} {node.label!r} reads {name!r}, not defined before it"
                )
        for name in node.outputs:
            if name and name in defined:
                raise ModelError(f"{node.op_type} {node.label!r} defines {name!r} a second time")
            defined.add(name)
    for info in model.outputs:
        if info.name not in defined:
            raise ModelError(f"output {info.name!r} is computed by no node")
