"""Layer by layer repair: residuals, clamps, and the images that losses are measured on."""

from __future__ import annotations

from typing import Any

import models
import numpy as np
import numpy.typing as npt
import pytest

from sparing.compression import layerwise, observed
from sparing.compression.observed import Clamp, clamp_behind
from sparing.compression.prune import prune
from sparing.compression.sensitivity import MEASURED, halves
from sparing.compression.spool import Spool
from sparing.compression.submodel import wanted_output
from sparing.formats.onnx_reader import read_onnx
from sparing.interpreter import run_graph
from sparing.model import Model

F32 = npt.NDArray[np.float32]


def residual_branch() -> Model:
    """`first` is read by `second`, whose output is added to it; `last` has a Relu behind it."""
    g = models.GraphBuilder()
    x = g.conv("input", "first", (8, 6, 3, 3), bias=True, pads=[1, 1, 1, 1])
    y = g.conv(x, "second", (8, 8, 3, 3), bias=True, pads=[1, 1, 1, 1])
    total = g.add("Add", [x, y], "total")
    z = g.conv(total, "last", (12, 8, 1, 1), bias=True)
    g.add("Relu", [z], "output")
    return read_onnx(g.finish({"input": (1, ("N", 6, 8, 8))}, {"output": (1, ("N", 12, 8, 8))}))


def feeds(count: int, seed: int) -> list[dict[str, F32]]:
    """Images of six channels that are mixtures of four."""
    mix = np.random.default_rng(0).normal(size=(6, 4))
    rng = np.random.default_rng(seed)
    return [
        {"input": np.einsum("oi,nihw->nohw", mix, rng.normal(size=(1, 4, 8, 8))).astype(np.float32)}
        for _ in range(count)
    ]


def error(model: Model, net: Model, name: str, images: list[dict[str, F32]]) -> float:
    differences = [run_graph(model, x)[name] - run_graph(net, x)[name] for x in images]
    return float(np.square(differences).mean())


def test_a_layer_makes_up_for_the_residual_that_is_added_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = residual_branch()
    label = {node.outputs[0]: node.label for node in net.nodes}
    first, last = label["first"], net.nodes[3].label
    settings: dict[str, Any] = {first: {"sparsity": 0.6}, last: {"ignored": True}}
    arguments: dict[str, Any] = {
        "criterion": "obs",
        "calibration": feeds(60, 1),
        "layers": settings,
    }
    aware = prune(net, 0.0, **arguments)
    monkeypatch.setattr(observed, "wanted_output", lambda model, node: (node.outputs[0], ""))
    unaware = prune(net, 0.0, **arguments)
    fresh = feeds(40, 2)
    assert error(aware, net, "output", fresh) < 0.9 * error(unaware, net, "output", fresh)


def test_only_the_layer_that_runs_last_has_a_residual_before_it() -> None:
    net = residual_branch()
    found = [wanted_output(net, node) for node in net.nodes if node.op_type == "Conv"]
    assert found == [("first", ""), ("total", "first"), ("last", "")]


def test_outputs_that_a_clamp_hides_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    net = residual_branch()
    settings = {node.label: {"ignored": True} for node in net.nodes[:2]}
    arguments: dict[str, Any] = {
        "criterion": "obs",
        "calibration": feeds(60, 1),
        "layers": settings,
    }
    with_turns = prune(net, 0.6, **arguments)
    monkeypatch.setattr(layerwise, "CLAMP_TURNS", 0)
    without = prune(net, 0.6, **arguments)
    fresh = feeds(40, 2)
    assert error(with_turns, net, "output", fresh) < 0.97 * error(without, net, "output", fresh)
    zeros = [model.weights["last.weight"].numpy() == 0 for model in (with_turns, without)]
    assert np.array_equal(*zeros)


def test_the_nearest_output_is_the_same_behind_the_clamp() -> None:
    rng = np.random.default_rng(3)
    wanted, got = rng.normal(3, 4, (2, 1000))
    for clamp in (Clamp(0.0, 6.0), Clamp(0.0, np.inf), Clamp(-np.inf, 2.0)):
        near = clamp.nearest(wanted, got)
        behind = [np.clip(values, clamp.lo, clamp.hi) for values in (near, wanted, got)]
        assert np.array_equal(behind[0], behind[1])
        assert (np.abs(near - got) <= np.abs(wanted - got)).all()
        both = behind[2] == behind[1]
        assert np.array_equal(near[both], got[both])


def test_clamps_are_found_where_they_alone_read_a_layer() -> None:
    net = residual_branch()
    found = [clamp_behind(net, node) for node in net.nodes if node.op_type == "Conv"]
    assert found == [None, None, Clamp(0.0, np.inf)]


@pytest.mark.parametrize("count", [1, 2, 5, 40, 100])
def test_losses_are_measured_on_other_images_than_those_that_repair(count: int) -> None:
    with Spool() as images:
        for number in range(count):
            images.append({"x": np.array([number])})
        repairing, measured = ({int(row["x"][0]) for row in half} for half in halves(images))
    assert len(measured) == min(MEASURED, max(1, count // 2))
    assert repairing == (set(range(count)) - measured or measured)
