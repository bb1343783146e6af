"""The parts of the search: recipes of configurations, measured losses, and costs."""

from __future__ import annotations

from pathlib import Path

import models
import numpy as np
import pytest
from search_subject import images

from sparing.compression.prune import prune
from sparing.compression.quantize import quantize
from sparing.compression.recipe import Recipe, apply_recipe, load_recipe
from sparing.compression.search.costs import Latency, Size, StandIns, planned_seconds
from sparing.compression.search.front import worthwhile
from sparing.compression.search.losses import DRAWN, LayerTask, measure_layer, sample
from sparing.compression.search.options import options_for
from sparing.compression.search.space import (
    FLOAT,
    Choice,
    Configuration,
    Space,
    recipe_text,
    space_of,
)
from sparing.compression.sensitivity import answers, distance
from sparing.compression.spool import Spool
from sparing.compression.submodel import Runner
from sparing.cost import Costs, saved_costs
from sparing.errors import InputError
from sparing.fold import simplify
from sparing.formats.onnx_reader import read_onnx
from sparing.kernels.registry import available_backends
from sparing.lower import lower
from sparing.model import Model
from sparing.plan import make_plan
from sparing.tuning import tune

BACKEND = available_backends()[0]
SHAPES = {"input": (1, 3, 8, 8)}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARING_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def net() -> Model:
    return simplify(read_onnx(models.residual_net()))


@pytest.fixture(scope="module")
def space(net: Model) -> Space:
    return space_of(net, (0.0, 0.5, 0.8), (8, 4), 8)


def test_a_configuration_comes_to_the_recipe_that_says_it(net: Model, space: Space) -> None:
    first, second, third = space.layers[:3]
    choices = dict.fromkeys(space.layers, Choice(0.0, 8))
    choices |= {first: FLOAT, second: Choice(0.5, 4), third: Choice(0.8, 8)}
    recipe = space.recipe(Configuration("1x4", choices))
    assert recipe.steps["prune"]["granularity"] == "1x4"
    small = apply_recipe(net, recipe, images(8, 0))

    made = small.producers()
    for node in small.nodes:
        if node.label in choices:
            source = made.get(node.inputs[1])
            if node.label == first:
                assert source is None  # float weights
                continue
            assert source is not None
            weight = small.weights[source.inputs[0]].numpy()
            share = 1 - np.count_nonzero(weight) / weight.size
            # blocks at the end of 3 input channels are smaller, and rounding adds zeros
            assert share >= choices[node.label].sparsity - 0.05
            assert (np.abs(weight).max() <= 7) == (node.label == second)


def test_recipes_survive_their_file(tmp_path: Path, space: Space) -> None:
    recipe = Recipe(
        {"prune": {"sparsity": 0.0, "criterion": "obs"}, "quantize": {"ignored": ["a\\.b", 'q"']}},
        {'tête/"conv"\\-1': {"sparsity": 0.5, "weight_bits": 4}, "b": {"per_channel": True}},
    )
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_text(recipe), encoding="utf-8")
    assert load_recipe(path) == recipe


def test_equal_recipes_have_equal_keys(space: Space) -> None:
    plain = space.integers()
    blocks = Configuration("1x4", plain.choices)  # nothing is pruned: the pattern says nothing
    assert space.key(plain) == space.key(blocks)
    other = dict(plain.choices) | {space.layers[0]: Choice(0.5, 8)}
    assert space.key(Configuration("element", other)) != space.key(plain)


def test_depthwise_layers_are_not_pruned() -> None:
    deep = simplify(read_onnx(models.depthwise_net()))
    space = space_of(deep, (0.0, 0.5), (8,), 8)
    kept = [label for label in space.layers if label not in space.prunable]
    assert len(kept) == 2 and all("depthwise" in label for label in kept)
    assert {choice.sparsity for choice in space.choices(kept[0])} == {0.0}


@pytest.mark.parametrize("layer", [0, 2, 4])
def test_a_loss_is_what_the_layer_alone_does_to_the_answers(
    net: Model, space: Space, layer: int
) -> None:
    label = space.layers[layer]
    choices = [Choice(0.0, 8), Choice(0.8, 8), Choice(0.8, 4)]
    data = [{"input": feeds["input"][i : i + 1]} for feeds in images(16, 0) for i in range(8)]
    losses = measure_layer(LayerTask(net, space, data, label, "element", choices))
    # written independently: on the whole network, the other layers ignored
    others = [name for name in space.layers if name != label]
    names = [info.name for info in net.inputs], [info.name for info in net.outputs]
    with Spool() as spool:
        for feeds in data[1::2]:
            spool.append(feeds)
        wanted = answers(Runner(net, *names), spool)
        for choice, loss in zip(choices, losses, strict=True):
            recipe = space.recipe(Configuration("element", {label: choice}), others)
            got = answers(Runner(apply_recipe(net, recipe, data[::2]), *names), spool)
            mean = sum(map(distance, wanted, got)) / len(wanted)
            # losses keep 6 digits
            assert loss == pytest.approx(mean, rel=1e-5) and loss > 0
    assert losses[0] < losses[1]


