"""Recipes: what to do to a model, as a TOML file whose keys are the Python arguments.

    [prune]
    sparsity = 0.8

    [quantize]
    weight_bits = 7
    method = "percentile"

    [layers."/head/.*"]        # whole node names, after BatchNorm is folded
    ignored = true

An absent table is a step left out; without a recipe the model is quantized to 8 bits.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import FormatError, InputError
from ..model import Model
from .calibrate import Feeds, Progress
from .layers import LayerSettings
from .prune import prune
from .prune_options import STRUCTURED, pruning_data
from .quantize import quantize
from .storage_float import store_floats

# What a file cannot hold: models, data, callbacks, and the tables that stand on their own.
_NOT_IN_FILES = {
    *("model", "original", "calibration", "labels", "progress", "layers", "calibration_cache")
}
_STEPS: Mapping[str, Callable[..., Model]] = {
    "prune": prune,
    "quantize": quantize,
    "store": store_floats,
}
_KEYS = {
    step: [key for key in inspect.signature(function).parameters if key not in _NOT_IN_FILES]
    for step, function in _STEPS.items()
}
# settings of a layer -> the step they belong to; "ignored" belongs to every one
_LAYER_KEYS = {
    "sparsity": "prune",
    "weight_bits": "quantize",
    "per_channel": "quantize",
    "rounding": "quantize",
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """Arguments of each step that is taken, in the order prune, quantize, store; and of single
    layers.
    """

    steps: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"quantize": {}})
    layers: LayerSettings = field(default_factory=dict)

    def layers_of(self, step: str) -> dict[str, dict[str, Any]]:
        """The layer tables cut down to what concerns one step."""
        cut = {
            pattern: {k: v for k, v in given.items() if _LAYER_KEYS.get(k, step) == step}
            for pattern, given in self.layers.items()
        }
        return {pattern: given for pattern, given in cut.items() if given}


def load_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Read a recipe file.

    Raises InputError where it cannot be read, FormatError where it is no TOML or holds unknown
    tables or keys. Values are checked by the steps themselves.
    """
    toml = _toml()
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: text that is not UTF-8: {error}") from error
    try:
        tables = toml.loads(text)
    except toml.TOMLDecodeError as error:
        raise FormatError(f"{path}: this is not TOML: {error}") from error
    try:
        return parse_recipe(tables)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error


def parse_recipe(tables: Mapping[str, Any]) -> Recipe:
    """A recipe from the tables of a file; raises FormatError for unknown tables and keys."""
    _known(tables, [*_STEPS, "layers"], "tables")
    steps = {step: _table(tables[step], f"[{step}]") for step in _STEPS if step in tables}
    for step, arguments in steps.items():
        _known(arguments, _KEYS[step], f"keys of [{step}]")
    layers: dict[str, dict[str, Any]] = {}
    for pattern, given in _table(tables.get("layers", {}), "[layers]").items():
        where = f'[layers."{pattern}"]'
        layers[pattern] = _table(given, where)
        _known(layers[pattern], [*_LAYER_KEYS, "ignored"], f"keys of {where}")
        for key in layers[pattern]:
            if key in _LAYER_KEYS and _LAYER_KEYS[key] not in steps:
                raise FormatError(f"{where}: {key} needs a table [{_LAYER_KEYS[key]}]")
    if {"quantize", "store"} <= steps.keys():
        raise FormatError("[quantize] and [store] both say how weights are kept: expected one")
    if not steps:
        raise FormatError(f"expected at least one table of {', '.join(_STEPS)}")
    return Recipe(steps, layers)


def apply_recipe(
    model: Model,
    recipe: Recipe | None = None,
    calibration: Iterable[Feeds] | None = None,
    progress: Progress | None = None,
    calibration_cache: str | os.PathLike[str] | None = None,
    original: Model | None = None,
) -> Model:
    """The model after the recipe's steps; without one, quantized with the default arguments.

    A model that was pruned is quantized for the outputs of the one before (`original` of
    `quantize`), unless channels or blocks are gone, or layers were equalized. The result's metadata
    holds the recipe and its provenance. progress, calibration_cache, original: as for `quantize`;
    an original is given where another recipe pruned the model.
    Raises what the steps raise, and InputError where calibration is needed and missing.
    """
    recipe = recipe or Recipe()
    if original is None and "prune" in recipe.steps and _keeps_shapes(recipe):
        original = model
    for step, arguments in recipe.steps.items():
        layers = recipe.layers_of(step)
        try:
            if step == "prune":
                data = pruning_data(arguments, calibration)
                model = prune(model, **arguments, **data, layers=layers, progress=progress)
            elif step == "store":
                model = store_floats(model, **_with_ignored(arguments, layers))
            else:
                model = quantize(
                    model,
                    calibration,
                    **arguments,
                    layers=layers,
                    original=original,
                    calibration_cache=calibration_cache,
                    progress=progress,
                )
        except InputError as error:
            raise InputError(f"[{step}] {error}") from error
    return model


def _keeps_shapes(recipe: Recipe) -> bool:
    """Whether the values of the graph stay comparable from before pruning to quantization."""
    granularity = recipe.steps["prune"].get("granularity")
    return granularity not in STRUCTURED and not recipe.steps.get("quantize", {}).get("equalize")


def _with_ignored(arguments: Mapping[str, Any], layers: LayerSettings) -> dict[str, Any]:
    """`arguments` of `store_floats`, which knows no other settings of single layers."""
    patterns = [pattern for pattern, given in layers.items() if given.get("ignored")]
    return {**arguments, "ignored": [*arguments.get("ignored", ()), *patterns]}


def _toml() -> Any:
    """tomllib, or its namesake for Python 3.10."""
    name = "tomllib" if sys.version_info >= (3, 11) else "tomli"
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(f"recipes need the package {name}: pip install 'sparing[cli]'") from error


def _table(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FormatError(f"{where}: expected a table, got {value!r}")
    return value


def _known(given: Mapping[str, Any], allowed: Iterable[str], what: str) -> None:
    unknown = [key for key in given if key not in allowed]
    if unknown:
        raise FormatError(f"unknown {what}: {', '.join(unknown)}; expected {', '.join(allowed)}")
