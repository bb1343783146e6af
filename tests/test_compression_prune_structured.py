"""Channels and blocks that are taken away: the smaller network computes what zeros would."""

from __future__ import annotations

from typing import Any

import models
import numpy as np
import numpy.typing as npt
import pytest
from onnx import TensorProto
from random_networks import random_network

from sparing.compression.blocks import find_blocks
from sparing.compression.layerwise import from_matrix
from sparing.compression.prune import prune
from sparing.compression.prune_options import Request
from sparing.compression.structured import (
    channel_masks,
    channel_worth,
    choose_channels,
    find_channels,
    remove_channels,
    spaces,
)
from sparing.errors import InputError
from sparing.fold import simplify
from sparing.formats.onnx_reader import read_onnx
from sparing.interpreter import run_graph
from sparing.model import Model, Tensor

F32 = npt.NDArray[np.float32]


def layers(model: Model) -> dict[str, F32]:
    kinds = ("Conv", "Gemm", "MatMul")
    return {n.label: model.weights[n.inputs[1]].numpy() for n in model.nodes if n.op_type in kinds}


def mixed_net() -> Model:
    """Depthwise, concat, a squeeze-and-excitation gate, a residual add, Flatten of 2x2 pixels."""
    g = models.GraphBuilder()
    a = g.add("Relu", [g.conv("input", "a", (8, 3, 1, 1), bias=True)], "a_relu")
    d = g.add("Relu", [g.conv(a, "depthwise", (8, 1, 3, 3), pads=[1] * 4, group=8)], "d_relu")
    b = g.conv("input", "b", (4, 3, 1, 1))
    x = g.add("Concat", [d, b], "both", axis=1)
    s = g.add("GlobalAveragePool", [x], "squeezed")
    s = g.add("Relu", [g.conv(s, "down", (4, 12, 1, 1))], "down_relu")
    s = g.add("Sigmoid", [g.conv(s, "up", (12, 4, 1, 1))], "gate")
    x = g.add("Mul", [x, s], "gated")
    y = g.conv(x, "inner", (6, 12, 3, 3), pads=[1] * 4)
    y = g.add("PRelu", [y, g.random("slope", (6, 1, 1))], "inner_relu")
    x = g.add("Add", [x, g.conv(y, "outer", (12, 6, 1, 1))], "sum")
    x = g.add("MaxPool", [x], "pooled", kernel_shape=[2, 2], strides=[2, 2])
    x = g.add("Flatten", [x], "flat")
    g.add("Gemm", [x, g.random("head", (5, 48), 0.2), g.random("head_bias", (5,))], "y", transB=1)
    shape: tuple[int, models.Dims] = (TensorProto.FLOAT, ("N", 3, 4, 4))
    return read_onnx(g.finish({"input": shape}, {"y": (TensorProto.FLOAT, ("N", 5))}))


def feeds(model: Model, count: int = 4) -> list[dict[str, F32]]:
    rng = np.random.default_rng(1)
    dims = [d if isinstance(d, int) else 1 for d in model.inputs[0].shape or ()][1:]
    name = model.inputs[0].name
    return [{name: rng.standard_normal((1, *dims)).astype(np.float32)} for _ in range(count)]


def zeroed(model: Model, masks: dict[str, npt.NDArray[np.bool_]]) -> Model:
    weights = dict(model.weights)
    for node in model.nodes:
        if node.label in masks:
            old = weights[node.inputs[1]].numpy()
            weights[node.inputs[1]] = Tensor(old * from_matrix(node, masks[node.label], old.shape))
    return model.replace(weights=weights)


def check_removal(model: Model, sparsity: float) -> int:
    """Whether the cut network computes what the one with zeros does; how many channels went."""
    folded = simplify(model)
    channels = find_channels(folded, set())
    found = spaces(channels)
    request = Request(sparsity, "channel", "magnitude", "layer", "none", None, set(), {})
    worth = channel_worth(folded, folded, channels, request, None)  # type: ignore[arg-type]
    gone = choose_channels(found, worth, sparsity, "layer", {})
    small = remove_channels(folded, channels, gone)
    masked = zeroed(folded, channel_masks(folded, channels, gone))
    for x in feeds(model, 2):
        want, got = run_graph(masked, x), run_graph(small, x)
        for name in want:
            # the same sums without their zeros, in another order
            np.testing.assert_allclose(got[name], want[name], rtol=1e-4, atol=1e-4)
    return len(gone)


