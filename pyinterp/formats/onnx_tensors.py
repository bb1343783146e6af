"""ONNX tensor messages as arrays: embedded, external and sparse."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper

from ..errors import FormatError
from ..model import Array

# A sparse initializer of a few bytes can declare any dense shape; this bounds what it may cost.
MAX_SPARSE_ELEMENTS = 1 << 28


def to_array(tensor: Any, folder: Path | None) -> Array:
    """The values of a `TensorProto`, in native byte order.

    folder: where the model file lies; external data is read from inside it and nowhere else.
    4-bit and bfloat16 elements come as the dtypes of `ml_dtypes`, strings as objects.
    Raises FormatError where the message is inconsistent or its external data is out of bounds.
    """
    if any(dim < 0 for dim in tensor.dims):
        raise FormatError(f"tensor {tensor.name!r} has a negative dimension: {list(tensor.dims)}")
    if tensor.data_location == TensorProto.EXTERNAL:
        tensor = _with_external_data(tensor, folder)
    try:
        array: Array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise FormatError(
            f"tensor {tensor.name!r} of shape {list(tensor.dims)} and element type "
            f"{tensor.data_type} does not hold its values: {error}"
        ) from error
    if array.dtype == object:  # strings arrive as bytes or str, depending on the release of onnx
        texts = [t.decode() if isinstance(t, bytes) else str(t) for t in array.reshape(-1)]
        array = np.array(texts, dtype=object).reshape(array.shape)
    return array


def sparse_to_array(sparse: Any, folder: Path | None) -> Array:
    """The dense form of a `SparseTensorProto` (indices either linear or one row per element)."""
    name, shape = sparse.values.name, tuple(sparse.dims)
    if any(dim < 0 for dim in shape) or math.prod(shape) > MAX_SPARSE_ELEMENTS:
        raise FormatError(
            f"sparse tensor {name!r} of shape {shape} is over {MAX_SPARSE_ELEMENTS} elements"
        )
    values = to_array(sparse.values, folder)
    indices = to_array(sparse.indices, folder)
    limits = shape if indices.ndim == 2 else (math.prod(shape),)
    rows = indices if indices.ndim == 2 else indices.reshape(-1, 1)
    if rows.shape != (values.size, len(limits)) or rows.dtype != np.int64:
        raise FormatError(
            f"sparse tensor {name!r} has {indices.shape} indices for {values.size} values"
        )
    if rows.size and ((rows < 0).any() or (rows >= np.array(limits)).any()):
        raise FormatError(f"sparse tensor {name!r} has indices outside its shape {shape}")
    dense = np.zeros(math.prod(shape), values.dtype)
    linear = np.ravel_multi_index(tuple(rows.T), limits) if len(limits) > 1 else rows[:, 0]
    dense[linear] = values.reshape(-1)
    return dense.reshape(shape)


def _with_external_data(tensor: Any, folder: Path | None) -> Any:
    """A copy of the message with its external bytes embedded."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if folder is None:
        raise FormatError(
            f"tensor {tensor.name!r} lies in the external file {location!r}, which only a model "
            "read from a path can find"
        )
    root = folder.resolve()
    path = (root / location).resolve()  # follows links, so that these cannot lead out either
    if not location or not path.is_relative_to(root):
        raise FormatError(f"tensor {tensor.name!r}: {location!r} leads out of the model's folder")
    if not path.is_file():
        raise FormatError(f"tensor {tensor.name!r}: external file {str(path)!r} does not exist")
    size = path.stat().st_size
    try:
        offset = int(entries.get("offset", "0"))
        length = int(entries.get("length", str(size - offset)))
    except ValueError as error:
        raise FormatError(f"tensor {tensor.name!r}: bad external data entry: {error}") from error
    if offset < 0 or length < 0 or offset + length > size:
        raise FormatError(
            f"tensor {tensor.name!r} wants bytes {offset} to {offset + length} of {str(path)!r}, "
            f"which has {size}"
        )
    embedded = TensorProto()
    embedded.CopyFrom(tensor)
    embedded.data_location = TensorProto.DEFAULT
    del embedded.external_data[:]
    with path.open("rb") as file:
        file.seek(offset)
        embedded.raw_data = file.read(length)
    return embedded
