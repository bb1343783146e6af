"""What moves, resizes or normalizes images, and slopes by channel: what they lower to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qdq_builder import QdqBuilder, feeds_for
from test_lower_channels import SHAPE, assert_same_meaning, works

import sparing
from sparing.lowered import ReferenceOp, View
from sparing.ops import fused_spec as fs


def resize(b: QdqBuilder, x: str, name: str, factors: list[float], **attributes: Any) -> str:
    scales = b.weight(f"{name}.scales", np.array([1, 1, *factors], np.float32))
    return b.add("Resize", [x, "", scales], name, **attributes)


def resize_to(b: QdqBuilder, x: str, name: str, size: list[int], **attributes: Any) -> str:
    sizes = b.weight(f"{name}.sizes", np.array([*SHAPE[:2], *size], np.int64))
    return b.add("Resize", [x, "", "", sizes], name, **attributes)


def pad(b: QdqBuilder, x: str, name: str, pads: list[int], value: float = 0.0, **a: Any) -> str:
    given = b.weight(f"{name}.pads", np.array(pads, np.int64))
    return b.add("Pad", [x, given, b.weight(f"{name}.value", np.float32(value))], name, **a)


def by_channel(b: QdqBuilder, x: str, name: str, op_type: str) -> str:
    if op_type == "PRelu":
        return b.add("PRelu", [x, b.random(f"{name}.slope", (8, 1, 1), 0.3)], name)
    scale, bias = b.random(f"{name}.scale", (8,), 1.0), b.random(f"{name}.bias", (8,), 1.0)
    return b.add(op_type, [x, scale, bias], name, epsilon=1e-3)


def layer_norm(b: QdqBuilder, x: str, name: str) -> str:
    """Over the last axis, which has 4 elements."""
    scale, bias = b.random(f"{name}.scale", (4,), 1.0), b.random(f"{name}.bias", (4,), 1.0)
    return b.add("LayerNormalization", [x, scale, bias], name, epsilon=1e-3)


OPERATORS: dict[str, tuple[Any, type, type]] = {
    "nearest": (
        lambda b, x: resize(b, x, "y", [2, 3], mode="nearest"),
        *(fs.GatherPixels, fs.GatherPixels),
    ),
    "linear": (
        lambda b, x: resize(b, x, "y", [2, 1.5], mode="linear"),
        *(fs.InterpolateS8, fs.InterpolateF32),
    ),
    "linear, aligned": (
        lambda b, x: resize_to(
            b, x, "y", [13, 3], mode="linear", coordinate_transformation_mode="align_corners"
        ),
        *(fs.InterpolateS8, fs.InterpolateF32),
    ),
    "cubic": (
        lambda b, x: resize(b, x, "y", [1, 2], mode="cubic", exclude_outside=1),
        *(fs.InterpolateS8, fs.InterpolateF32),
    ),
    "reflected": (
        lambda b, x: pad(b, x, "y", [0, 0, 2, 1, 0, 0, 0, 4], mode="reflect"),
        *(fs.GatherPixels, fs.GatherPixels),
    ),
    "padded": (
        lambda b, x: pad(b, x, "y", [0, 0, 2, 1, 0, 0, 1, -2]),
        *(fs.GatherPixels, fs.GatherPixels),
    ),
    "depth to space": (
        lambda b, x: b.add("DepthToSpace", [x], "y", blocksize=2, mode="CRD"),
        *(fs.DepthToSpace, fs.DepthToSpace),
    ),
    "prelu": (lambda b, x: by_channel(b, x, "y", "PRelu"), fs.PReluS8, fs.PReluF32),
    "layer normalization": (
        lambda b, x: layer_norm(b, x, "y"),
        *(fs.NormalizeS8, fs.NormalizeF32),
    ),
    "instance normalization": (
        lambda b, x: by_channel(b, x, "y", "InstanceNormalization"),
        *(fs.NormalizeS8, fs.NormalizeF32),
    ),
}


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("same_scale", [True, False])
@pytest.mark.parametrize("name", OPERATORS)
def test_quantized(name: str, same_scale: bool, dtype: type) -> None:
    make, kind, _ = OPERATORS[name]
    b = QdqBuilder(dtype=dtype)
    scale = 0.03 if same_scale else 0.041
    model = b.model(SHAPE, b.quantize(make(b, b.quantize("input", "x")), "z", scale=scale))
    found = works(model)
    assert sum(isinstance(w, kind) for w in found) == 1
    assert not any(isinstance(w, ReferenceOp) for w in found)
    assert_same_meaning(model, scale * 1.0001)


@pytest.mark.parametrize("name", OPERATORS)
def test_float(name: str) -> None:
    make, _, kind = OPERATORS[name]
    b = QdqBuilder()
    model = b.model(SHAPE, make(b, "input"))
    assert [type(w) for w in works(model) if not isinstance(w, View)] == [kind]
    assert_same_meaning(model, 1e-5)


def test_a_pad_of_another_value_is_no_movement_of_bytes() -> None:
    """Its value may lie outside of what the input's clamp lets through."""
    b = QdqBuilder()
    clamped = b.quantize(b.add("Relu", ["input"], "positive"), "x", zero_point=10)
    padded = pad(b, clamped, "padded", [0, 0, 1, 1, 0, 0, 1, 1], -0.2)
    model = b.model(SHAPE, b.quantize(padded, "y", zero_point=10))
    assert not any(isinstance(w, fs.GatherPixels) and w.element == "uint8" for w in works(model))
    assert_same_meaning(model, 0.03 * 1.0001)


def test_cuts_of_rows_and_columns_are_movements() -> None:
    b = QdqBuilder()
    bounds = [b.weight(k, np.array(v, np.int64)) for k, v in (("s", [1, 3]), ("e", [5, -9]))]
    more = [b.weight(k, np.array(v, np.int64)) for k, v in (("a", [2, 3]), ("t", [2, -1]))]
    model = b.model(SHAPE, b.add("Slice", ["input", *bounds, *more], "y"))
    (found,) = works(model)
    assert isinstance(found, fs.GatherPixels)
    assert (found.rows, found.columns) == ((1, 3), (3, 2, 1, 0))
    assert_same_meaning(model, 0.0)


def test_quantize_keeps_images_in_integers() -> None:
    b = QdqBuilder()
    x = b.conv(
        pad(b, "input", "padded", [0, 0, 1, 1, 0, 0, 1, 1], mode="edge"), "first", (8, 8, 3, 3)
    )
    x = by_channel(b, by_channel(b, x, "norm", "InstanceNormalization"), "slopes", "PRelu")
    x = resize(b, x, "large", [2, 2], mode="linear")
    model = b.model(SHAPE, b.conv(x, "last", (3, 8, 1, 1), bias=True))
    quantized = sparing.quantize(model, [feeds_for(model)])
    kinds = [type(w).__name__ for w in works(quantized)]
    layers = ["ConvS8", "NormalizeS8", "PReluS8", "InterpolateS8", "ConvS8"]
    assert kinds == ["GatherPixels", "Quantize", *layers, "Dequantize"]
