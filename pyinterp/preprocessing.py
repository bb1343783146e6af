"""How pixels become a model's input, and where that is written down."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .errors import InputError
from .model import Array, Model

PerChannel: TypeAlias = float | Sequence[float]

DEFAULT_MEAN, DEFAULT_STD, DEFAULT_SIZE = 127.0, 128.0, 224


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How pixels become inputs: `(pixel - mean) / std` of the central square, in float32.

    size: (height, width). mean, std: one number, or one a channel, in units of 0..255.
    channels: 1 (grey) or 3 (RGB). layout: "NCHW" or "NHWC".
    """

    size: tuple[int, int] = (DEFAULT_SIZE, DEFAULT_SIZE)
    mean: tuple[float, ...] = (DEFAULT_MEAN,)
    std: tuple[float, ...] = (DEFAULT_STD,)
    channels: int = 3
    layout: str = "NCHW"

    def load(self, path: str | os.PathLike[str]) -> npt.NDArray[np.float32]:
        """One image file as float32 [C, H, W] (or [H, W, C]); InputError where it is none.

        The shorter side is scaled to fit, the longer one cut to its centre.
        """
        try:
            from PIL import Image, ImageOps
        except ImportError as error:
            raise InputError(
                "image files need the package pillow: pip install 'sparing[cli]'"
            ) from error
        height, width = self.size
        try:
            with Image.open(path) as opened:
                turned = ImageOps.exif_transpose(opened)
                image = turned.convert("L" if self.channels == 1 else "RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise InputError(f"cannot read {str(path)!r} as an image: {error}") from error
        if image.size != (width, height):
            image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
        return self.apply(np.asarray(image)[None])[0]

    def apply(self, pixels: Array) -> npt.NDArray[np.float32]:
        """uint8 [N, H, W] or [N, H, W, C] of the right size, as the model's input."""
        shape = (*self.size, self.channels)
        if pixels.ndim == 3:
            pixels = pixels[..., None]
        if pixels.shape[1:] != shape:
            raise InputError(f"expected images of {shape}, got {pixels.shape[1:]}")
        mean, std = (np.array(v, np.float32) for v in (self.mean, self.std))
        scaled = (pixels.astype(np.float32) - mean) / std
        return np.ascontiguousarray(
            scaled if self.layout == "NHWC" else scaled.transpose(0, 3, 1, 2)
        )


def preprocessing_of(
    model: Model | None,
    size: int | tuple[int, int] | None = None,
    mean: PerChannel | None = None,
    std: PerChannel | None = None,
) -> Preprocessing:
    """What the arguments say, else what the model's metadata says, else its input shape, else the
    defaults. Raises InputError for values that make no sense."""
    stored = dict(model.metadata.get("preprocessing") or {}) if model is not None else {}
    layout = stored.get("layout", "NCHW")
    axes = {"NCHW": (1, 2, 3), "NHWC": (3, 1, 2)}.get(layout)
    if axes is None:
        raise InputError(f"preprocessing: layout: expected NCHW or NHWC, got {layout!r}")
    shape = model.inputs[0].shape if model is not None and model.inputs else None
    known = [d if isinstance(d, int) else None for d in shape or ()]
    channels, height, width = (known[a] if len(known) == 4 else None for a in axes)
    fixed = (height, width) if height and width else DEFAULT_SIZE
    size = stored.get("size", fixed) if size is None else size
    result = Preprocessing(
        size=_size(size),
        mean=_numbers(stored.get("mean", DEFAULT_MEAN) if mean is None else mean, "mean"),
        std=_numbers(stored.get("std", DEFAULT_STD) if std is None else std, "std"),
        channels=int(stored.get("channels", channels or 3)),
        layout=layout,
    )
    if result.channels not in (1, 3):
        raise InputError(f"expected a model with 1 or 3 channels, got {result.channels}")
    if 0 in result.std:
        raise InputError(f"std: expected numbers other than 0, got {result.std}")
    for name, values in (("mean", result.mean), ("std", result.std)):
        if len(values) not in (1, result.channels):
            raise InputError(f"{name}: expected 1 or {result.channels} numbers, got {len(values)}")
    return result


def _size(value: Any) -> tuple[int, int]:
    sides = (value, value) if isinstance(value, int) else value
    if isinstance(sides, (list, tuple)) and len(sides) == 2:
        height, width = sides
        if isinstance(height, int) and isinstance(width, int) and min(height, width) >= 1:
            return height, width
    raise InputError(f"size: expected an integer above 0, or (height, width), got {value!r}")


def _numbers(value: Any, name: str) -> tuple[float, ...]:
    values = value if isinstance(value, (list, tuple)) else [value]
    try:
        return tuple(float(v) for v in values)
    except (TypeError, ValueError):
        raise InputError(f"{name}: expected numbers, got {value!r}") from None