def test_a_cut_network_computes_what_the_zeroed_one_does() -> None:
    model = mixed_net()
    # a and its depthwise 8, b 4 (both of them tied to the gate and the residual), down 4, inner 6
    assert check_removal(model, 0.5) == 4 + 2 + 2 + 3
    small = layers(prune(model, 0.5, "channel", scope="layer"))
    assert {label.split("/")[0]: w.shape for label, w in small.items()} == {
        "a": (4, 3, 1, 1),
        "depthwise": (4, 1, 3, 3),
        "b": (2, 3, 1, 1),
        "down": (2, 6, 1, 1),
        "up": (6, 2, 1, 1),
        "inner": (3, 6, 3, 3),
        "outer": (6, 3, 1, 1),
        "y": (5, 24),
    }


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_can_be_cut(seed: int) -> None:
    check_removal(random_network(seed), 0.5)


def test_tied_channels_go_together_and_those_of_least_norm_go_first() -> None:
    net = read_onnx(models.residual_net())
    before, after = layers(simplify(net)), layers(prune(net, 0.25, "channel", scope="layer"))
    worth = sum(
        (before[n].reshape(12, -1) ** 2).sum(1) / (before[n].reshape(12, -1) ** 2).sum(1).mean()
        for n in ("conv2/node", "shortcut/node")
    )
    kept = np.sort(np.argsort(worth)[3:])
    inner = np.sort(np.argsort((before["conv1/node"].reshape(12, -1) ** 2).sum(1))[3:])
    want = before["conv2/node"][kept][:, inner]
    assert np.array_equal(after["conv2/node"], want)
    assert np.array_equal(after["logits/node"], before["logits/node"][:, kept])


