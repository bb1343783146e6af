"""What the search chooses among: for each layer a sparsity and a width of weights, or float.

A configuration is one choice a layer, and comes to a recipe: the only way in which anything is
applied, so that what was searched is what the recipe does.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...model import Model
from ..layers import is_layer
from ..recipe import Recipe

# What stays of a layer's weights shrinks by about the square root of 2 from one to the next.
SPARSITIES = (0.0, 0.3, 0.5, 0.65, 0.75, 0.82, 0.88, 0.94)


@dataclass(frozen=True, slots=True)
class Choice:
    """What is done to a layer. weight_bits: None leaves it in float."""

    sparsity: float = 0.0
    weight_bits: int | None = None

    @property
    def name(self) -> str:
        width = "float" if self.weight_bits is None else f"int{self.weight_bits}"
        return f"{width} {self.sparsity:.0%}" if self.sparsity else width


FLOAT = Choice()


@dataclass(frozen=True, slots=True)
class Configuration:
    """A choice for each layer, by label. granularity: of all that is pruned."""

    granularity: str
    choices: Mapping[str, Choice]


@dataclass(frozen=True, slots=True)
class Space:
    """layers: labels in graph order. prunable, shared: those of them that may be pruned, and that
    share constants, which reconstruction cannot touch.
    """

    layers: tuple[str, ...]
    prunable: frozenset[str]
    shared: tuple[str, ...]
    sparsities: tuple[float, ...]
    weight_bits: tuple[int, ...]
    activation_bits: int

    def choices(self, label: str) -> list[Choice]:
        """All that may be done to a layer: float first, then from most to fewest bits."""
        shares = sorted({0.0, *self.sparsities}) if label in self.prunable else [0.0]
        widths = sorted(set(self.weight_bits), reverse=True)
        return [FLOAT, *(Choice(share, bits) for bits in widths for share in shares)]

    def integers(self) -> Configuration:
        """Every layer quantized to the most bits, none pruned."""
        return Configuration(
            "element", dict.fromkeys(self.layers, Choice(0.0, max(self.weight_bits)))
        )

    def recipe(self, configuration: Configuration, others: Iterable[str] = ()) -> Recipe:
        """What applies a configuration. others: labels of layers that stay as they are."""
        choices = configuration.choices
        floats = [label for label, choice in choices.items() if choice.weight_bits is None]
        widths = {label: c.weight_bits for label, c in choices.items() if c.weight_bits is not None}
        pruned = {label: choice.sparsity for label, choice in choices.items() if choice.sparsity}
        steps: dict[str, dict[str, Any]] = {}
        layers: dict[str, dict[str, Any]] = {}
        if pruned:
            steps["prune"] = {
                "sparsity": 0.0,  # layers that are not named only make up for those that are
                "granularity": configuration.granularity,
                "criterion": "obs",
                "scope": "layer",
                **_ignored([*others, *(label for label in self.shared if label in choices)]),
            }
            for label, sparsity in pruned.items():
                layers.setdefault(re.escape(label), {})["sparsity"] = sparsity
        if widths:
            common = max(widths.values())
            steps["quantize"] = {
                "weight_bits": common,
                "activation_bits": self.activation_bits,
                **_ignored([*others, *floats]),
            }
            for label, bits in widths.items():
                if bits != common:
                    layers.setdefault(re.escape(label), {})["weight_bits"] = bits
        return Recipe(steps, layers)

    def key(self, configuration: Configuration) -> str:
        """The same for configurations that come to the same recipe."""
        recipe = self.recipe(configuration)
        text = json.dumps([recipe.steps, recipe.layers], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def space_of(
    model: Model, sparsities: Sequence[float], weight_bits: Sequence[int], activation_bits: int
) -> Space:
    """model: a simplified float model. Depthwise layers and shared weights are not pruned."""
    readers = model.consumers()
    nodes = [node for node in model.nodes if is_layer(model, node)]
    shared = tuple(
        node.label
        for node in nodes
        if any(len(readers[name]) > 1 for name in node.inputs[1:] if name)
    )
    depthwise = {
        node.label
        for node in nodes
        if node.attributes.get("group", 1) != 1 and model.weights[node.inputs[1]].shape[1] == 1
    }
    labels = tuple(node.label for node in nodes)
    return Space(
        labels,
        frozenset(labels) - depthwise - set(shared),
        shared,
        tuple(sparsities),
        tuple(weight_bits),
        activation_bits,
    )


def recipe_text(recipe: Recipe) -> str:
    """The recipe as a TOML file that `load_recipe` reads back."""
    lines: list[str] = []
    for name, arguments in recipe.steps.items():
        lines += [f"[{name}]", *_pairs(arguments), ""]
    for pattern, given in recipe.layers.items():
        lines += [f"[layers.{_text(pattern)}]", *_pairs(given), ""]
    return "\n".join(lines)


def _pairs(table: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {_text(value)}" for key, value in table.items()]


def _text(value: Any) -> str:
    """A value in TOML, whose texts, numbers, booleans and lists are written as JSON's."""
    return json.dumps(value, ensure_ascii=False)


def _ignored(labels: Iterable[str]) -> dict[str, list[str]]:
    patterns = [re.escape(label) for label in dict.fromkeys(labels)]
    return {"ignored": patterns} if patterns else {}
