"""Arguments that several commands share, and how they are read."""

from __future__ import annotations

import argparse
from typing import Any


def positive(text: str) -> int:
    """An integer above 0."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected an integer above 0, got {text!r}")
    return value


def positive_list(text: str) -> list[int]:
    """Integers above 0, with commas between them."""
    return list(dict.fromkeys(positive(part) for part in text.split(",")))


def seconds(text: str) -> float:
    """A number of seconds above 0, and finite."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, got {text!r}")
    return value


def numbers(text: str) -> tuple[float, ...]:
    """One number, or one a channel with commas between them."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a number, or one a channel (1.5,2,3), got {text!r}"
        ) from None


def image_size(text: str) -> int | tuple[int, int]:
    """`224`, or `HEIGHTxWIDTH`."""
    parts = [positive(part) for part in text.split("x")]
    if len(parts) == 1:
        return parts[0]
    if len(parts) == 2:
        return parts[0], parts[1]
    raise argparse.ArgumentTypeError(f"expected 224 or 224x192 (height x width), got {text!r}")


def input_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """`NAME=1x3x224x224`, or the shape alone under the name ""."""
    name, _, shape = text.rpartition("=")
    return name, tuple(positive(part) for part in shape.split("x"))


def add_shapes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shape",
        type=input_shape,
        action="append",
        default=[],
        help="[NAME=]1x3x224x224, of an input whose size the model leaves open",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def add_backend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--backend",
        choices=("auto", "c", "numba", "numpy"),
        default="auto",
        help="what runs the model; numpy is the reference; auto: the first one installed",
    )
    parser.add_argument(
        "--threads", type=positive, help="threads of the C kernels (default: all usable CPUs)"
    )


def add_preprocessing(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("preprocessing (default: what the model's file says)")
    group.add_argument(
        "--size", type=image_size, help="image size, 224 or HxW (else the model's input shape)"
    )
    group.add_argument("--mean", type=numbers, help="subtracted from the pixels 0..255 (else 127)")
    group.add_argument("--std", type=numbers, help="divides the pixels after that (else 128)")


def preprocessing(parsed: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `add_preprocessing` as keywords of `sparing.images`."""
    return {"size": parsed.size, "mean": parsed.mean, "std": parsed.std}
