"""Pruning and quantization together: masks hold, and rounding makes up for pruning as well."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import models
import numpy as np
import numpy.typing as npt
import pytest

import sparing
from sparing.compression.layerwise import as_matrix
from sparing.compression.prune import prune
from sparing.compression.quantize import quantize
from sparing.compression.recipe import Recipe, apply_recipe
from sparing.errors import InputError
from sparing.formats.onnx_reader import read_onnx
from sparing.image_data import Images
from sparing.model import Model

F32 = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def net() -> Model:
    return read_onnx(models.residual_net())


@pytest.fixture(scope="module")
def data() -> list[dict[str, F32]]:
    rng = np.random.default_rng(0)
    return [{"input": rng.normal(size=(4, 3, 8, 8)).astype(np.float32)} for _ in range(6)]


def zeros_hold(pruned: Model, quantized: Model) -> bool:
    """Whether every zero of a pruned layer is a zero of the quantized one; there are some."""
    found = 0
    for node in pruned.nodes:
        name = f"{node.label}/weight/quantized"
        if name in quantized.weights:
            mask = as_matrix(node, pruned.weights[node.inputs[1]].numpy()) == 0
            integers = as_matrix(node, quantized.weights[name].numpy())
            if integers[mask].any():
                return False
            found += int(mask.sum())
    return found > 0


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("mode", ["static", "weights"])
@pytest.mark.parametrize("granularity", ["element", "2:4", "1x4"])
def test_zeros_stay_zeros(
    net: Model, data: list[dict[str, F32]], bits: int, mode: str, granularity: str
) -> None:
    sparsity = 0.5 if granularity == "2:4" else 0.6
    pruned = prune(net, sparsity, granularity, "obs", calibration=data)
    both = quantize(pruned, data, mode=mode, weight_bits=bits, original=net)
    assert zeros_hold(pruned, both)


def test_the_joint_pass_is_better_than_one_step_after_the_other_without_repair() -> None:
    """ResNet-8 at 80 % zeros and 4 bits, on images that nothing was fitted to."""
    assets = files("sparing") / "assets"
    with (
        as_file(assets / "resnet8_fashion_mnist.onnx") as model_path,
        as_file(assets / "fashion_mnist.npz") as data_path,
    ):
        model = sparing.load(model_path)
        images = sparing.images(data_path, model=model, batch=50)
    calibration, fresh = (
        replace(images, items=np.asarray(images.items)[part], labels=None)
        for part in (slice(0, 16), slice(100, 300))
    )
    pruned = prune(model, 0.8, criterion="obs", calibration=calibration)
    joint = quantize(pruned, calibration, weight_bits=4, original=model)
    nearest: dict[str, Any] = {"rounding": "nearest", "bias_correction": False}
    naive = quantize(prune(model, 0.8), calibration, weight_bits=4, **nearest)
    assert _divergence(model, joint, fresh) < 0.3 * _divergence(model, naive, fresh)
    assert zeros_hold(pruned, joint)


def _divergence(model: Model, other: Model, images: Images) -> float:
    return sparing.evaluate(other, images, against=model).kl_divergence or 0.0


def test_recipes_quantize_for_the_model_before_pruning(
    net: Model, data: list[dict[str, F32]]
) -> None:
    steps: dict[str, dict[str, Any]] = {
        "prune": {"sparsity": 0.6, "criterion": "obs"},
        "quantize": {"weight_bits": 4},
    }
    got = apply_recipe(net, Recipe(steps), data)
    pruned = prune(net, 0.6, criterion="obs", calibration=data)
    joint, apart = (
        quantize(pruned, data, weight_bits=4, original=original) for original in (net, None)
    )
    names = [name for name in got.weights if name.endswith("/quantized")]
    assert names
    for name in names:
        assert np.array_equal(got.weights[name].numpy(), joint.weights[name].numpy())
    different = (got.weights[n].numpy() != apart.weights[n].numpy() for n in names)
    assert any(array.any() for array in different)


@pytest.mark.parametrize("granularity", ["channel", "block"])
def test_recipes_that_remove_channels_or_blocks_quantize_what_is_left(
    net: Model, data: list[dict[str, F32]], granularity: str
) -> None:
    if granularity == "block":
        net = _with_a_block()
    recipe = Recipe({"prune": {"granularity": granularity, "sparsity": 0.5}, "quantize": {}})
    model = apply_recipe(net, recipe, data)
    assert any(node.op_type == "QuantizeLinear" for node in model.nodes)


def _with_a_block() -> Model:
    g = models.GraphBuilder()
    x = g.conv("input", "stem", (4, 3, 3, 3), bias=True, pads=[1, 1, 1, 1])
    y = g.conv(x, "inner", (4, 4, 3, 3), bias=True, pads=[1, 1, 1, 1])
    total = g.add("Add", [x, y], "total")
    g.conv(total, "output", (4, 4, 1, 1), bias=True)
    return read_onnx(g.finish({"input": (1, ("N", 3, 8, 8))}, {"output": (1, ("N", 4, 8, 8))}))


def test_originals_that_do_not_fit_are_named(net: Model, data: list[dict[str, F32]]) -> None:
    cut = prune(net, 0.5, "channel")
    with pytest.raises(InputError, match=r"original: expected a layer '.*' with weights .*, got"):
        quantize(cut, data, original=net)
    with pytest.raises(InputError, match=r"original: expected a layer 'stem/node'.* got none"):
        quantize(net, data, original=read_onnx(models.depthwise_net()))
    with pytest.raises(InputError, match="equalize: it changes what layers deliver"):
        quantize(net, data, original=net, equalize=True)


RECIPE = """
[prune]
sparsity = 0.6
criterion = "obs"
[quantize]
weight_bits = 4
"""


def test_the_same_recipe_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    sparing.save(read_onnx(models.residual_net()), tmp_path / "net.onnx")
    rng = np.random.default_rng(0)
    np.save(tmp_path / "images.npy", rng.normal(size=(12, 3, 8, 8)).astype(np.float32))
    (tmp_path / "recipe.toml").write_text(RECIPE)
    for name in ("one", "two"):
        arguments = ["compress", "net.onnx", "-o", f"{name}.sparing", "--recipe", "recipe.toml"]
        subprocess.run(
            [sys.executable, "-m", "sparing.cli", *arguments, "--calibration", "images.npy"],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
    one, two = ((tmp_path / f"{name}.sparing").read_bytes() for name in ("one", "two"))
    assert one == two
    metadata = sparing.load(tmp_path / "one.sparing").metadata
    assert metadata["recipe"]["prune"]["criterion"] == "obs"
    assert metadata["recipe"]["quantize"]["weight_bits"] == 4
    assert metadata["provenance"].keys() == {"sparing", "source"}
