"""Blocks and N:M patterns, pruning by data, and the reconstruction of what stays."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import combinations
from typing import Any

import models
import numpy as np
import numpy.typing as npt
import pytest
from onnx import TensorProto

from sparing.compression.allocation import Target, erdos_renyi, least_loss
from sparing.compression.brain_surgeon import best_values, loss, prune_matrix
from sparing.compression.granularity import granularity_of, smallest
from sparing.compression.prune import prune
from sparing.compression.quantize import quantize
from sparing.compression.recipe import apply_recipe, parse_recipe
from sparing.errors import InputError
from sparing.fold import simplify
from sparing.formats.onnx_reader import read_onnx
from sparing.interpreter import run_graph
from sparing.model import Model, Node

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]


def weights(model: Model) -> dict[str, F32]:
    kinds = ("Conv", "Gemm", "MatMul")
    return {n.label: model.weights[n.inputs[1]].numpy() for n in model.nodes if n.op_type in kinds}


def image_feeds(count: int, seed: int = 1) -> list[dict[str, F32]]:
    """Smooth images, so that neighbours and channels are correlated, as in photos."""
    rng = np.random.default_rng(seed)
    coarse = rng.standard_normal((count, 3, 4, 4)).repeat(2, axis=2).repeat(2, axis=3)
    mixed = coarse + 0.5 * coarse.mean(axis=1, keepdims=True)
    noisy = mixed + 0.2 * rng.standard_normal(mixed.shape)
    return [{"input": image[None].astype(np.float32)} for image in noisy]


@pytest.fixture(scope="module")
def net() -> Model:
    return read_onnx(models.residual_net())


@pytest.fixture(scope="module")
def data() -> list[dict[str, F32]]:
    return image_feeds(64)


def correlated(rows: int, size: int, seed: int) -> tuple[F64, F64]:
    """Weights [R, K] and a Hessian [K, K] with strong correlations."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((size, size)) @ rng.standard_normal((size, 4 * size))
    return rng.standard_normal((rows, size)), x @ x.T / (4 * size) + 0.01 * size * np.eye(size)


# ---- granularity ----


@pytest.mark.parametrize("shape", [(5, 7, 3, 3), (8, 8, 1, 1), (6, 10)])
@pytest.mark.parametrize(("name", "rows", "columns"), [("1x4", 1, 4), ("4x1", 4, 1)])
def test_blocks_go_as_a_whole(name: str, rows: int, columns: int, shape: tuple[int, ...]) -> None:
    groups = granularity_of(name)
    index = groups.groups(shape)
    values = np.random.default_rng(0).random(shape)
    mask = groups.keep(values, index, 5)
    blocks: list[tuple[float, npt.NDArray[np.bool_]]] = []
    for o in range(0, shape[0], rows):
        for i in range(0, shape[1], columns):
            for at in np.ndindex(*shape[2:]):
                here = (slice(o, o + rows), slice(i, i + columns), *at)
                assert np.unique(index[here]).size == 1
                blocks.append((float(values[here].mean()), mask[here]))
    assert len(blocks) == index.max() + 1
    blocks.sort(key=lambda block: block[0])
    assert not any(kept.any() for _, kept in blocks[:5])
    assert all(kept.all() for _, kept in blocks[5:])


def test_rows_do_not_cross_the_groups_of_a_convolution() -> None:
    index = granularity_of("4x1").groups((12, 2, 1, 1), conv_groups=2)[:, 0, 0, 0]
    assert [len(set(index[6 * g : 6 * g + 6].tolist())) for g in range(2)] == [2, 2]
    assert not set(index[:6].tolist()) & set(index[6:].tolist())


@pytest.mark.parametrize(("kept", "of"), [(2, 4), (1, 4), (3, 8)])
def test_n_of_every_m_stay(kept: int, of: int) -> None:
    values = np.random.default_rng(0).random((3, 10, 2, 2))
    mask = granularity_of(f"{kept}:{of}").keep(values, np.zeros(0), 0)
    for start in range(0, 10, of):
        window, chosen = values[:, start : start + of], mask[:, start : start + of]
        count = min(kept, window.shape[1])
        assert (chosen.sum(axis=1) == count).all()
        least = np.where(chosen, window, np.inf).min(axis=1)
        assert (np.where(chosen, -np.inf, window).max(axis=1) < least).all()


