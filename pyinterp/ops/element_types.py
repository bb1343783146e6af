"""ONNX element types as NumPy dtypes, and the arithmetic width of the narrow ones.

bfloat16, int4 and uint4 are no NumPy types: the package ml_dtypes defines them, and onnx, which is
where such tensors come from, depends on it. It is imported when such a type is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import ModelError
from .registry import Array

# codes of TensorProto.DataType
_NUMPY_TYPES: Mapping[int, str] = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    14: "complex64",
    15: "complex128",
}
_ML_TYPES: Mapping[int, str] = {16: "bfloat16", 21: "uint4", 22: "int4"}
_RANGES: Mapping[str, tuple[int, int]] = {"uint4": (0, 15), "int4": (-8, 7)}


def dtype_of(code: int) -> np.dtype[Any]:
    """The dtype of a TensorProto.DataType code; ModelError for types that have none here."""
    if code in _NUMPY_TYPES:
        return np.dtype(_NUMPY_TYPES[code])
    if code not in _ML_TYPES:
        raise ModelError(f"element type {code} is not supported")
    try:
        import ml_dtypes
    except ImportError:
        raise ModelError(
            f"element type {_ML_TYPES[code]} needs the package ml_dtypes (it comes with onnx)"
        ) from None
    return np.dtype(getattr(ml_dtypes, _ML_TYPES[code]))


def require_supported(dtype: np.dtype[Any]) -> None:
    """ModelError for element types without a place here: strings, float8, float4, 2-bit."""
    if dtype.name not in {*_NUMPY_TYPES.values(), *_ML_TYPES.values()}:
        raise ModelError(f"element type {dtype} is not supported")


def is_float(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "f" or dtype.name == "bfloat16"


def is_integer(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iu" or dtype.name in _RANGES


def integer_range(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Smallest and largest value of an integer type."""
    if dtype.name in _RANGES:
        return _RANGES[dtype.name]
    if dtype.kind not in "iu":
        raise ModelError(f"expected an integer type, got {dtype}")
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def widened(x: Array) -> Array:
    """float16 and bfloat16 as float32, in which they are computed; others as they are."""
    if is_float(x.dtype) and x.dtype.itemsize < 4:
        return x.astype(np.float32)
    return x
