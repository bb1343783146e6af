"""The accuracy scripts: what they show is what was measured, and a stopped run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import residual_net

from sparing.bench import bench_accuracy, finetune_default
from sparing.bench.bench_accuracy import LITE0, RESNET8, ROWS, Notebook, Result, Subject
from sparing.formats.onnx_reader import read_onnx
from sparing.image_data import Images
from sparing.preprocessing import Preprocessing


def subject(name: str) -> Subject:
    rng = np.random.default_rng(0)
    images = rng.normal(0, 1, (24, 3, 8, 8)).astype(np.float32)
    labels = rng.integers(0, 4, 24)

    def split(number: int) -> tuple[Images, Images]:
        order = np.random.default_rng(number).permutation(24)
        calibration, measured = (
            Images("input", images[part], labels[part], Preprocessing(size=(8, 8)))
            for part in np.split(order, [8])
        )
        return calibration, measured

    return Subject(name, read_onnx(residual_net()), split)


def test_the_table_is_written_row_by_row_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_accuracy, "subjects", lambda: iter([subject(RESNET8)]))
    path = tmp_path / "results.jsonl"
    arguments = ["--splits", "2", "--rows", "sparse50,sparse80", "--results", str(path)]
    bench_accuracy.main(arguments)
    table = capsys.readouterr().out
    assert ROWS["sparse80"].title in table
    assert ROWS["sparse50"].title not in table  # not of this model
    results = list(Notebook(path).done.values())
    assert [result.split for result in results] == [0, 1]

    def never(*_: Any) -> Result:
        raise AssertionError("measured again")

    monkeypatch.setattr(bench_accuracy, "measure", never)
    bench_accuracy.main(arguments)
    assert capsys.readouterr().out == table
    with pytest.raises(AssertionError, match="measured again"):
        bench_accuracy.main(["--splits", "3", *arguments[2:]])


def test_rows_are_means_of_their_splits() -> None:
    results = [
        Result(LITE0, "int8", 0, 88.0, 87.0, 90.0, 0.01, 2.0),
        Result(LITE0, "int8", 1, 89.0, 89.5, 94.0, 0.03, 4.0),
    ]
    cells = [cell.strip() for cell in bench_accuracy.line(results).split("|")[1:-1]]
    wanted = [LITE0, "int8", "2", "88.50", "0.25", "92.00", "0.02000", "3.0", "1.00 -0.50"]
    assert cells == wanted


def test_unknown_rows_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench_accuracy.main(["--rows", "int8,w3a3"])
    assert "expected some of" in capsys.readouterr().err


def test_training_images_are_shifted_and_mirrored_by_seed() -> None:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (300, 28, 28)).astype(np.uint8)
    labels = np.arange(300)

    def passes(seed: int) -> list[Any]:
        data = finetune_default.Augmented(images, labels, 1.0, seed)
        assert len(data) == 2  # whole batches of 128
        return [list(data), list(data)]

    first, second = passes(3)
    again = passes(3)
    for (x, y), (same_x, same_y) in zip(first + second, again[0] + again[1], strict=True):
        assert np.array_equal(x["input"], same_x["input"])
        assert np.array_equal(y, same_y)
    assert not np.array_equal(first[0][1], second[0][1])
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    for crop, label in zip(first[0][0]["input"][:20], first[0][1][:20], strict=True):
        places = [padded[label, y : y + 28, x : x + 28] for y in range(3) for x in range(3)]
        places += [place[:, ::-1] for place in places]
        inputs = finetune_default.as_input(np.stack(places))["input"]
        assert any(np.array_equal(crop, place) for place in inputs)