@pytest.mark.parametrize("granularity", ["2:4", "1x4", "4x1", "element"])
@pytest.mark.parametrize("criterion", ["magnitude", "activation", "obs"])
def test_patterns_hold_in_the_model(
    net: Model, data: list[dict[str, F32]], granularity: str, criterion: str
) -> None:
    calibration = None if criterion == "magnitude" else data[:8]
    scope = "global" if granularity == "2:4" else "layer"
    pruned = prune(net, 0.5, granularity, criterion, scope, calibration)
    for label, array in weights(pruned).items():
        groups = granularity_of(granularity)
        zero = array == 0
        if granularity == "2:4":
            width = array.shape[1] // 4 * 4
            windows = np.moveaxis(zero[:, :width], 1, -1).reshape(-1, 4)
            assert (windows.sum(axis=1) == 2).all(), label
        else:
            index = groups.groups(array.shape)
            gone = [block for block in range(index.max() + 1) if zero[index == block].all()]
            assert len(gone) == round(0.5 * (index.max() + 1)), label
            assert zero.sum() == np.isin(index, gone).sum(), label


# ---- allocation ----


def test_erdos_renyi_reaches_the_sparsity_and_keeps_small_layers_dense() -> None:
    shapes = {"a": (4, 3, 1, 1), "b": (64, 64, 3, 3), "c": (200, 640)}
    node = Node("Conv", ("x", "w"), ("y",))
    shares = erdos_renyi([Target(n, node, s) for n, s in shapes.items()], 0.9)
    sizes = {n: int(np.prod(s)) for n, s in shapes.items()}
    zeros = sum(shares[n] * sizes[n] for n in shapes)
    assert zeros == pytest.approx(0.9 * sum(sizes.values()))
    assert shares["a"] == 0 and 0 < shares["c"] < shares["b"]
    free = [n for n in shapes if shares[n] > 0]
    ratios = [(1 - shares[n]) * sizes[n] / sum(shapes[n]) for n in free]
    assert ratios == pytest.approx([ratios[0]] * len(free)), "density ~ sum / product"


# ---- optimal brain surgery ----


def test_kept_weights_take_their_best_values() -> None:
    w, h = correlated(6, 12, 0)
    keep = np.random.default_rng(1).random(w.shape) < 0.5
    best = best_values(w, h, keep)
    assert not best[~keep].any()
    gradient = (best - w) @ h
    # zero where weights are free: the condition for a minimum of a convex function
    assert np.abs(gradient[keep]).max() < 1e-9 * np.abs(w @ h).max()


def test_chosen_weights_are_close_to_the_best_choice_there_is() -> None:
    ratios = []
    for seed in range(20):
        w, h = correlated(1, 10, seed)
        losses = []
        for kept in combinations(range(10), 5):
            keep = np.zeros((1, 10), bool)
            keep[0, list(kept)] = True
            losses.append(loss(best_values(w, h, keep), w, h))

        def select(worth: F64) -> npt.NDArray[np.bool_]:
            mask = np.ones(worth.size, bool)
            mask[smallest(worth.reshape(-1), 5)] = False
            return mask.reshape(worth.shape)

        found = loss(prune_matrix(w, h, select), w, h)
        assert found >= min(losses) * (1 - 1e-9)
        ratios.append(found / min(losses))
        # the median of all choices is what guessing gives
        assert found < np.median(losses)
    assert np.median(ratios) < 1.1  # measured: most are the best choice itself


def error(model: Model, net: Model, held_out: list[dict[str, F32]]) -> float:
    moved = [run_graph(model, x)["logits"] - run_graph(net, x)["logits"] for x in held_out]
    return float(np.square(moved).mean())


def test_each_repair_comes_closer_to_the_original(net: Model, data: list[dict[str, F32]]) -> None:
    held_out = image_feeds(32, seed=2)
    steps: list[dict[str, Any]] = [
        {},
        {"calibration": data, "repair": "bias"},
        {"calibration": data, "repair": "weights"},
        {"calibration": data, "criterion": "obs"},
    ]
    errors = [error(prune(net, 0.6, **step), net, held_out) for step in steps]
    assert errors == sorted(errors, reverse=True)
    assert errors[3] < 0.2 * errors[0]


def test_bias_repair_gives_every_channel_its_mean_back(
    net: Model, data: list[dict[str, F32]]
) -> None:
    pruned = prune(net, 0.6, calibration=data, repair="bias")
    names = ["sum", "logits"]

    def means(model: Model) -> list[F32]:
        values = [run_graph(model, x, names) for x in data]
        stacked = [np.concatenate([v[name] for v in values]) for name in names]
        return [a.mean(axis=(0, *range(2, a.ndim))) for a in stacked]

    for before, after in zip(means(net), means(pruned), strict=True):
        # float32 sums over 64 images
        np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)
    plain = means(prune(net, 0.6))
    assert not np.allclose(plain[1], means(net)[1], rtol=0.01)


