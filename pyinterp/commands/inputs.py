"""Reading data for a model: how many images go into one batch, and which labels name classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import InputError
from ..image_data import Images, images
from ..model import Model

BATCH = 8


def open_images(
    source: str, model: Model, options: dict[str, Any] | None = None, part: str = ""
) -> Images:
    """`sparing.images` for a model, in batches that it takes."""
    if len(model.inputs) != 1:
        names = [info.name for info in model.inputs]
        raise InputError(f"expected a model with one input, got one with {names}")
    shape = model.inputs[0].shape
    fixed = shape[0] if shape else None
    batch = fixed if isinstance(fixed, int) else BATCH
    return images(source, model=model, batch=batch, part=part, **(options or {}))


def class_names(model: Model, file: str | None) -> list[str]:
    """Names of the classes, from a file with one a line, else from the model; may be empty."""
    if file is None:
        return [str(name) for name in model.metadata.get("labels") or []]
    try:
        text = Path(file).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: expected one class name a line in UTF-8: {error}") from error
    return text.splitlines()
