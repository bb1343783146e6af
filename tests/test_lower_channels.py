"""Slices, splits, concatenations and shuffles of channels: what they lower to, in both types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from qdq_builder import SCALE, QdqBuilder, feeds_for

import sparing
from sparing.interpreter import run_graph
from sparing.lower import lower
from sparing.lowered import ReferenceOp
from sparing.model import Model
from sparing.ops.fused_spec import ConcatF32, ConcatS8, SelectChannels

SHAPE = (2, 8, 5, 4)


def works(model: Model) -> list[Any]:
    return [op.work for op in lower(model, {"input": SHAPE}).operations]


def assert_same_meaning(model: Model, tolerance: float) -> None:
    feeds = feeds_for(model)
    for backend in ("numpy", "auto"):
        got = sparing.Session(model, backend=backend, threads=1).run(None, feeds)
        for array, want in zip(got, run_graph(model, feeds).values(), strict=True):
            assert array.shape == want.shape
            assert np.abs(array.astype(np.float64) - want).max() <= tolerance


def cut(b: QdqBuilder, x: str, name: str, start: int, end: int, axis: int = 1) -> str:
    bounds = [
        b.weight(f"{name}.{key}", np.array([value], np.int64))
        for key, value in (("start", start), ("end", end), ("axis", axis))
    ]
    return b.add("Slice", [x, *bounds], name)


def shuffle(b: QdqBuilder, x: str, name: str, groups: int, integer: bool) -> str:
    """Reshape, Transpose, Reshape, with quantizers between them where `integer`."""
    grouped = b.weight(f"{name}.grouped", np.array([2, groups, 8 // groups, 5, 4], np.int64))
    flat = b.weight(f"{name}.flat", np.array([2, 8, 5, 4], np.int64))
    for op, more in (
        ("Reshape", {"inputs": [grouped]}),
        ("Transpose", {"perm": [0, 2, 1, 3, 4]}),
        ("Reshape", {"inputs": [flat]}),
    ):
        extra = more.pop("inputs", [])
        x = b.add(op, [x, *extra], f"{name}.{len(b.nodes)}", **more)
        if integer:
            x = b.quantize(x, f"{x}.q")
    return x


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, None])
def test_a_shuffle_and_its_slices_are_selections_of_one_value(dtype: type | None) -> None:
    b = QdqBuilder(dtype=dtype or np.uint8)
    integer = dtype is not None
    x = b.quantize("input", "x") if integer else "input"
    mixed = shuffle(b, x, "shuffle", 2, integer)
    parts = [cut(b, mixed, "low", 0, 4), cut(b, mixed, "high", 4, 2**31)]
    if integer:
        parts = [b.quantize(part, f"{part}.q") for part in parts]
    both = b.add("Concat", parts[::-1], "both", axis=1)
    model = b.model(SHAPE, b.quantize(both, "y", scale=0.04) if integer else both)
    found = works(model)
    element = "uint8" if integer else "float32"
    assert [w for w in found if isinstance(w, SelectChannels)] == [
        SelectChannels((0, 4, 1, 5), element),
        SelectChannels((2, 6, 3, 7), element),
    ]
    assert sum(isinstance(w, ConcatS8 if integer else ConcatF32) for w in found) == 1
    assert not any(isinstance(w, ReferenceOp) for w in found)
    assert_same_meaning(model, 0.04 * 1.0001 if integer else 0.0)  # one quantum of the output


def test_a_slice_to_another_scale_is_requantized() -> None:
    b = QdqBuilder()
    part = cut(b, b.quantize("input", "x"), "part", -3, 8)
    model = b.model(SHAPE, b.quantize(part, "y", scale=0.05))
    kinds = [type(w).__name__ for w in works(model)]
    assert kinds == ["Quantize", "SelectChannels", "RescaleS8", "Dequantize"]
    assert_same_meaning(model, 0.05 * 1.0001)


def split(b: QdqBuilder, x: str, sizes: list[int]) -> list[str]:
    names = [f"part{i}" for i in range(len(sizes))]
    given = b.weight("sizes", np.array(sizes, np.int64))
    b.nodes.append(helper.make_node("Split", [x, given], names, name="split", axis=1))
    return names


def test_a_split_is_one_selection_for_each_part() -> None:
    b = QdqBuilder()
    parts = [
        b.quantize(part, f"{part}.q") for part in split(b, b.quantize("input", "x"), [3, 1, 4])
    ]
    model = b.model(SHAPE, b.quantize(b.add("Concat", parts[::-1], "both", axis=1), "y"))
    assert [w.channels for w in works(model) if isinstance(w, SelectChannels)] == [
        (0, 1, 2),
        (3,),
        (4, 5, 6, 7),
    ]
    assert_same_meaning(model, SCALE * 1.0001)


def test_cuts_of_the_batch_and_joints_of_other_axes_keep_their_reference() -> None:
    b = QdqBuilder()
    images = cut(b, "input", "images", 0, 1, axis=0)
    both = b.add("Concat", [images, images], "both", axis=3)
    model = b.model(SHAPE, both)
    assert all(isinstance(w, ReferenceOp) for w in works(model))
    assert_same_meaning(model, 0.0)


def test_a_transposed_group_that_is_read_elsewhere_stays() -> None:
    b = QdqBuilder()
    mixed = shuffle(b, "input", "shuffle", 4, integer=False)
    grouped = b.nodes[1].output[0]
    proto = b.finish(
        {"input": (TensorProto.FLOAT, SHAPE)},
        {
            mixed: (TensorProto.FLOAT, [f"d{i}" for i in range(4)]),
            grouped: (TensorProto.FLOAT, [f"e{i}" for i in range(5)]),
        },
    )
    model = sparing.formats.onnx_reader.read_onnx(proto)
    assert sum(isinstance(w, ReferenceOp) for w in works(model)) == 1
    assert_same_meaning(model, 0.0)


def test_quantize_keeps_slices_in_integers() -> None:
    b = QdqBuilder()
    x = b.conv("input", "first", (8, 8, 1, 1), bias=True)
    parts = split(b, x, [4, 4])
    left = b.conv(parts[0], "left", (4, 4, 1, 1), bias=True)
    right = cut(b, parts[1], "few", 0, 2)
    both = b.add("Concat", [left, right], "both", axis=1)
    model = b.model(SHAPE, b.conv(both, "last", (3, 6, 1, 1), bias=True))
    feeds = feeds_for(model)
    quantized = sparing.quantize(model, [feeds])
    kinds = {type(w).__name__ for w in works(quantized)}
    assert kinds == {"Quantize", "ConvS8", "SelectChannels", "ConcatS8", "Dequantize"}
    want, got = (run_graph(m, feeds)["last"] for m in (model, quantized))
    # 8 bits of everything: about 1 % of the signal (40 dB) for three layers; 4 % is room for all
    assert np.sqrt(((want - got) ** 2).sum()) < 0.04 * np.sqrt((want**2).sum())


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_a_quantized_transpose_moves_bytes(dtype: type) -> None:
    b = QdqBuilder(dtype=dtype)
    x = b.quantize("input", "x")
    turned = b.quantize(b.add("Transpose", [x], "turned", perm=[0, 2, 3, 1]), "y")
    again = b.add("Transpose", [turned], "again", perm=[3, 0, 2, 1])
    model = b.model(SHAPE, b.quantize(again, "z", scale=0.05))
    assert [w.node.op_type for w in works(model) if isinstance(w, ReferenceOp)] == ["Transpose"] * 2
    assert_same_meaning(model, 0.05 * 1.0001)
