"""Recipe files: the same as calling the functions, with errors that name what is wrong."""

from __future__ import annotations

from pathlib import Path

import models
import numpy as np
import pytest

from sparing.compression.prune import prune
from sparing.compression.quantize import quantize
from sparing.compression.recipe import Recipe, apply_recipe, load_recipe
from sparing.errors import FormatError, InputError
from sparing.formats.onnx_reader import read_onnx
from sparing.model import Model

BOTH = """
[quantize]
weight_bits = 7
activation_bits = 7
method = "percentile"
percentile = 99.9

[prune]
sparsity = 0.6
scope = "layer"

[layers."conv.*"]
sparsity = 0.8
per_channel = false

[layers."logits/node"]
ignored = true
"""


@pytest.fixture(scope="module")
def net() -> Model:
    return read_onnx(models.residual_net())


@pytest.fixture(scope="module")
def calibration() -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [{"input": rng.normal(size=(4, 3, 8, 8)).astype(np.float32)} for _ in range(2)]


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def assert_equal(one: Model, two: Model) -> None:
    assert one.nodes == two.nodes and one.metadata == two.metadata
    assert one.weights.keys() == two.weights.keys()
    for name, tensor in one.weights.items():
        assert np.array_equal(tensor.numpy(), two.weights[name].numpy())


def test_a_recipe_does_what_the_functions_do(
    net: Model, calibration: list[dict[str, np.ndarray]], tmp_path: Path
) -> None:
    recipe = load_recipe(write(tmp_path, BOTH))
    ignored = {"logits/node": {"ignored": True}}
    pruned = prune(net, 0.6, scope="layer", layers={"conv.*": {"sparsity": 0.8}, **ignored})
    expected = quantize(
        pruned,
        calibration,
        weight_bits=7,
        activation_bits=7,
        method="percentile",
        percentile=99.9,
        layers={"conv.*": {"per_channel": False}, **ignored},
        original=net,
    )
    assert_equal(apply_recipe(net, recipe, calibration), expected)


def test_without_a_recipe_the_model_is_quantized(
    net: Model, calibration: list[dict[str, np.ndarray]]
) -> None:
    images: list[int] = []
    result = apply_recipe(net, None, iter(calibration), progress=images.append)
    assert_equal(result, quantize(net, calibration))
    assert images == [4, 4]


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ('[quantize]\nmode = "dynamic"\n[layers."logits/.*"]\nignored = true\n', "quantize"),
        ('[quantize]\nmode = "weights"\nweight_bits = 4\n', "quantize"),
        ('[store]\ndtype = "float16"\n[layers."logits/.*"]\nignored = true\n', "store"),
    ],
)
def test_steps_without_data(net: Model, text: str, step: str, tmp_path: Path) -> None:
    model = apply_recipe(net, load_recipe(write(tmp_path, text)))
    types = {node.op_type for node in model.nodes}
    wanted = {"dynamic": "ConvInteger", "weights": "DequantizeLinear", "float16": "Cast"}
    assert next(op for name, op in wanted.items() if name in text) in types
    assert ("Gemm" in types) == ('mode = "dynamic"' not in text or "ignored" in text)
    assert model.metadata["recipe"].keys() == {step}


def test_pruning_alone_needs_no_calibration(net: Model, tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, "[prune]\nsparsity = 0.5\n"))
    assert_equal(apply_recipe(net, recipe), prune(net, 0.5))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[prune\n", "this is not TOML"),
        ("", "expected at least one table of prune, quantize, store"),
        ("[layers]\n", "expected at least one table"),
        ("[distil]\n", "unknown tables: distil; expected prune, quantize, store, layers"),
        ("[prune]\nsparsty = 0.5\n", r"unknown keys of \[prune\]: sparsty; expected sparsity,"),
        ("[quantize]\nmodel = 1\n", r"unknown keys of \[quantize\]: model"),
        ("prune = 3\n", r"\[prune\]: expected a table, got 3"),
        ('[quantize]\n[layers."a"]\nbits = 3\n', r'unknown keys of \[layers."a"\]: bits'),
        ('[quantize]\n[layers]\n"a" = 3\n', r'\[layers."a"\]: expected a table, got 3'),
        ("[quantize]\noriginal = 'a'\n", r"unknown keys of \[quantize\]: original; expected mode,"),
        ("[quantize]\n[store]\n", r"\[quantize\] and \[store\] both say how"),
        ("[store]\nbits = 8\n", r"unknown keys of \[store\]: bits; expected dtype, ignored"),
        ('[quantize]\n[layers."a"]\nsparsity = 0.5\n', r"sparsity needs a table \[prune\]"),
    ],
)
def test_wrong_files_are_named(text: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(FormatError, match=message) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(str(path))


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(b"[prune]\n# \xff\n")
    with pytest.raises(FormatError, match="not UTF-8"):
        load_recipe(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*No such file"):
        load_recipe(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ({"prune": {"sparsity": "most"}}, r"\[prune\] sparsity: expected a number"),
        ({"quantize": {"weight_bits": 12}}, r"\[quantize\] .*weight_bits: expected 4 to 8"),
        ({"quantize": {"percentile": "p"}}, r"\[quantize\] percentile: expected above 50"),
        ({"quantize": {"ignored": 3}}, r"\[quantize\] ignored: expected a list"),
    ],
)
def test_wrong_values_name_the_table(
    net: Model,
    calibration: list[dict[str, np.ndarray]],
    steps: dict[str, dict[str, object]],
    message: str,
) -> None:
    with pytest.raises(InputError, match=message):
        apply_recipe(net, Recipe(steps), calibration)


def test_missing_calibration_is_named(net: Model) -> None:
    with pytest.raises(InputError, match=r"\[quantize\] expected calibration feeds"):
        apply_recipe(net)
