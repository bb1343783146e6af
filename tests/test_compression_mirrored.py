"""Mirror images as calibration images: what they are, and what they do for pruned layers."""

from __future__ import annotations

from typing import Any

import models
import numpy as np
import numpy.typing as npt
import pytest

from sparing.compression.mirrored import with_mirrored
from sparing.compression.prune import prune
from sparing.compression.quantize import quantize
from sparing.compression.spool import Spool
from sparing.errors import InputError
from sparing.formats.onnx_reader import read_onnx
from sparing.interpreter import run_graph
from sparing.model import Model

F32 = npt.NDArray[np.float32]
NEW = 24  # images


@pytest.fixture(scope="module")
def net() -> Model:
    return read_onnx(models.residual_net())


def scenes(model: Model, count: int, seed: int) -> list[dict[str, F32]]:
    """Images of few low frequencies: neighbours are alike, as in photos."""
    rng = np.random.default_rng(seed)
    channels, height, width = (int(d or 0) for d in (model.inputs[0].shape or ())[1:])
    y, x = np.mgrid[:height, :width] / 8
    found = []
    for _ in range(count):
        image = np.zeros((1, channels, height, width))
        for c in range(channels):
            for wave in rng.normal(size=(3, 4)):
                image[0, c] += wave[0] * np.cos(wave[1] * x + wave[2] * y + 6 * wave[3])
        found.append({"input": image.astype(np.float32)})
    return found


def noise(model: Model, other: Model, feeds: list[dict[str, F32]]) -> float:
    wanted, got = (
        np.concatenate([run_graph(m, f)["logits"] for f in feeds]) for m in (model, other)
    )
    return float(np.square(got - wanted).sum() / np.square(wanted).sum())


def test_each_image_is_followed_by_its_mirror_image() -> None:
    image = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    with Spool() as images:
        images.append({"input": image, "size": np.array([3], np.float32)})
        with with_mirrored(images) as both:
            rows = list(both)
    assert np.array_equal(rows[0]["input"], image)
    assert np.array_equal(rows[1]["input"], image[:, :, :, ::-1])
    assert [row["size"] for row in rows] == [3, 3]


def test_inputs_that_are_no_images_are_refused() -> None:
    with Spool() as rows, pytest.raises(InputError, match=r"expected an input \[N, C, H, W\]"):
        rows.append({"input": np.zeros((1, 10), np.float32)})
        with_mirrored(rows)


@pytest.mark.parametrize("quantized", [False, True])
def test_layers_lose_less_on_new_images(net: Model, quantized: bool) -> None:
    calibration, new = scenes(net, 16, seed=0), scenes(net, NEW, seed=1)
    results = []
    for mirrored in (False, True):
        small = prune(net, 0.5, criterion="obs", calibration=calibration, mirrored=mirrored)
        if quantized:
            small = quantize(
                small, calibration, mode="weights", weight_bits=6, original=net, mirrored=mirrored
            )
        results.append(noise(net, small, new))
        for step in small.metadata["recipe"].values():
            assert step.get("mirrored", False) == mirrored
    assert results[1] < results[0]


@pytest.mark.parametrize("step", ["prune", "quantize"])
def test_what_is_not_true_or_false_is_refused(net: Model, step: str) -> None:
    data: Any = {"calibration": scenes(net, 1, seed=0), "mirrored": 1}
    with pytest.raises(InputError, match="mirrored: expected true or false, got 1"):
        if step == "prune":
            prune(net, 0.5, criterion="obs", **data)
        else:
            quantize(net, **data)


def test_mirror_images_that_serve_for_nothing_are_refused(net: Model) -> None:
    with pytest.raises(InputError, match="mirrored: mirror images are for the repair 'weights'"):
        prune(net, 0.5, mirrored=True)
    with pytest.raises(InputError, match="mirrored: mirror images are for repairs"):
        quantize(net, mode="weights", mirrored=True)
