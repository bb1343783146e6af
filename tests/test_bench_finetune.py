"""The script that fine-tunes the embedded model: where it goes on after a stop, and where not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sparing import Model
from sparing.bench.finetune_default import Lesson, claim, taken
from sparing.bench.train_default import ASSETS
from sparing.formats import load
from sparing.image_data import Images
from sparing.preprocessing import preprocessing_of

SETTINGS = {"epochs": 6.0, "seed": 0}


def test_a_step_that_was_taken_is_not_taken_again(tmp_path: Path) -> None:
    with np.load(ASSETS / "fashion_mnist.npz") as arrays:
        images, labels = arrays["images"][:20], arrays["labels"][:20].astype(np.int64)
    dense = load(ASSETS / "resnet8_fashion_mnist.onnx")
    test = Images("input", images, labels, preprocessing_of(dense))
    lesson = Lesson(images, labels, dense, seed=0, threads=1)
    calls: list[Model] = []

    def step(model: Model) -> Model:
        calls.append(model)
        return model

    path = tmp_path / "row_1.sparing"
    path.write_bytes(b"of a run that was stopped while it wrote")
    first = taken("nothing is done", step, path, lesson, test, dense)
    assert (first.weights, first.drop, first.agreement) == (1, 0, 100)
    assert first.seconds > 0
    assert first.file_bytes == path.stat().st_size
    assert taken("nothing is done", step, path, lesson, test, dense) == first
    assert calls == [dense]


def test_models_of_other_settings_are_not_mixed(tmp_path: Path) -> None:
    claim(tmp_path / "models", SETTINGS)
    claim(tmp_path / "models", SETTINGS)
    with pytest.raises(SystemExit, match=r"expected a folder of .*'epochs': 8.* has .*6\.0"):
        claim(tmp_path / "models", {**SETTINGS, "epochs": 8.0})
