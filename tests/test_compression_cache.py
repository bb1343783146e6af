"""The calibration cache: ranges from a file, for the model and method that they are of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import models
import numpy as np
import numpy.typing as npt
import pytest

from sparing.compression.quantize import quantize
from sparing.errors import FormatError, InputError
from sparing.formats.onnx_reader import read_onnx
from sparing.model import Model

F32 = npt.NDArray[np.float32]
NEAREST: dict[str, Any] = {"rounding": "nearest", "bias_correction": False}


@pytest.fixture(scope="module")
def net() -> Model:
    return read_onnx(models.residual_net())


def feeds(seed: int = 0) -> list[dict[str, F32]]:
    rng = np.random.default_rng(seed)
    return [{"input": rng.normal(size=(4, 3, 8, 8)).astype(np.float32)} for _ in range(3)]


def same(one: Model, two: Model) -> bool:
    return one.nodes == two.nodes and all(
        np.array_equal(tensor.numpy(), two.weights[name].numpy())
        for name, tensor in one.weights.items()
    )


@pytest.mark.parametrize("method", ["minmax", "moving_average", "percentile", "mse", "entropy"])
def test_ranges_serve_again_without_the_images(net: Model, method: str, tmp_path: Path) -> None:
    path = tmp_path / "ranges.json"
    measured = quantize(net, feeds(), method=method, calibration_cache=path, **NEAREST)
    text = path.read_text()
    again = quantize(net, method=method, calibration_cache=path)
    assert same(measured, again)
    # for other widths of weights and other layers too
    other = quantize(
        net, method=method, weight_bits=4, ignored=["conv1/.*"], calibration_cache=path
    )
    assert same(
        other,
        quantize(net, feeds(), method=method, weight_bits=4, ignored=["conv1/.*"], **NEAREST),
    )
    assert path.read_text() == text
    content = json.loads(text)
    assert content["method"] == method and len(content["model"]) == 64


def test_a_file_that_exists_wins_over_the_images(net: Model, tmp_path: Path) -> None:
    path = tmp_path / "ranges.json"
    first = quantize(net, feeds(), calibration_cache=path, **NEAREST)
    assert same(first, quantize(net, feeds(seed=1), calibration_cache=path, **NEAREST))
    assert not same(first, quantize(net, feeds(seed=1), **NEAREST))


def test_ranges_are_of_one_model_and_one_method(net: Model, tmp_path: Path) -> None:
    path = tmp_path / "ranges.json"
    quantize(net, feeds(), calibration_cache=path)
    other = read_onnx(models.residual_net(seed=1))
    with pytest.raises(InputError, match=r"ranges.json is of model '[0-9a-f]{64}', expected '"):
        quantize(other, feeds(), calibration_cache=path)
    for arguments, found in (
        ({"method": "minmax"}, "method 'mse', expected 'minmax'"),
        ({"activation_bits": 7}, "bits 8, expected 7"),
    ):
        with pytest.raises(InputError, match=found):
            quantize(net, feeds(), calibration_cache=path, **arguments)


def test_repair_still_needs_images(net: Model, tmp_path: Path) -> None:
    path = tmp_path / "ranges.json"
    quantize(net, feeds(), calibration_cache=path)
    with pytest.raises(InputError, match="rounding 'gptq' and bias_correction need feeds"):
        quantize(net, calibration_cache=path, rounding="gptq")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "this is not JSON"),
        ("[]", "expected a file of the format 'sparing calibration 1'"),
        ('{"format": "sparing calibration 2"}', "expected a file of the format"),
    ],
)
def test_damaged_files_are_named(net: Model, text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "ranges.json"
    path.write_text(text)
    with pytest.raises(FormatError, match=message):
        quantize(net, calibration_cache=path)


@pytest.mark.parametrize(
    ("ranges", "error", "message"),
    [
        (3, FormatError, "expected a table of ranges, got 3"),
        ({"input": [0]}, FormatError, r"range of 'input': expected \[low, high\], got \[0\]"),
        ({"input": [1, 0]}, FormatError, "expected"),
        ({"input": [0, float("nan")]}, FormatError, "expected"),
        ({"input": ["0", 1]}, FormatError, "expected"),
        ({"input": [0, 1]}, InputError, "it holds no range of"),
    ],
)
def test_damaged_ranges_are_named(
    net: Model, ranges: Any, error: type[Exception], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "ranges.json"
    quantize(net, feeds(), calibration_cache=path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "ranges": ranges}))
    with pytest.raises(error, match=message):
        quantize(net, calibration_cache=path)
