"""Pruning zeroes exactly the smallest weights, over the network or within each layer."""

from __future__ import annotations

from typing import Any

import models
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

from sparing.compression.granularity import smallest
from sparing.compression.prune import prune
from sparing.compression.quantize import quantize
from sparing.errors import InputError, ModelError
from sparing.fold import simplify
from sparing.formats.onnx_reader import read_onnx
from sparing.interpreter import run_graph
from sparing.model import Model, SparseTensor


def weights(model: Model) -> dict[str, npt.NDArray[np.float32]]:
    """Label of each layer -> its weights."""
    kinds = ("Conv", "Gemm", "MatMul")
    return {n.label: model.weights[n.inputs[1]].numpy() for n in model.nodes if n.op_type in kinds}


def flat(model: Model) -> npt.NDArray[np.float32]:
    return np.concatenate([w.reshape(-1) for w in weights(model).values()])


@pytest.fixture(scope="module")
def net() -> Model:
    return read_onnx(models.residual_net())


@pytest.mark.parametrize("sparsity", [0, 0.1, 0.5, 0.777, 0.9, 1])
def test_global_scope_zeroes_the_smallest_of_all(net: Model, sparsity: float) -> None:
    trained, folded, after = flat(net), flat(prune(net, 0)), flat(prune(net, sparsity))
    zeros = after == 0
    assert zeros.sum() == round(sparsity * after.size)
    assert np.array_equal(after[~zeros], folded[~zeros]), "what stays is unchanged"
    if zeros.any() and not zeros.all():
        assert np.abs(trained[zeros]).max() <= np.abs(trained[~zeros]).min()


@pytest.mark.parametrize("sparsity", [0.25, 0.9])
def test_layer_scope_zeroes_the_smallest_of_each(net: Model, sparsity: float) -> None:
    trained = weights(net)
    for label, array in weights(prune(net, sparsity, scope="layer")).items():
        zeros = array == 0
        assert zeros.sum() == round(sparsity * array.size)
        assert np.abs(trained[label][zeros]).max() <= np.abs(trained[label][~zeros]).min()


@pytest.mark.parametrize("name", ["conv", ""])
def test_batch_norm_is_folded_and_does_not_count(name: str) -> None:
    g = models.GraphBuilder()
    weight = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32).reshape(2, 2, 1, 1)
    x = g.add("Conv", ["input", g.weight("w", weight)], "conv")
    g.nodes[-1].name = name
    values = {"s": [100, 1], "b": [0, 0], "m": [0, 0], "v": [1, 1]}
    parameters = [g.weight(n, np.array(v, np.float32)) for n, v in values.items()]
    g.add("BatchNormalization", [x, *parameters], "output", epsilon=0.0)
    shape: tuple[int, models.Dims] = (TensorProto.FLOAT, ("N", 2, 4, 4))
    model = read_onnx(g.finish({"input": shape}, {"output": shape}))
    after = weights(prune(model, layers={"conv": {"sparsity": 0.25}}))
    assert after["conv"].reshape(2, 2).tolist() == [[0, 200], [3, 4]]


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=40),
    st.floats(0, 1),
)
def test_ties_go_in_order_of_position(values: list[int], share: float) -> None:
    magnitudes = np.array(values, np.float32)
    count = round(share * len(values))
    expected = sorted(range(len(values)), key=lambda i: (values[i], i))[:count]
    assert sorted(smallest(magnitudes, count).tolist()) == sorted(expected)


def test_zeros_of_before_count_and_stay(net: Model) -> None:
    once = prune(net, 0.6)
    assert np.array_equal(flat(prune(once, 0.6)), flat(once))
    assert np.array_equal(flat(prune(once, 0.3)), flat(once)), "already sparser"
    assert (flat(prune(once, 0.8)) == 0).sum() == round(0.8 * flat(once).size)


def test_weights_are_stored_sparse_where_that_is_smaller(net: Model) -> None:
    pruned = prune(net, 0.9, scope="layer")
    for node in pruned.nodes:
        if node.op_type in ("Conv", "Gemm"):
            tensor = pruned.weights[node.inputs[1]]
            assert isinstance(tensor, SparseTensor)
            assert tensor.nbytes < 0.2 * tensor.numpy().nbytes  # a bit and a tenth of a float
    dense = prune(net, 0.0)
    assert not any(isinstance(t, SparseTensor) for t in dense.weights.values())


def test_the_old_model_stays_and_the_new_one_runs(net: Model) -> None:
    x = {"input": np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)}
    before = run_graph(net, x)["logits"]
    pruned = prune(net, 0.5)
    assert np.array_equal(run_graph(net, x)["logits"], before)
    # Folding alone differs by float32 rounding; at 0 nothing else happens.
    np.testing.assert_allclose(run_graph(prune(net, 0), x)["logits"], before, rtol=1e-4, atol=1e-5)
    assert not np.allclose(run_graph(pruned, x)["logits"], before, rtol=1e-3)


