"""`sparing.compress`: what it finds holds, is the same however it is worked at, and goes on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from same_model import assert_same_model
from search_subject import FEW, Agreement, Constant, agreement, images, network

import sparing
from sparing import tuning
from sparing.compression.recipe import Recipe, apply_recipe, load_recipe
from sparing.compression.search.costs import stored_bytes
from sparing.compression.search.space import recipe_text
from sparing.cost import costs_path
from sparing.errors import InputError, ModelError, SparingError
from sparing.kernels.registry import available_backends
from sparing.model import Model
from sparing.session import Session

BACKEND = available_backends()[0]
DROP = 0.05


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("SPARING_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def net() -> Model:
    return network()


@pytest.fixture(scope="module")
def score(net: Model) -> Agreement:
    return agreement(net)


@pytest.fixture(scope="module")
def smallest(net: Model, score: Agreement) -> Model:
    return sparing.compress(net, images(8, 0), score, DROP, "size", **FEW)


def test_the_smallest_is_smaller_than_int8_and_keeps_the_score(
    net: Model, score: Agreement, smallest: Model
) -> None:
    int8 = sparing.quantize(net, images(8, 0))
    assert score(Session(net, "numpy")) == 1.0
    assert score(Session(smallest, "numpy")) >= 1 - DROP
    assert stored_bytes(smallest) < 0.8 * stored_bytes(int8)


def test_the_recipe_in_the_model_gives_the_same_bytes(
    net: Model, smallest: Model, tmp_path: Path
) -> None:
    said = smallest.metadata["recipe"]
    layers: dict[str, dict[str, Any]] = {}
    for step in said.values():
        for pattern, given in step.get("layers", {}).items():
            layers.setdefault(pattern, {}).update(given)
    steps = {name: {k: v for k, v in step.items() if k != "layers"} for name, step in said.items()}
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_text(Recipe(steps, layers)), encoding="utf-8")
    again = apply_recipe(net, load_recipe(path), images(8, 0))
    for name, model in (("one", smallest), ("two", again)):
        sparing.save(model, tmp_path / f"{name}.sparing")
    assert (tmp_path / "one.sparing").read_bytes() == (tmp_path / "two.sparing").read_bytes()
    assert smallest.metadata["provenance"]["source"]


@contextmanager
def dask_executor() -> Iterator[Executor]:
    distributed = pytest.importorskip("distributed", reason="dask is not installed")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
        client.get_executor() as executor,
    ):
        yield executor


@pytest.mark.parametrize(
    "pool",
    [lambda: ThreadPoolExecutor(2), lambda: ProcessPoolExecutor(2), dask_executor],
    ids=["threads", "processes", "dask"],
)
def test_any_executor_gives_the_same(
    net: Model, score: Agreement, smallest: Model, pool: Any
) -> None:
    with pool() as executor:
        found = sparing.compress(net, images(8, 0), score, DROP, "size", executor=executor, **FEW)
    assert_same_model(found, smallest)


def test_a_search_that_was_stopped_goes_on(
    net: Model, score: Agreement, smallest: Model, tmp_path: Path
) -> None:
    state, calls = tmp_path / "state.json", tmp_path / "calls"

    class Stopped(Exception):
        pass

    def stops(session: Session) -> float:
        if calls.exists() and len(calls.read_bytes()) == 3:
            raise Stopped
        return counted(session)

    counted = Agreement(score.feeds, score.wanted, calls)
    with pytest.raises(Stopped):
        sparing.compress(net, images(8, 0), stops, DROP, "size", resume=state, **FEW)
    found = sparing.compress(net, images(8, 0), counted, DROP, "size", resume=state, **FEW)
    assert_same_model(found, smallest)
    whole = len(calls.read_bytes())
    assert whole > 4

    # all is known now: nothing is evaluated, and another drop only chooses anew
    again = sparing.compress(net, images(8, 0), counted, DROP, "size", resume=state, **FEW)
    assert_same_model(again, smallest)
    assert len(calls.read_bytes()) == whole

    fresh = tmp_path / "fresh"
    counted_anew = Agreement(score.feeds, score.wanted, fresh)
    sparing.compress(net, images(8, 0), counted_anew, DROP, "size", **FEW)
    assert len(fresh.read_bytes()) == whole

    with pytest.raises(InputError, match="calibration, seed"):
        sparing.compress(net, images(8, 2), counted, DROP, "size", seed=1, resume=state, **FEW)


@pytest.mark.parametrize("favourite", ["conv_csr_s8", "conv_s8"])
def test_latency_follows_the_file_of_costs(
    net: Model, score: Agreement, monkeypatch: pytest.MonkeyPatch, favourite: str
) -> None:
    """Where sparse kernels cost next to nothing, layers are pruned; where dense ones do, none."""
    if BACKEND == "numpy":
        pytest.skip("the reference has no sparse kernels")
    measurements = tuning._measurements

    def named(*arguments: Any) -> Iterator[tuple[str, Any]]:
        return ((key, lambda key=key: key) for key, _ in measurements(*arguments))

    def price(key: str, seconds: float) -> float:
        cheap = key.startswith((f"{favourite}.", "transpose"))
        return 1e-9 if cheap and (favourite == "conv_s8" or "zeros 0.0" not in key) else 1e-3

    monkeypatch.setattr(tuning, "_measurements", named)
    monkeypatch.setattr(tuning, "_seconds", price)
    given = {**FEW, "backend": BACKEND, "granularities": ("element",)}
    found = sparing.compress(net, images(8, 0), score, 0.3, "latency", **given)
    assert bool(pruned_layers(found)) == (favourite == "conv_csr_s8")
    assert "quantize" in found.metadata["recipe"]
    before = costs_path(BACKEND, 1).read_bytes()
    monkeypatch.setattr(tuning, "_seconds", None)  # all that is asked for is in the file
    again = sparing.compress(net, images(8, 0), score, 0.3, "latency", **given)
    assert_same_model(again, found)
    assert costs_path(BACKEND, 1).read_bytes() == before


def pruned_layers(model: Model) -> list[str]:
    layers = model.metadata["recipe"].get("prune", {}).get("layers", {})
    return [label for label, given in layers.items() if given.get("sparsity")]


class OnlyFloat:
    """A score that nothing but the float model holds."""

    def __call__(self, session: Session) -> float:
        return 0.2 if "recipe" in session.metadata else 0.9


def test_where_nothing_holds_the_model_is_returned_as_it_stands(
    net: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.warns(UserWarning, match="as it stands.*drops by 0.7000 from 0.9000"):
        found = sparing.compress(net, images(8, 0), OnlyFloat(), 0.1, "size", **FEW)
    assert_same_model(found, net)
    assert capsys.readouterr() == ("", "")


def test_a_score_that_is_another_each_time_is_refused(net: Model) -> None:
    scores = iter([0.9, *[0.1] * 20])
    with pytest.raises(SparingError, match=r"0\.9 and then 0\.1"):
        sparing.compress(net, images(8, 0), lambda _: next(scores), 0.1, "size", **FEW)


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan"), True, "0.5", None, np.ones(1)])
def test_scores_must_be_numbers_from_0_to_1(net: Model, value: Any) -> None:
    with pytest.raises(InputError, match="from 0 to 1"):
        sparing.compress(net, images(8, 0), Constant(value), 0.1, "size", **FEW)


def test_bad_arguments_are_refused_before_the_work(net: Model, smallest: Model) -> None:
    def refused(error: type[Exception], match: str, **changed: Any) -> None:
        fine = {"model": net, "calibration": images(8, 0), "evaluate": Constant(1.0)}
        given: dict[str, Any] = {**fine, "max_drop": 0.1, "target": "size", **FEW, **changed}
        with pytest.raises(error, match=match):
            sparing.compress(**given)

    refused(InputError, "max_drop", max_drop=-0.01)
    refused(InputError, "target", target="speed")
    refused(InputError, "one-shot iterator", calibration=iter(images(8, 0)))
    refused(InputError, "at least one image", calibration=[])
    refused(InputError, "calibration: expected feeds", calibration=[{"other": np.zeros(3)}])
    refused(InputError, "calibration: expected feeds, got int", calibration=3)
    refused(ModelError, "quantized", model=smallest)
    with ProcessPoolExecutor(1) as executor:
        refused(InputError, "pickled", evaluate=lambda session: 1.0, executor=executor)


def test_the_front_is_printed_where_progress_is_wanted(
    net: Model, score: Agreement, capsys: pytest.CaptureFixture[str]
) -> None:
    found = sparing.compress(net, images(8, 0), score, DROP, "size", progress=True, **FEW)
    out = capsys.readouterr().out
    assert "Pareto front: size, drop of at most 0.05" in out
    assert out.count("result") == 1 and f"{stored_bytes(found):,.0f}" in out
