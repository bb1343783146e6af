"""Model files: ONNX in and out, and Sparing's own container (`.sparing`)."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import InputError
from ..model import Model

SUFFIXES = (".sparing", ".onnx")


def load(path: str | os.PathLike[str]) -> Model:
    """Read a model from an ONNX or a `.sparing` file; the content decides which of them it is.

    Raises InputError where the file cannot be read, FormatError where it is neither or damaged,
    ModelError where the graph of an ONNX file is inconsistent.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(f"expected the path of a model, got {type(path).__name__}")
    if _is_container(os.fspath(path)):
        from .container import load_container

        return load_container(path)
    from .onnx_reader import read_onnx

    return read_onnx(path)


def save(model: Model, path: str | os.PathLike[str]) -> None:
    """Write a model; the suffix of `path` decides whether as `.sparing` or as `.onnx` (QDQ).

    The file is replaced as a whole, and the same model gives the same bytes. Raises InputError for
    any other suffix or where the file cannot be written, FormatError where the format cannot hold
    the model.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".sparing":
        from .container import save_container

        save_container(model, path)
    elif suffix == ".onnx":
        from .onnx_writer import write_onnx

        write_onnx(model, path)
    else:
        raise InputError(
            f"cannot save as {str(path)!r}: expected the suffix {' or '.join(SUFFIXES)}"
        )


def _is_container(path: str) -> bool:
    """A safetensors file starts with the length of its header, which starts with a brace.

    Files too damaged to tell are taken for what their suffix says.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            start = file.read(9)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise InputError(f"cannot read {path!r}: {error.strerror}") from error
    looks_right = start[8:] == b"{" and int.from_bytes(start[:8], "little") <= size
    return looks_right or path.lower().endswith(".sparing")
