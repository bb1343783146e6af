"""Fine-tuning: what does not fit is refused with one clear error."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
from finetune_subject import (
    CLASSES,
    dense_net,
    feeds,
    labelled,
    needs_torch,
    one_node,
    scalar,
    tuned,
)
from models import GraphBuilder, residual_net

import sparing
from sparing import Node, TensorInfo
from sparing.errors import InputError, ModelError, UnsupportedOperatorError
from sparing.formats.onnx_reader import read_onnx
from sparing.image_data import Images
from sparing.model import Tensor
from sparing.preprocessing import Preprocessing


@needs_torch
def test_bad_data_is_refused() -> None:
    images, labels = labelled()
    cases: list[tuple[Any, str]] = [
        (7, "expected .images, labels. arrays or an iterable"),
        (iter([(feeds(images), labels)]), "got an iterator"),
        ([], "at least one batch"),
        ((images, labels[:-1]), "for 255 labels"),
        ((images.astype(np.float64), labels), "got float64"),
        ((images[:, :, :7], labels), r"got float32\[256, 3, 7, 8\]"),
        ((images, labels.astype(np.float32)), "labels .N., integers"),
        ((images, labels + 1), "labels from 0 to 3"),
        ((images, labels - 1), "labels from 0 to 3"),
        ([feeds(images)], r"expected \(feeds, labels\), got dict"),
        ([({"image": images}, labels)], r"got \['image'\]"),
        (Images("input", images, None, Preprocessing(size=(8, 8))), "without labels"),
    ]
    for dataset, message in cases:
        with pytest.raises(InputError, match=message):
            tuned(dense_net(), dataset)


@needs_torch
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs: expected a whole number from 1 on, got 0"),
        ({"batch_size": True}, "batch_size"),
        ({"threads": 0}, "threads"),
        ({"learning_rate": 0}, "learning_rate: expected a positive number"),
        ({"learning_rate": 1e30}, "the loss became"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tuned(dense_net(), labelled(), **options)


@needs_torch
def test_models_that_cannot_be_trained_are_refused() -> None:
    last = dense_net().nodes[-1]
    odd = [
        Node("Erf", ("logits",), ("a",), {}, "a"),
        Node("Sign", ("a",), ("b",), {}, "b"),
        Node("Erf", ("b",), ("out",), {}, "c"),
    ]
    outputs = (TensorInfo("out", np.dtype(np.float32), ("N", CLASSES)),)
    with pytest.raises(UnsupportedOperatorError, match=r"2 operators.*: Erf \(x2\), Sign \(x1\)"):
        tuned(dense_net().replace(nodes=(*dense_net().nodes, *odd), outputs=outputs), labelled())
    with pytest.raises(InputError, match="found none"):
        tuned(one_node("Relu", [("N", 3, 8, 8)]), (labelled()[0], labelled()[1]))
    with pytest.raises(InputError, match="teacher: expected 4 classes, got 3"):
        narrow = {n: Tensor(dense_net().weights[n].numpy()[:3]) for n in last.inputs[1:]}
        teacher = dense_net().replace(weights={**dense_net().weights, **narrow})
        tuned(dense_net(), labelled(), teacher=teacher)
    image = TensorInfo("stem", np.dtype(np.float32), None)
    with pytest.raises(InputError, match=r"expected logits \[32, classes\]"):
        tuned(dense_net().replace(outputs=(image,)), labelled())


@needs_torch
def test_quantizers_that_do_not_pair_up_are_refused() -> None:
    g = GraphBuilder()
    pairs = [
        [g.weight(f"{n}.scale", scalar(s)), g.weight(f"{n}.zero", np.uint8(9))]
        for n, s in (("a", 0.1), ("b", 0.2))
    ]
    q = g.add("QuantizeLinear", ["input", *pairs[0]], "q")
    x = g.conv(g.add("DequantizeLinear", [q, *pairs[1]], "dq"), "conv", (4, 3, 8, 8))
    g.add("Flatten", [x], "logits")
    dims: Any = {"input": (1, ["N", 3, 8, 8])}, {"logits": (1, ["N", 4])}
    with pytest.raises(ModelError, match="same scale and zero point, 'q' is not"):
        tuned(read_onnx(g.finish(*dims)), labelled())


def test_without_torch_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'sparing\[train\]'"):
        sparing.finetune(read_onnx(residual_net()), labelled(), 1)
