"""Fine-tuning: BatchNorm comes in for the time of the training, and goes without a trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from finetune_subject import (
    accuracy,
    dense_net,
    feeds,
    labelled,
    needs_torch,
    tuned,
)
from models import depthwise_net, residual_net

import sparing
from sparing import Model, Node, TensorInfo
from sparing.compression.renormalize import normalized
from sparing.compression.training_form import training_form, with_trained
from sparing.fold import simplify
from sparing.formats.onnx_reader import read_onnx
from sparing.interpreter import run_graph
from sparing.model import Tensor


@pytest.mark.parametrize("build", [residual_net, depthwise_net])
def test_batch_norm_is_put_in_without_change(build: Callable[[], Any]) -> None:
    """And folded again without change, also where a layer had no bias."""
    model = read_onnx(build())
    model = simplify(model) if build is depthwise_net else model
    shape: Any = model.inputs[0].shape
    x = np.random.default_rng(2).normal(0, 1, (16, *shape[1:])).astype(np.float32)
    normal = normalized(training_form(model), feeds(x))
    added = len(normal.form.graph.nodes) - len(normal.plain.source.nodes)
    assert added == (6 if build is depthwise_net else 1)  # in the residual net only the shortcut
    graph = normal.form.graph
    names = (*normal.form.weights, *normal.form.others, *normal.form.statistics)
    values = normal.folded({name: graph.weights[name].numpy() for name in names})
    (wanted,) = run_graph(model, feeds(x)).values()
    for same in (graph, with_trained(normal.plain, values, {})):
        # Scaled back and forth, each layer rounds twice more.
        np.testing.assert_allclose(run_graph(same, feeds(x))["logits"], wanted, atol=2e-5)


def test_batch_norm_restores_the_original_statistics() -> None:
    """In training, means and variances of the pruned layers' outputs are those of the original."""
    conv = Node("Conv", ("x", "w"), ("y",), {"pads": (1, 1, 1, 1)}, "conv")
    relu = Node("Relu", ("y",), ("z",), {}, "relu")
    f32 = np.dtype(np.float32)
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 1, (6, 4, 3, 3)).astype(np.float32)
    infos = TensorInfo("x", f32, ("N", 4, 9, 9)), TensorInfo("z", f32, None)
    model = Model((conv, relu), infos[:1], infos[1:], {"w": Tensor(weight)}, 17)
    x = {"x": rng.normal(0, 1, (8, 4, 9, 9)).astype(np.float32)}
    normal = normalized(training_form(sparing.prune(model, 0.8)), x, model)
    batch_norm = next(n for n in normal.form.graph.nodes if n.op_type == "BatchNormalization")
    trains = replace(batch_norm, attributes={**batch_norm.attributes, "training_mode": 1})
    nodes = tuple(trains if n is batch_norm else n for n in normal.form.graph.nodes)
    (y,) = run_graph(normal.form.graph.replace(nodes=nodes), x, ["y"]).values()
    (wanted,) = run_graph(model, x, ["y"]).values()
    axes = (0, 2, 3)
    np.testing.assert_allclose(y.mean(axes), wanted.mean(axes), atol=1e-4)  # float32 means
    np.testing.assert_allclose(y.std(axes), wanted.std(axes), rtol=1e-4)  # and epsilon 1e-5
    assert normal.plain.source.nodes[0].inputs == ("x", "w", "conv/bias")


@needs_torch
@pytest.mark.parametrize("batch_norm", [True, False])
def test_batch_norm_does_not_stay(batch_norm: bool) -> None:
    model = sparing.prune(dense_net(), 0.6, scope="layer")
    result = tuned(model, labelled(), 2, learning_rate=1e-2, batch_norm=batch_norm)
    assert [n.op_type for n in result.nodes] == [n.op_type for n in model.nodes]
    assert result.weights.keys() == model.weights.keys()
    assert accuracy(result, labelled()) > 0.85
