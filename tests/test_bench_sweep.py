"""Sweeps over sparsity: true labels, checks that can fail, a break-even that is computed right."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sparing.bench.sweep import DENSE, SPARSE, Point, break_even
from sparing.cli import main
from sparing.kernels.registry import KERNELS
from sparing.ops import fused

CAPTURE = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _needs_onnx() -> None:
    pytest.importorskip("onnx", reason="the zoo builds its networks with it")


def _points(dense: list[float], sparse: list[float]) -> list[Point]:
    zeros = np.linspace(0, 0.9, len(dense))
    made = []
    for z, d, s in zip(zeros, dense, sparse, strict=True):
        made.append(Point(float(z), "a", "dense", d, d, 1.0, "equal"))
        made.append(Point(float(z), "slower", "dense", 2 * d, 2 * d, 1.0, "equal"))
        made.append(Point(float(z), "b", "sparse", s, s, 1.0, "equal"))
    return made


def test_break_even_lies_where_the_times_cross() -> None:
    # ratios 4, 2, 1/2, 1/4 at 0, 30, 60, 90 %: equal halfway between the second and the third
    assert break_even(_points([1, 1, 1, 1], [4, 2, 0.5, 0.25])) == pytest.approx(0.45)
    assert break_even(_points([1, 1], [0.5, 0.4])) == 0
    assert break_even(_points([1, 1, 1], [0.5, 1, 2])) is None
    # a lucky run early does not count: from there on sparse must stay ahead
    assert break_even(_points([1, 1, 1, 1], [0.5, 2, 0.5, 0.25])) == pytest.approx(0.45)


def test_every_weight_format_is_dense_or_sparse() -> None:
    assert {*DENSE, *SPARSE} == {k.weight_format for k in KERNELS if k.weight_format}
    assert all(name.startswith("dense") for name in DENSE) and "csr_s8" in SPARSE


def test_a_layer_shows_all_its_kernels(tmp_path: Path, capfd: CAPTURE) -> None:
    pytest.importorskip("matplotlib", reason="plots the report")
    pytest.importorskip("jinja2", reason="writes the report")
    page = tmp_path / "sweep.html"
    arguments = ["layer:mobilenet_v2/block15_project", "--sweep", "sparsity", "--zeros", "0,0.9"]
    assert main(["bench", *arguments, "--seconds", "0.01", "--json", "--html", str(page)]) == 0
    (found,) = json.loads(capfd.readouterr().out)
    assert {p["sparsity"] for p in found["points"]} == {0, 0.9}
    assert {p["check"] for p in found["points"]} == {"equal"} and found["passed"]
    names = {p["contestant"] for p in found["points"]}
    assert len(found["points"]) == 2 * len(names)
    assert {p["kind"] for p in found["points"]} <= {"dense", "sparse"}
    for point in found["points"]:
        assert point["gmacs"] == pytest.approx(160 * 960 * 49 / point["p50_ms"] / 1e6)
    assert page.read_text().count("<svg") == 1


def test_a_network_runs_dense_sparse_and_chosen(capfd: CAPTURE) -> None:
    arguments = ["zoo:resnet8", "--sweep", "sparsity", "--zeros", "0.8", "--granularity", "1x4"]
    assert main(["bench", *arguments, "--seconds", "0.01", "--json"]) == 0
    (found,) = json.loads(capfd.readouterr().out)
    assert [p["kind"] for p in found["points"]] == ["dense", "sparse", "chosen"]
    assert {p["check"] for p in found["points"]} == {"equal"}
    assert found["worst_ratio"] > 0


def test_a_wrong_kernel_fails_the_sweep(monkeypatch: pytest.MonkeyPatch, capfd: CAPTURE) -> None:
    right = fused.run
    monkeypatch.setattr(fused, "run", lambda spec, inputs: right(spec, inputs) ^ 1)
    arguments = ["layer:mobilenet_v2/block15_project", "--sweep", "sparsity", "--zeros", "0.9"]
    assert main(["bench", *arguments, "--seconds", "0.01", "--json"]) == 1
    (found,) = json.loads(capfd.readouterr().out)
    assert {p["check"] for p in found["points"]} == {"NOT EQUAL"} and not found["passed"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["layer:resnet50/none"], "expected a layer of"),
        (["layer:alexnet/conv1"], "NETWORK of"),
        (["zoo:resnet8:w8a8"], "expected zoo:resnet8"),
        (["zoo:resnet8", "--vs", "mnn"], "no --vs"),
        (["zoo:resnet8", "--threads", "1,2"], "one number of threads"),
        (["zoo:resnet8", "--granularity", "2x2"], "granularity"),
    ],
)
def test_bad_arguments_are_one_line(arguments: list[str], expected: str, capsys: CAPTURE) -> None:
    assert main(["bench", "--sweep", "sparsity", *arguments]) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if not x.endswith(" ...")]
    assert "error: " in line and expected in line
