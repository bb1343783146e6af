"""`sparing compress` as a search: what it writes, prints and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from search_subject import agreement, images, network

import sparing
from sparing.cli import main
from sparing.compression.recipe import load_recipe

CAPTURE = pytest.CaptureFixture[str]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with a network, calibration images, and labelled images."""
    model = network()
    sparing.save(model, tmp_path / "net.onnx")
    wanted = agreement(model)
    pixels = np.concatenate([feeds["input"] for feeds in wanted.feeds])
    np.savez(tmp_path / "test.npz", images=pixels, labels=wanted.wanted)
    np.savez(tmp_path / "few.npz", images=images(8, 0)[0]["input"])
    return tmp_path


def arguments(folder: Path, *more: str) -> list[str]:
    paths = ["compress", "net.onnx", "-o", "out.sparing", "--calibration", "few.npz"]
    return [*(str(folder / w) if "." in w else w for w in paths), *more]


def test_a_search_writes_what_its_recipe_writes(
    files: Path, capsys: CAPTURE, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARING_CACHE", str(files / "cache"))
    recipe, scored = str(files / "found.toml"), str(files / "test.npz")
    wanted = ["--evaluate", scored, "--max-drop", "0.1", "--target", "size", "--workers", "2"]
    assert main(arguments(files, *wanted, "--save-recipe", recipe, "--json")) == 0
    found = json.loads(capsys.readouterr().out)["search"]
    assert found["holds"] and found["baseline"] == 1.0 and found["score"] >= 0.9
    assert found["cost"] < found["integer_cost"] < found["float_cost"]
    assert found["cost"] in [row["cost"] for row in found["front"] if row["holds"]]
    assert [load_recipe(recipe).steps, load_recipe(recipe).layers] == found["recipe"]

    out = files / "out.sparing"
    searched = out.read_bytes()
    assert main(arguments(files, "--recipe", recipe)) == 0
    assert out.read_bytes() == searched


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--max-drop", "0.1"], "--evaluate"),
        (["--evaluate", "test.npz"], "--max-drop"),
        (["--evaluate", "test.npz", "--max-drop", "-1"], "max_drop"),
        (["--evaluate", "test.npz", "--max-drop", "0.1", "--recipe", "x.toml"], "got both"),
        (["--resume", "state.json"], "--resume"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    files: Path, capsys: CAPTURE, more: list[str], message: str
) -> None:
    given = [str(files / word) if "." in word and word[0] not in "-0" else word for word in more]
    assert main(arguments(files, *given)) == 2
    assert message in capsys.readouterr().err
    assert not (files / "out.sparing").exists()