def test_results_are_the_same_every_time_and_for_every_batch_size(
    net: Model, data: list[dict[str, F32]]
) -> None:
    batched = [
        {"input": np.concatenate([x["input"] for x in data[i : i + 8]])} for i in range(0, 64, 8)
    ]
    first, again, other = (
        prune(net, 0.5, criterion="obs", calibration=d) for d in (data, data, batched)
    )
    for label, array in weights(first).items():
        assert np.array_equal(array, weights(again)[label])
        assert np.array_equal(array, weights(other)[label])


def test_a_one_shot_iterator_is_enough_and_progress_counts_images(
    net: Model, data: list[dict[str, F32]]
) -> None:
    seen: list[int] = []
    once = prune(net, 0.5, criterion="activation", calibration=iter(data), progress=seen.append)
    assert seen == [1] * 64
    again = prune(net, 0.5, criterion="activation", calibration=data)
    assert all(np.array_equal(a, weights(again)[n]) for n, a in weights(once).items())


def test_activations_decide_between_equal_weights() -> None:
    g = models.GraphBuilder()
    g.add("Conv", ["input", g.weight("w", np.ones((2, 4, 1, 1), np.float32))], "output")
    shape: tuple[int, models.Dims] = (TensorProto.FLOAT, ("N", 4, 2, 2))
    out: tuple[int, models.Dims] = (TensorProto.FLOAT, ("N", 2, 2, 2))
    model = read_onnx(g.finish({"input": shape}, {"output": out}))
    x = np.broadcast_to(np.array([3, 1, -4, 2], np.float32)[None, :, None, None], (1, 4, 2, 2))
    pruned = prune(model, 0.5, criterion="activation", calibration=[{"input": x}], repair="none")
    assert weights(pruned)["output/node"].reshape(2, 4).tolist() == [[1, 0, 1, 0]] * 2


def test_depthwise_layers_stay_unless_they_are_asked_for() -> None:
    g = models.GraphBuilder()
    x = g.conv("input", "depthwise", (8, 1, 3, 3), group=8)
    g.conv(x, "last", (4, 8, 1, 1))
    shape: tuple[int, models.Dims] = (TensorProto.FLOAT, ("N", 8, 4, 4))
    out: tuple[int, models.Dims] = (TensorProto.FLOAT, ("N", 4, 2, 2))
    model = read_onnx(g.finish({"input": shape}, {"last": out}))
    pruned = weights(prune(model, 0.5))
    assert (pruned["depthwise/node"] != 0).all() and (pruned["last/node"] == 0).sum() == 16
    asked = weights(prune(model, 0.5, layers={"depthwise/node": {"sparsity": 0.25}}))
    assert (asked["depthwise/node"] == 0).sum() == 18


def test_ignored_layers_are_not_repaired(net: Model, data: list[dict[str, F32]]) -> None:
    before = simplify(net)
    after = prune(net, 0.5, criterion="obs", calibration=data, ignored=["logits/.*", "stem/.*"])
    for label in ("logits/node", "stem/node"):
        assert np.array_equal(weights(after)[label], weights(before)[label])


def test_zeros_survive_quantization(net: Model, data: list[dict[str, F32]]) -> None:
    pruned = prune(net, 0.7, criterion="obs", calibration=data)
    zeros = {label: array == 0 for label, array in weights(pruned).items()}
    both = quantize(pruned, data)
    for label, mask in zeros.items():
        integers = both.weights[f"{label}/weight/quantized"].numpy()
        assert not integers[mask].any(), label


@pytest.mark.skipif(find_spec("torch") is None, reason="gradients come from PyTorch")
def test_taylor_removes_what_the_loss_does_not_depend_on() -> None:
    g = models.GraphBuilder()
    matrix = np.array([[1, 1, 1, 0.1], [1, -1, 1, 0.1], [-1, 0.5, 1, 0.1]], np.float32)
    g.add("Gemm", ["input", g.weight("w", matrix)], "logits", transB=1)
    shape: tuple[int, models.Dims] = (TensorProto.FLOAT, ("N", 4))
    out: tuple[int, models.Dims] = (TensorProto.FLOAT, ("N", 3))
    model = read_onnx(g.finish({"input": shape}, {"logits": out}))
    rng = np.random.default_rng(0)
    x = rng.standard_normal((16, 4)).astype(np.float32) * np.array([1, 1, 0, 1], np.float32)
    labels = rng.integers(0, 3, 16)
    arguments: dict[str, Any] = {"criterion": "taylor", "repair": "none"}
    pruned = prune(model, 0.5, calibration=[{"input": x}], labels=labels, **arguments)
    kept = weights(pruned)["logits/node"] != 0
    assert not kept[:, 2].any(), "an input that is always zero"
    assert not kept[:, 3].any(), "small weights"
    with pytest.raises(InputError, match="labels: expected one for each of 16 images"):
        prune(model, 0.5, calibration=[{"input": x}], labels=labels[:3], **arguments)
    with pytest.raises(InputError, match="labels: expected 0 to 2, got 7"):
        prune(model, 0.5, calibration=[{"input": x}], labels=labels * 0 + 7, **arguments)