def test_ignored_layers_keep_all_weights_and_do_not_count(net: Model) -> None:
    before, after = weights(simplify(net)), weights(prune(net, 0.5, ignored=["logits/.*"]))
    assert np.array_equal(after["logits/node"], before["logits/node"])
    rest = np.concatenate([w.reshape(-1) for n, w in after.items() if n != "logits/node"])
    assert (rest == 0).sum() == round(0.5 * rest.size)


def test_layers_with_a_sparsity_of_their_own(net: Model) -> None:
    settings: dict[str, dict[str, Any]] = {
        "conv.*": {"sparsity": 0.75},
        "conv2/node": {"sparsity": 0.25},
        "stem/node": {"ignored": True},
    }
    after = weights(prune(net, 0.5, layers=settings))
    zeros = {label: int((array == 0).sum()) for label, array in after.items()}
    assert zeros["conv1/node"] == round(0.75 * after["conv1/node"].size)
    assert zeros["conv2/node"] == round(0.25 * after["conv2/node"].size)
    assert zeros["stem/node"] == 0
    rest = [label for label in after if label in ("shortcut/node", "logits/node")]
    assert len(rest) == 2
    assert sum(zeros[n] for n in rest) == round(0.5 * sum(after[n].size for n in rest))


def test_a_weight_that_two_layers_share_counts_once() -> None:
    g = models.GraphBuilder()
    g.random("w", (4, 4, 1, 1))
    g.add("Conv", [g.add("Conv", ["input", "w"], "first"), "w"], "output")
    shape: tuple[int, models.Dims] = (TensorProto.FLOAT, ("N", 4, 4, 4))
    model = read_onnx(g.finish({"input": shape}, {"output": shape}))
    after = weights(prune(model, 0.5))
    assert [(array == 0).sum() for array in after.values()] == [8, 8]
    kept = weights(prune(model, 0.5, ignored=["output/node"]))
    assert all((array != 0).all() for array in kept.values()), "an ignored layer reads it too"


def test_the_recipe_is_recorded_and_kept_by_quantize(net: Model) -> None:
    pruned = prune(net, 0.5, scope="layer")
    x = {"input": np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)}
    both = quantize(pruned, [x])
    assert both.metadata["recipe"]["prune"] == {
        "sparsity": 0.5,
        "granularity": "element",
        "criterion": "magnitude",
        "scope": "layer",
        "repair": "none",
    }
    assert list(both.metadata["recipe"]) == ["prune", "quantize"]
    assert both.metadata["provenance"] == pruned.metadata["provenance"], "the first source"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": 1.1}, "^sparsity: expected a number from 0 to 1, got 1.1"),
        ({"sparsity": -0.1}, "sparsity: expected"),
        ({"sparsity": float("nan")}, "sparsity: expected"),
        ({"sparsity": "0.5"}, "sparsity: expected"),
        ({"sparsity": True}, "sparsity: expected"),
        ({"granularity": "2x2"}, "granularity: expected one of element, .* got '2x2'"),
        ({"granularity": "4:2"}, "granularity: expected one of element, .* got '4:2'"),
        ({"granularity": "2:4", "sparsity": 0.6}, "sparsity: 2:4 is 0.5, got 0.6"),
        ({"criterion": "size"}, "criterion: expected one of magnitude"),
        ({"scope": "all"}, "scope: expected one of global, layer"),
        ({"repair": "all"}, "repair: expected one of none, bias, weights"),
        ({"repair": "none", "calibration": []}, "criterion 'magnitude' without repair takes none"),
        ({"scope": "loss"}, "calibration: scope 'loss' needs feeds, got none"),
        ({"scope": "layer", "granularity": "2:4"}, "scope: 2:4 leaves nothing to share out"),
        ({"repair": "bias"}, "calibration: repair 'bias' needs feeds, got none"),
        ({"criterion": "obs"}, "calibration: criterion 'obs' needs feeds, got none"),
        ({"criterion": "obs", "calibration": [], "repair": "bias"}, "'obs' means 'weights'"),
        ({"criterion": "obs", "calibration": []}, "at least one image"),
        ({"criterion": "taylor", "calibration": []}, "labels: criterion 'taylor' needs them"),
        ({"labels": np.zeros(1, np.int64)}, "labels: criterion 'magnitude' takes none"),
        ({"ignored": ["nothing"]}, "matches no node"),
        ({"layers": {"conv1/node": {"sparsity": 2}}}, "'conv1/node': sparsity: expected"),
        ({"layers": {"conv1/node": {"weight_bits": 4}}}, "unknown"),
    ],
)
def test_wrong_arguments_are_named(net: Model, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        prune(net, **arguments)


def test_a_quantized_model_is_refused() -> None:
    with pytest.raises(ModelError, match="prune the float model, then quantize it"):
        prune(read_onnx(models.qdq_net()))
