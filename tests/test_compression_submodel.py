"""Parts of graphs compute what the whole does, and stages cover all layers."""

from __future__ import annotations

import itertools

import models
import numpy as np
import pytest

from sparing.compression.layers import is_layer
from sparing.compression.spool import Spool
from sparing.compression.submodel import Runner, single_images, stages
from sparing.fold import simplify
from sparing.formats.onnx_reader import read_onnx
from sparing.interpreter import run_graph
from sparing.model import Model

BUILDS = [models.residual_net, models.depthwise_net]


def net(build: object) -> Model:
    assert callable(build)
    return simplify(read_onnx(build()))


def feeds(model: Model, batch: int = 2) -> dict[str, np.ndarray]:
    shape = [d for d in model.inputs[0].shape or () if isinstance(d, int)]
    rng = np.random.default_rng(0)
    return {"input": rng.normal(size=(batch, *shape)).astype(np.float32)}


@pytest.mark.parametrize("build", BUILDS)
def test_stages_one_after_the_other_are_the_whole(build: object) -> None:
    model = net(build)
    labels = {node.label for node in model.nodes if is_layer(model, node)}
    found = stages(model, labels)
    assert len(found) > 1, "there are places to cut"
    assert [n for stage in found for n in stage.nodes] == list(model.nodes)
    values = feeds(model)
    wanted: dict[str, np.ndarray] = {}
    run_graph(model, values, observe=wanted.__setitem__)
    for stage, after in itertools.pairwise(found):
        assert any(node.label in labels for node in stage.nodes)
        values = Runner(model, stage.starts, after.starts).run(values)
        for name in after.starts:
            # another backend's sums: K is 72 at most, values are about 1
            np.testing.assert_allclose(values[name], wanted[name], atol=1e-4)
    last = Runner(model, found[-1].starts, ["logits"]).run(values)["logits"]
    np.testing.assert_allclose(last, wanted["logits"], atol=1e-4)


def test_a_stage_holds_a_residual_block() -> None:
    model = net(models.residual_net)
    labels = {node.label for node in model.nodes if is_layer(model, node)}
    assert [[n.op_type for n in stage.nodes] for stage in stages(model, labels)] == [
        ["Conv", "Relu"],
        ["Conv", "Relu", "Conv", "Conv", "Add", "Relu"],
        ["GlobalAveragePool", "Flatten", "Gemm"],
    ]


def test_inputs_and_constants_pass_through() -> None:
    model = net(models.residual_net)
    values = feeds(model)
    got = Runner(model, ["input"], ["input"]).run(values)
    assert np.array_equal(got["input"], values["input"])


def test_shapes_may_change_between_runs() -> None:
    model = net(models.depthwise_net)
    runner = Runner(model, ["input"], ["logits"])
    for batch in (1, 3, 1):
        assert runner.run(feeds(model, batch))["logits"].shape == (batch, 4)


def test_batches_are_split_where_the_model_lets() -> None:
    model = net(models.residual_net)
    parts = list(single_images(model, feeds(model, 3)))
    assert [p["input"].shape[0] for p in parts] == [1, 1, 1]
    fixed = read_onnx(models.residual_net())
    info = fixed.inputs[0]
    fixed = fixed.replace(inputs=(type(info)(info.name, info.dtype, (3, 3, 8, 8)),))
    assert [p["input"].shape[0] for p in single_images(fixed, feeds(model, 3))] == [3]


def test_a_spool_gives_back_what_was_put_in_as_often_as_wanted() -> None:
    rng = np.random.default_rng(0)
    rows: list[dict[str, np.ndarray]] = [
        {"a": rng.normal(size=(i + 1, 2)).astype(np.float32), "b": np.arange(i)} for i in range(4)
    ]
    with Spool() as spool:
        for row in rows:
            spool.append(row)
        assert len(spool) == 4
        # two readers at once, as reconstruction has where float and quantized inputs are the same
        for one, two, row in zip(spool, spool, rows, strict=True):
            for name, array in row.items():
                assert np.array_equal(one[name], array) and np.array_equal(two[name], array)
                assert one[name].dtype == array.dtype