def test_shared_constants_are_refused_for_repair() -> None:
    g = models.GraphBuilder()
    g.random("w", (4, 4, 1, 1))
    g.add("Conv", [g.add("Conv", ["input", "w"], "first"), "w"], "output")
    shape: tuple[int, models.Dims] = (TensorProto.FLOAT, ("N", 4, 4, 4))
    model = read_onnx(g.finish({"input": shape}, {"output": shape}))
    x = [{"input": np.ones((1, 4, 4, 4), np.float32)}]
    with pytest.raises(InputError, match="'first/node' shares 'w' with another node"):
        prune(model, 0.5, criterion="obs", calibration=x)
    assert prune(model, 0.5, criterion="activation", calibration=x, repair="none")


def test_least_loss_is_spent_where_it_is_flattest() -> None:
    sizes = {"a": 10, "b": 10, "c": 4}
    removed = {"a": [5, 10], "b": [5, 8, 10], "c": [2, 4]}
    losses = {"a": [1.0, 9.0], "b": [0.5, 0.4, 6.0], "c": [3.0, 4.0]}
    for total in range(25):
        counts = least_loss(sizes, removed, losses, total)
        assert sum(counts.values()) == total
        assert all(0 <= counts[n] <= sizes[n] for n in sizes)
    # slopes: b 0.05 (its first point lies above the line to the second), a 0.2, c 1, a 1.6, b 2.8
    assert least_loss(sizes, removed, losses, 8) == {"a": 0, "b": 8, "c": 0}
    assert least_loss(sizes, removed, losses, 15) == {"a": 5, "b": 8, "c": 2}
    assert least_loss(sizes, removed, losses, 24) == sizes


@pytest.mark.parametrize("criterion", ["activation", "obs"])
def test_measured_losses_decide_how_much_a_layer_loses(criterion: str) -> None:
    """Of two layers one hardly counts: what it makes is scaled down before the sum."""
    g = models.GraphBuilder()
    loud, quiet = (g.conv("input", name, (8, 4, 1, 1)) for name in ("loud", "quiet"))
    quiet = g.add("Mul", [quiet, "gain"], "small")
    g.add("Add", [loud, quiet], "output")
    shape: tuple[int, models.Dims] = (TensorProto.FLOAT, ("N", 4, 2, 2))
    gain: tuple[int, models.Dims] = (TensorProto.FLOAT, (1, 1, 1, 1))
    out: tuple[int, models.Dims] = (TensorProto.FLOAT, ("N", 8, 2, 2))
    model = read_onnx(g.finish({"input": shape, "gain": gain}, {"output": out}))
    rng = np.random.default_rng(0)
    little = np.full((1, 1, 1, 1), 1e-3, np.float32)
    data = [
        {"input": rng.standard_normal((1, 4, 2, 2)).astype(np.float32), "gain": little}
        for _ in range(8)
    ]
    pruned = weights(prune(model, 0.5, criterion=criterion, scope="loss", calibration=data))
    zeros = {label: int((array == 0).sum()) for label, array in pruned.items()}
    assert zeros == {"loud/node": 0, "quiet/node": 32}
    even = weights(prune(model, 0.5, criterion=criterion, scope="layer", calibration=data))
    assert [(array == 0).sum() for array in even.values()] == [16, 16]


def test_recipes_hand_calibration_to_the_steps_that_ask_for_it(
    net: Model, data: list[dict[str, F32]]
) -> None:
    recipe = parse_recipe({"prune": {"sparsity": 0.5, "criterion": "obs", "scope": "layer"}})
    by_recipe = apply_recipe(net, recipe, data)
    by_hand = prune(net, 0.5, criterion="obs", scope="layer", calibration=data)
    assert all(np.array_equal(a, weights(by_hand)[n]) for n, a in weights(by_recipe).items())
    assert by_recipe.metadata == by_hand.metadata
    plain = apply_recipe(net, parse_recipe({"prune": {"sparsity": 0.5}}), data)
    assert plain.metadata["recipe"]["prune"]["repair"] == "none"
    with pytest.raises(InputError, match=r"^\[prune\] calibration: criterion 'obs' needs feeds"):
        apply_recipe(net, recipe)