@pytest.mark.parametrize("criterion", ["l1", "activation", "obs"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_criteria_remove_the_asked_share(criterion: str, scope: str) -> None:
    net = read_onnx(models.residual_net())
    data = feeds(net) if criterion != "l1" else None
    pruned = prune(net, 0.5, "channel", criterion, scope, data)
    left = sum(layers(pruned)[f"{name}/node"].shape[0] for name in ("stem", "conv1", "conv2"))
    assert left == (8 + 12 + 12) // 2
    assert run_graph(pruned, feeds(net)[0])["logits"].shape == (1, 4)


def test_reconstruction_makes_up_for_removed_channels() -> None:
    net = read_onnx(models.residual_net())
    images = feeds(net, 250)
    data, held_out = images[:200], images[200:]

    def logits(model: Model) -> F32:
        return np.concatenate([run_graph(model, x)["logits"] for x in held_out])

    def error(model: Model) -> float:
        return float(np.square(logits(model) - logits(net)).mean())

    plain = prune(net, 0.25, "channel", "activation", "layer", data, repair="none")
    bias = prune(net, 0.25, "channel", "activation", "layer", data)
    weights = prune(net, 0.25, "channel", "obs", "layer", data)
    assert error(weights) < error(bias) < error(plain)


def test_batch_norm_scales_choose_channels() -> None:
    g = models.GraphBuilder()
    x = g.add("Relu", [g.batch_norm(g.conv("input", "first", (8, 3, 3, 3)), "bn", 8)], "relu")
    g.conv(x, "last", (4, 8, 1, 1))
    shape: tuple[int, models.Dims] = (TensorProto.FLOAT, ("N", 3, 8, 8))
    out: tuple[int, models.Dims] = (TensorProto.FLOAT, ("N", 4, 6, 6))
    net = read_onnx(g.finish({"input": shape}, {"last": out}))
    kept = np.sort(np.argsort(np.abs(net.weights["bn.scale"].numpy()))[4:])
    before, after = layers(simplify(net)), layers(prune(net, 0.5, "channel", "batch_norm"))
    assert np.array_equal(after["first/node"], before["first/node"][kept])
    assert np.array_equal(after["last/node"], before["last/node"][:, kept])
    with pytest.raises(InputError, match="no BatchNorm behind 'stem/node'"):
        prune(prune(read_onnx(models.residual_net()), 0), 0.5, "channel", "batch_norm")


def test_layers_with_their_own_share_and_ignored_ones() -> None:
    net = read_onnx(models.residual_net())
    pruned = layers(
        prune(net, 0.5, "channel", scope="layer", layers={"conv1/node": {"sparsity": 0.75}})
    )
    assert [pruned[f"{n}/node"].shape[0] for n in ("stem", "conv1", "conv2")] == [4, 3, 6]
    kept = layers(prune(net, 0.5, "channel", scope="layer", ignored=["conv1/node"]))
    assert [kept[f"{n}/node"].shape[0] for n in ("stem", "conv1", "conv2")] == [8, 12, 6]
    narrow = layers(prune(net, 1.0, "channel"))
    assert [narrow[f"{n}/node"].shape[0] for n in ("stem", "conv1", "conv2")] == [1, 1, 1]


def block_net(blocks: int = 3) -> Model:
    """Residual blocks `Relu(x + conv(Relu(conv(x))))`, the later the weaker."""
    g = models.GraphBuilder()
    x = g.add("Relu", [g.conv("input", "stem", (8, 3, 3, 3), pads=[1] * 4)], "stem_relu")
    for i in range(blocks):
        y = g.add("Relu", [g.conv(x, f"a{i}", (8, 8, 3, 3), pads=[1] * 4)], f"ra{i}")
        w = g.random(f"w{i}", (8, 8, 1, 1), 0.3 / 2**i)
        y = g.add("Conv", [y, w], f"b{i}")
        x = g.add("Relu", [g.add("Add", [y, x], f"sum{i}")], f"r{i}")
    g.conv(x, "last", (4, 8, 1, 1))
    shape: tuple[int, models.Dims] = (TensorProto.FLOAT, ("N", 3, 6, 6))
    out: tuple[int, models.Dims] = (TensorProto.FLOAT, ("N", 4, 6, 6))
    return read_onnx(g.finish({"input": shape}, {"last": out}))


@pytest.mark.parametrize("criterion", ["magnitude", "activation", "obs"])
def test_the_weakest_blocks_go(criterion: str) -> None:
    net = block_net()
    data = None if criterion == "magnitude" else feeds(net)
    pruned = prune(net, 0.4, "block", criterion, calibration=data)  # round(0.4 * 3) = 1
    assert [n for n in layers(net) if n not in layers(pruned)] == ["a2/node", "b2/node"]
    if criterion == "magnitude":  # nothing repaired: exactly the network without the block
        x = feeds(net, 1)[0]
        weights = {**net.weights, "w2": Tensor(np.zeros((8, 8, 1, 1), np.float32))}
        want = run_graph(net.replace(weights=weights), x)["last"]
        assert np.array_equal(run_graph(pruned, x)["last"], want)


def test_blocks_that_are_needed_stay() -> None:
    projected = read_onnx(models.residual_net())  # its shortcut is a layer: nothing passes by
    assert find_blocks(projected, set()) == []
    with pytest.raises(InputError, match="expected residual blocks"):
        prune(projected, 0.5, "block")
    assert len(find_blocks(block_net(), {"a1/node"})) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scope": "erdos_renyi"}, "scope: expected one of global, layer for .* 'channel'"),
        ({"criterion": "activation"}, "calibration: criterion 'activation' needs feeds"),
        ({"granularity": "block", "criterion": "l1"}, "criterion: expected one of magnitude"),
        ({"granularity": "element", "criterion": "l1"}, "criterion: expected one of magnitude"),
        ({"ignored": [".*"]}, "expected channels that can go, found none"),
        (
            {"granularity": "block", "layers": {"conv1/node": {"sparsity": 0.5}}},
            "'conv1/node': a block has no sparsity of its own",
        ),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    given = {"granularity": "channel", **arguments}
    with pytest.raises(InputError, match=message):
        prune(read_onnx(models.residual_net()), **given)