def test_losses_are_measured_on_images_drawn_by_the_seed(net: Model) -> None:
    data = images(128, 0)
    one, same, other = (sample(net, data, seed) for seed in (0, 0, 1))
    assert len(one.images) == DRAWN and all(f["input"].shape[0] == 1 for f in one.images)
    texts = [[f["input"].tobytes() for f in drawn.images] for drawn in (one, same, other)]
    assert texts[0] == texts[1] != texts[2]
    assert one.digest == other.digest != sample(net, images(128, 1), 0).digest
    every = {feeds["input"][i : i + 1].tobytes() for feeds in data for i in range(8)}
    assert set(texts[0]) <= every and len(set(texts[0])) == DRAWN
    with pytest.raises(InputError, match="at least one image"):
        sample(net, [], 0)


def test_sizes_are_those_of_the_file(net: Model, space: Space) -> None:
    costs = Size(StandIns(net, space, images(8, 0)))
    for choice in space.choices(space.layers[0]):
        costs.prepare("element", choice)
    plain = space.integers()
    quantized = quantize(net, images(8, 0))
    assert costs.predicted(plain) == costs.actual(quantized)
    large = max(space.layers, key=lambda label: costs.layer(label, "element", FLOAT, False))
    eight, four, sparse = (
        costs.layer(large, "element", choice, False)
        for choice in (Choice(0.0, 8), Choice(0.0, 4), Choice(0.8, 8))
    )
    size = 12 * 12 * 9
    assert (eight, four) == (size, size / 2)
    assert sparse == pytest.approx(size / 8 + size * 0.2, abs=16)  # rounding adds a few zeros
    assert costs.actual(net) == sum(tensor.nbytes for tensor in net.weights.values())


def test_latency_follows_the_file_of_costs(net: Model, space: Space) -> None:
    costs = Latency(StandIns(net, space, images(8, 0)), BACKEND, 1, SHAPES)
    for choice in (FLOAT, Choice(0.0, 8), Choice(0.8, 8)):
        costs.prepare("element", choice)
    tuned = saved_costs(BACKEND, 1)
    quantized = quantize(net, images(8, 0), method="minmax", rounding="nearest")
    tune(quantized, SHAPES, BACKEND, 1)
    # loose: each is a sum of separate measurements on what may be a busy machine
    planned = planned_seconds(lower(quantized, SHAPES), BACKEND, tuned)
    assert costs.predicted(space.integers()) == pytest.approx(planned, rel=0.5)
    mixed = dict(space.integers().choices) | {space.layers[1]: FLOAT}
    assert costs.predicted(Configuration("element", mixed)) > 0
    for label in space.layers:
        assert costs.layer(label, "element", Choice(0.8, 8), False) > 0
        alone = costs.layer(label, "element", Choice(0.8, 8), True)
        assert costs.layer(label, "element", Choice(0.8, 8), False) <= alone


@pytest.mark.parametrize("sparsity", [0.0, 0.9])
def test_planned_seconds_are_those_of_the_plan(net: Model, sparsity: float) -> None:
    model = quantize(prune(net, sparsity), images(8, 0), rounding="nearest")
    lowered, costs = lower(model, SHAPES), Costs()
    plan = make_plan(lowered, BACKEND, 1, costs)
    seconds = 0.0
    for step in plan.steps:
        if step.operation >= 0:
            seconds += plan.chosen[step.operation].seconds
        else:
            ((name, before),), ((_, after),) = step.inputs, step.outputs
            seconds += costs.transpose(lowered.values[name], before, after)
    assert planned_seconds(lowered, BACKEND, costs) == pytest.approx(seconds, rel=1e-12)


def test_choices_that_do_not_pay_are_left_out(space: Space) -> None:
    prices = {FLOAT: 10.0, Choice(0.0, 8): 5.0, Choice(0.5, 8): 4.95, Choice(0.8, 8): 3.0}

    class Prices:
        def layer(self, label: str, granularity: str, choice: Choice, alone: bool) -> float:
            return prices.get(choice, 2.9 if choice.sparsity else 5.0)

    table = worthwhile(space, Prices(), "element")  # type: ignore[arg-type]
    kept = [FLOAT, Choice(0.0, 8), Choice(0.8, 8), Choice(0.5, 4)]
    # 50 % saves less than 2 %; 4 bits alone nothing, and at 80 % no more than at 50 %
    assert table[space.layers[0]] == kept


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_drop", -0.01),
        ("max_drop", float("nan")),
        ("max_drop", "1"),
        ("target", "speed"),
        ("seed", -1),
        ("sparsities", (1.0,)),
        ("sparsities", 0.5),
        ("weight_bits", ()),
        ("weight_bits", (3,)),
        ("granularities", ("2:4",)),
        ("granularities", ("channel",)),
        ("activation_bits", 6),
    ],
)
def test_bad_options_are_named(name: str, value: object) -> None:
    given: dict[str, object] = {
        "max_drop": 0.01,
        "target": "size",
        "seed": 0,
        "sparsities": (0.5,),
        "weight_bits": None,
        "granularities": None,
        "activation_bits": 8,
    }
    with pytest.raises(InputError, match=name if name != "granularities" else "granularit"):
        options_for(**{**given, name: value})  # type: ignore[arg-type]
