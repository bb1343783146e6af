"""The demo: every check passes, and a wrong kernel would fail it."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from sparing import demo_checks
from sparing.cli import main
from sparing.demo import RECIPES
from sparing.kernels.registry import available_backends
from sparing.kernels.step import Array, Layout, Step
from sparing.ops.fused_spec import ConvF32

CAPTURE = pytest.CaptureFixture[str]
LEAST_ACCURACY = {"float": 0.85, "int8": 0.85, "pruned": 0.75, "pruned + int8": 0.75}


@pytest.fixture(autouse=True)
def short_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparing.demo.LATENCY_SECONDS", 0.001)


def test_every_row_is_checked_and_passes(capsys: CAPTURE) -> None:
    assert main(["demo", "--images", "100", "--json"]) == 0
    demo = json.loads(capsys.readouterr().out)
    targets = [target.name for target in demo_checks.available_targets()]
    assert {target.split()[0] for target in targets} == set(available_backends())
    assert [(r["model"], r["backend"]) for r in demo["rows"]] == [
        (model, target) for model in RECIPES for target in targets
    ]
    for row in demo["rows"]:
        integer, reference = "int8" in row["model"], row["backend"] == "numpy"
        want = "within bound" if not integer else "reference" if reference else "equal"
        assert row["check"] == want and row["passed"]
        # 100 images: three standard deviations below what all 2,000 give
        assert row["accuracy"] >= LEAST_ACCURACY[row["model"]]
        assert 0 < row["latency_min"] <= row["latency_median"] and row["runs"] >= 10
    sizes = {row["model"]: row["file_bytes"] for row in demo["rows"]}
    assert sizes["pruned + int8"] < sizes["int8"] < sizes["pruned"] < sizes["float"]
    sparsity = {row["model"]: row["sparsity"] for row in demo["rows"]}
    assert sparsity["pruned"] > 0.5 and sparsity["pruned + int8"] > 0.5


def test_a_kernel_beyond_the_bound_fails_the_demo(
    capsys: CAPTURE, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = demo_checks._error

    def off(
        spec: ConvF32, step: Step, operator: str, layout: Layout, inputs: Sequence[Array]
    ) -> float:
        class Off(type(step)):  # type: ignore[misc]
            def execute(self, inputs: Sequence[Array], output: Array) -> None:
                super().execute(inputs, output)
                output *= np.float32(1.001)

        step.__class__ = Off
        return measure(spec, step, operator, layout, inputs)

    monkeypatch.setattr("sparing.demo_checks._error", off)
    assert main(["demo", "--images", "8"]) == 1
    out = capsys.readouterr().out
    assert "times the bound" in out and "A CHECK FAILED" in out


def test_a_kernel_that_is_one_off_fails_the_demo(
    capsys: CAPTURE, monkeypatch: pytest.MonkeyPatch
) -> None:
    if available_backends() == ("numpy",):
        pytest.skip("only the reference is installed: there is nothing to compare with it")
    from sparing.session import Session

    class Off(Session):
        def run(self, outputs: object, feeds: object) -> list[Array]:
            results = super().run(outputs, feeds)  # type: ignore[arg-type]
            if self.backend != "numpy":
                results[0][0, 0] = np.nextafter(results[0][0, 0], np.float32(np.inf))
            return results

    monkeypatch.setattr("sparing.demo.Session", Off)
    assert main(["demo", "--images", "8"]) == 1
    assert "images differ" in capsys.readouterr().out


def test_more_images_than_there_are(capsys: CAPTURE) -> None:
    assert main(["demo", "--images", "2001"]) == 2
    assert "at most 2000" in capsys.readouterr().err


def test_the_instruction_set_is_as_before(capsys: CAPTURE) -> None:
    if "c" not in available_backends():
        pytest.skip("Sparing was installed without a C compiler")
    from sparing.kernels import native

    before = native.isa()
    worst = native.isas()[-1]
    native.force_isa(worst)
    try:
        assert main(["demo", "--images", "8"]) == 0
        assert native.isa() == worst
    finally:
        native.force_isa(before)
