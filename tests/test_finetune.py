"""Fine-tuning: the PyTorch graph means what the reference says, and training keeps its promises."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from models import GraphBuilder, depthwise_net, qdq_net, residual_net
from qdq_builder import QdqBuilder
from same_model import assert_same_model

import sparing
from sparing import Model, Node, TensorInfo
from sparing.compression.renormalize import normalized
from sparing.compression.training_form import training_form, with_trained
from sparing.errors import InputError, ModelError, UnsupportedOperatorError
from sparing.fold import simplify
from sparing.formats.onnx_reader import read_onnx
from sparing.image_data import Images
from sparing.interpreter import run_graph
from sparing.model import Tensor
from sparing.preprocessing import Preprocessing

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="the extra `train` (PyTorch) is missing"
)

F32 = npt.NDArray[np.float32]
CLASSES = 4
IMAGES = 256


@pytest.fixture(scope="module")
def data() -> tuple[F32, npt.NDArray[np.int64]]:
    """Images [256, 3, 8, 8] of four classes: a pattern each, under noise."""
    rng = np.random.default_rng(5)
    patterns = rng.normal(0, 0.7, (CLASSES, 3, 8, 8))
    labels = rng.integers(0, CLASSES, IMAGES)
    return (patterns[labels] + rng.normal(0, 1, (IMAGES, 3, 8, 8))).astype(np.float32), labels


@pytest.fixture(scope="module")
def dense(data: tuple[F32, npt.NDArray[np.int64]]) -> Model:
    """The residual net, trained with BatchNorm."""
    return tuned(read_onnx(residual_net()), data, epochs=4, learning_rate=1e-2)


@pytest.fixture(scope="module")
def pruned(dense: Model, data: tuple[F32, npt.NDArray[np.int64]]) -> Model:
    return tuned(sparing.prune(dense, 0.7, scope="layer"), data, epochs=3, learning_rate=1e-2)


def tuned(model: Model, data: Any, epochs: int = 1, **options: Any) -> Model:
    settings: dict[str, Any] = {"batch_size": 32, "threads": 1, **options}
    return sparing.finetune(model, data, epochs, **settings)


def feeds(x: F32) -> dict[str, F32]:
    return {"input": x}


def logits(model: Model, x: F32) -> F32:
    return sparing.Session(model, threads=1).run(None, feeds(x))[0]


def accuracy(model: Model, data: tuple[F32, npt.NDArray[np.int64]]) -> float:
    return float((logits(model, data[0]).argmax(1) == data[1]).mean())


def torch_output(model: Model, inputs: dict[str, Any]) -> npt.NDArray[Any]:
    from sparing.compression.torch_graph import TorchGraph

    result = TorchGraph(training_form(model)).run(inputs, model.outputs[0].name, training=False)
    return np.asarray(result.detach())


def zero_masks(model: Model) -> dict[str, npt.NDArray[np.bool_]]:
    """Where the weights (not biases, scales and zero points) are zero."""
    arrays = {name: tensor.numpy() for name, tensor in model.weights.items()}
    return {n: a == 0 for n, a in arrays.items() if a.ndim > 1 and a.dtype in (np.float32, np.int8)}


def one_node(op_type: str, shapes: list[Any], opset: int = 17, **attributes: Any) -> Model:
    """A model of one operator; shapes: of the input, then of random weights, or constants."""
    rng = np.random.default_rng(1)
    weights = {
        f"w{i}": Tensor(
            np.asarray(s) if isinstance(s, np.ndarray) else rng.normal(0, 1, s).astype(np.float32)
        )
        for i, s in enumerate(shapes[1:])
    }
    f32 = np.dtype(np.float32)
    node = Node(op_type, ("x", *weights), ("y",), attributes)
    info = TensorInfo("x", f32, shapes[0])
    return Model((node,), (info,), (TensorInfo("y", f32, None),), weights, opset)


def scalar(value: float) -> F32:
    return np.asarray(value, np.float32)


IMAGE = (2, 4, 7, 9)
AXES = np.array([2, 3])
OPERATORS = {
    "add": one_node("Add", [IMAGE, (1, 4, 1, 1)]),
    "average_pool": one_node("AveragePool", [IMAGE], kernel_shape=(3, 2), strides=(2, 2)),
    "average_pool_borders": one_node(
        "AveragePool", [IMAGE], kernel_shape=(3, 3), strides=(2, 2), pads=(1, 0, 1, 1), ceil_mode=1
    ),
    "average_pool_padding_counts": one_node(
        "AveragePool", [IMAGE], kernel_shape=(3, 3), pads=(1, 1, 0, 1), count_include_pad=1
    ),
    "clip_attributes": one_node("Clip", [IMAGE], 10, min=-0.5, max=0.25),
    "clip_low": one_node("Clip", [IMAGE, scalar(-0.5)]),
    "concat": one_node("Concat", [IMAGE, (2, 3, 7, 9)], axis=1),
    "conv_1d": one_node("Conv", [(2, 3, 11), (5, 3, 4)], pads=(1, 2), strides=(2,)),
    "conv_dilated": one_node("Conv", [IMAGE, (6, 2, 3, 3), (6,)], group=2, dilations=(2, 1)),
    "conv_same": one_node("Conv", [IMAGE, (3, 4, 3, 3)], auto_pad="SAME_UPPER", strides=(2, 2)),
    "div": one_node("Div", [IMAGE, scalar(3)]),
    "elu": one_node("Elu", [IMAGE], alpha=0.5),
    "flatten": one_node("Flatten", [IMAGE], axis=2),
    "gelu": one_node("Gelu", [IMAGE], 20),
    "gemm": one_node("Gemm", [(3, 5), (5, 4), (4,)], alpha=0.5, beta=2.0),
    "global_average_pool": one_node("GlobalAveragePool", [IMAGE]),
    "global_max_pool": one_node("GlobalMaxPool", [IMAGE]),
    "hard_sigmoid": one_node("HardSigmoid", [IMAGE], alpha=0.25),
    "hard_swish": one_node("HardSwish", [IMAGE]),
    "leaky_relu": one_node("LeakyRelu", [IMAGE], alpha=0.2),
    "log_softmax": one_node("LogSoftmax", [IMAGE], axis=1),
    "matmul": one_node("MatMul", [IMAGE, (9, 5)]),
    "max_pool": one_node(
        "MaxPool", [IMAGE], kernel_shape=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1), ceil_mode=1
    ),
    "mul": one_node("Mul", [IMAGE, (4, 1, 1)]),
    "pad": one_node("Pad", [IMAGE, np.array([0, 0, 1, 2, 0, 1, 0, -1]), scalar(0.5)]),
    "prelu": one_node("PRelu", [IMAGE, (4, 1, 1)]),
    "reduce_mean": one_node("ReduceMean", [IMAGE], axes=(2, 3), keepdims=0),
    "reduce_mean_input": one_node("ReduceMean", [IMAGE, AXES], 18),
    "relu": one_node("Relu", [IMAGE]),
    "reshape": one_node("Reshape", [IMAGE, np.array([0, 2, -1, 9])]),
    "sigmoid": one_node("Sigmoid", [IMAGE]),
    "softmax": one_node("Softmax", [IMAGE], axis=1),
    "softmax_flattened": one_node("Softmax", [IMAGE], 11, axis=1),
    "squeeze": one_node("Squeeze", [(2, 4, 1, 1), AXES]),
    "sub": one_node("Sub", [IMAGE, (9,)]),
    "tanh": one_node("Tanh", [IMAGE]),
    "transpose": one_node("Transpose", [IMAGE], perm=(0, 2, 3, 1)),
    "unsqueeze": one_node("Unsqueeze", [(2, 4), np.array([-1, 1])]),
}


@needs_torch
@pytest.mark.parametrize("name", OPERATORS)
def test_operators_mean_what_the_reference_says(name: str) -> None:
    model = OPERATORS[name]
    shape: Any = model.inputs[0].shape
    x = np.random.default_rng(2).normal(0, 1, shape).astype(np.float32)
    (wanted,) = run_graph(model, {"x": x}).values()
    got = torch_output(model, {"x": x})
    assert got.shape == wanted.shape
    # float32 sums of up to 36 products of size 1, in another order; gelu's erf is an approximation
    np.testing.assert_allclose(got, wanted, atol=1e-5)


@needs_torch
def test_every_operator_is_compared() -> None:
    from sparing.compression.torch_ops import OPERATIONS

    tried = {node.op_type for model in OPERATORS.values() for node in model.nodes}
    # Identity is removed before; Shape comes with "softmax_flattened"
    assert tried == OPERATIONS.keys() - {"Identity", "Shape"}


@needs_torch
@pytest.mark.parametrize("build", [residual_net, depthwise_net])
def test_graphs_mean_what_the_reference_says(build: Callable[[], Any]) -> None:
    model = read_onnx(build())
    shape: Any = model.inputs[0].shape
    x = np.random.default_rng(2).normal(0, 1, (8, *shape[1:])).astype(np.float32)
    (wanted,) = run_graph(model, feeds(x)).values()
    # float32 sums of up to 108 products of size 1, in another order, through five layers
    np.testing.assert_allclose(torch_output(model, feeds(x)), wanted, atol=2e-5)


@needs_torch
def test_quantized_graphs_mean_what_the_reference_says() -> None:
    """Up to rounding: sums that differ in the last digit fall on both sides of a tie, which moves
    an activation by a quantum. That happens to every third image; the others show exactness.
    """
    model = read_onnx(qdq_net())
    x = np.random.default_rng(2).normal(0, 1, (64, 3, 8, 8)).astype(np.float32)
    (wanted,) = run_graph(model, feeds(x)).values()
    difference = np.abs(torch_output(model, feeds(x)) - wanted).max(axis=1)
    assert np.median(difference) < 2e-6
    assert difference.max() < 0.04  # of the pool's output, a quantum each


@needs_torch
def test_the_model_that_is_trained_classifies_better(dense: Model, data: Any) -> None:
    untrained = read_onnx(residual_net())
    assert accuracy(untrained, data) < 0.5  # chance is 0.25
    assert accuracy(dense, data) > 0.9
    before, after = untrained.weights, dense.weights
    for part in ("scale", "shift", "mean", "var"):  # BatchNorm learns, and its statistics move
        assert not np.array_equal(
            before[f"stem_bn.{part}"].numpy(), after[f"stem_bn.{part}"].numpy()
        )


@needs_torch
def test_pruned_weights_stay_zero(dense: Model, pruned: Model, data: Any) -> None:
    once = sparing.prune(dense, 0.7, scope="layer")
    before, after = zero_masks(once), zero_masks(pruned)
    assert before.keys() == after.keys()
    for name, mask in before.items():
        assert mask.any()
        assert after[name][mask].all(), name
        assert not np.signbit(pruned.weights[name].numpy()[mask]).any(), name  # zeros, not -0.0
    assert accuracy(pruned, data) > accuracy(once, data) + 0.1
    assert accuracy(pruned, data) > 0.85


@needs_torch
@pytest.mark.parametrize(("weight_bits", "activation_bits"), [(8, 8), (8, 7), (4, 8)])
def test_quantized_models_learn_as_they_will_run(
    pruned: Model, data: Any, weight_bits: int, activation_bits: int
) -> None:
    quantized = sparing.quantize(
        pruned,
        [feeds(data[0][:64])],
        weight_bits=weight_bits,
        activation_bits=activation_bits,
    )
    result = tuned(quantized, data, epochs=2, learning_rate=1e-2)

    assert result.nodes == quantized.nodes
    largest = 2 ** (weight_bits - 1) - 1
    changed = 0
    for node in result.nodes:
        q = result.weights.get(node.inputs[0])
        if node.op_type == "DequantizeLinear" and q is not None and q.dtype == np.int8:
            old, new = quantized.weights[node.inputs[0]].numpy(), q.numpy()
            assert np.abs(new.astype(int)).max() <= largest
            assert not new[old == 0].any()
            changed += int((new != old).sum())
    assert changed > 0
    integers = logits(result, data[0])
    fake = torch_output(result, feeds(data[0]))
    # Both round at the same places; sums in float32 and in integers fall on different sides of a
    # tie now and then, which moves an activation by one quantum.
    assert (integers.argmax(1) == fake.argmax(1)).mean() >= 0.99
    assert np.abs(integers - fake).mean() < 0.02 * np.abs(fake).mean()
    assert accuracy(result, data) > 0.85


@needs_torch
def test_quantization_is_repeated_by_the_rules_of_quantize(pruned: Model, data: Any) -> None:
    """Weights are int8 in +-127, bias int32; its scale is sx * sw exactly."""
    result = tuned(sparing.quantize(pruned, [feeds(data[0][:64])]), data)
    producers = result.producers()
    layers = [node for node in result.nodes if node.op_type in ("Conv", "Gemm")]
    assert len(layers) == 5
    for layer in layers:
        x, weight, bias = (producers[name] for name in layer.inputs)
        q = result.weights[weight.inputs[0]].numpy()
        assert q.dtype == np.int8
        assert np.abs(q.astype(int)).max() <= 127
        scale = result.weights[weight.inputs[1]].numpy()
        wanted = result.weights[x.inputs[1]].numpy() * scale
        assert np.array_equal(result.weights[bias.inputs[1]].numpy(), wanted)
        assert result.weights[bias.inputs[0]].dtype == np.int32


@needs_torch
def test_zeros_of_a_quantized_model_can_be_released(pruned: Model, data: Any) -> None:
    quantized = sparing.quantize(pruned, [feeds(data[0][:64])])
    released = tuned(quantized, data, learning_rate=1e-2, keep_zeros=False)
    before, after = zero_masks(quantized), zero_masks(released)
    assert any((before[name] & ~after[name]).any() for name in before)


@needs_torch
def test_weights_that_cannot_be_written_back_stay() -> None:
    """Zero points on weights: the layer is frozen, the other one learns; a float bias, too."""
    b = QdqBuilder()
    x = b.q_conv(b.quantize("input", "x"), "conv", (4, 3, 3, 3))
    x = b.quantize(x, "y", zero_point=128)
    weight = b.weight("odd.q", b.rng.integers(0, 255, (4, 4, 1, 1)).astype(np.uint8))
    parameters = [b.weight("odd.scale", scalar(0.01)), b.weight("odd.zero", np.uint8(120))]
    odd = b.add("DequantizeLinear", [weight, *parameters], "odd.weight")
    x = b.add("GlobalAveragePool", [b.add("Conv", [x, odd], "odd")], "pool")
    b.add("Flatten", [x], "out")
    model = b.model(("N", 3, 5, 5), "out", rank=2)
    name = model.inputs[0].name
    x_train = np.random.default_rng(0).normal(0, 1, (16, 3, 5, 5)).astype(np.float32)
    batches = [({name: x_train}, np.arange(16) % 4)]
    result = sparing.finetune(model, batches, 2, learning_rate=1e-2, threads=1)
    before, after = model.weights, result.weights
    same = {key for key in before if np.array_equal(before[key].numpy(), after[key].numpy())}
    assert {"odd.q", "odd.scale", "odd.zero", "x.scale", "conv.weight.zero"} <= same
    assert not same & {"conv.weight.q", "conv.weight.scale", "conv.bias"}


@needs_torch
def test_same_seed_same_weights(dense: Model, data: Any) -> None:
    model = sparing.prune(dense, 0.5)
    first, second = (tuned(model, data, seed=3, teacher=dense) for _ in range(2))
    assert_same_model(first, second)
    other = tuned(model, data, seed=4, teacher=dense)
    name = next(n for n, t in first.weights.items() if len(t.shape) == 4)
    assert not np.array_equal(first.weights[name].numpy(), other.weights[name].numpy())


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
def test_batch_norm_does_not_stay(dense: Model, data: Any, batch_norm: bool) -> None:
    model = sparing.prune(dense, 0.6, scope="layer")
    result = tuned(model, data, 2, learning_rate=1e-2, batch_norm=batch_norm)
    assert [n.op_type for n in result.nodes] == [n.op_type for n in model.nodes]
    assert result.weights.keys() == model.weights.keys()
    assert accuracy(result, data) > 0.85


@needs_torch
def test_torch_is_left_as_it_was(dense: Model, data: Any) -> None:
    import torch

    def state() -> tuple[int, bool, bytes]:
        deterministic = torch.are_deterministic_algorithms_enabled()
        return torch.get_num_threads(), deterministic, torch.get_rng_state().numpy().tobytes()

    before = state()
    tuned(dense, data)
    with pytest.raises(InputError):
        tuned(dense, (data[0], data[1] + 7))
    assert state() == before


@needs_torch
def test_a_teacher_is_followed_beyond_the_labels(dense: Model, data: Any) -> None:
    """Its answers count although every label is wrong."""
    images = data[0]
    taught = logits(dense, images).argmax(1)
    wrong = (images, (taught + 1) % CLASSES)
    student = sparing.prune(dense, 0.5, scope="layer")
    alone = tuned(student, wrong, 2, learning_rate=1e-2)
    helped = tuned(student, wrong, 2, learning_rate=1e-2, teacher=dense)
    agreement = [(logits(m, images).argmax(1) == taught).mean() for m in (alone, helped)]
    assert agreement[1] > agreement[0] + 0.3


@needs_torch
def test_softmax_at_the_end_does_not_change_training(dense: Model, data: Any) -> None:
    """The loss is taken from the logits before it: the same weights come out."""
    last = Node("Softmax", ("logits",), ("probabilities",), {"axis": -1}, "softmax")
    outputs = (TensorInfo("probabilities", np.dtype(np.float32), ("N", CLASSES)),)
    with_softmax = tuned(dense.replace(nodes=(*dense.nodes, last), outputs=outputs), data)
    plain = tuned(dense, data)
    assert_same_model(
        with_softmax.replace(nodes=plain.nodes, outputs=plain.outputs, metadata=plain.metadata),
        plain,
    )


@needs_torch
def test_every_form_of_dataset_gives_its_batches(dense: Model, data: Any) -> None:
    images, labels = data[0][:50], data[1][:50]

    class Stream:
        def __iter__(self) -> Iterator[Any]:
            yield feeds(images[:30]), labels[:30]
            yield feeds(images[30:]), labels[30:].astype(np.uint8)

    as_images = Images("input", images, labels, Preprocessing(size=(8, 8)), batch=20)
    wanted = {"arrays": 3, "stream": 2, "list": 2, "images": 3}
    forms: dict[str, Any] = {"arrays": (images, labels), "stream": Stream()}
    forms |= {"list": list(Stream()), "images": as_images}
    for form, dataset in forms.items():
        seen: list[tuple[int, float]] = []
        tuned(dense, dataset, 2, batch_size=16, progress=lambda *step, to=seen: to.append(step))
        assert [epoch for epoch, _ in seen] == [1] * wanted[form] + [2] * wanted[form]
        assert all(np.isfinite(loss) for _, loss in seen)


@needs_torch
def test_the_recipe_says_what_was_done(pruned: Model) -> None:
    recipe = pruned.metadata["recipe"]
    assert recipe["prune"]["sparsity"] == 0.7
    assert recipe["finetune"]["epochs"] == 3
    assert recipe["finetune"]["learning_rate"] == 1e-2
    assert pruned.metadata["provenance"].keys() == {"sparing", "source"}


@needs_torch
def test_bad_data_is_refused(dense: Model, data: Any) -> None:
    images, labels = data
    cases: list[tuple[Any, str]] = [
        (7, "expected .images, labels. arrays or an iterable"),
        (iter([(feeds(images), labels)]), "got an iterator"),
        ([], "at least one batch"),
        ((images, labels[:-1]), "for 255 labels"),
        ((images.astype(np.float64), labels), "got float64"),
        ((images[:, :, :7], labels), r"got float32\[256, 3, 7, 8\]"),
        ((images, labels.astype(np.float32)), "labels .N., integers"),
        ((images, labels + 1), "labels from 0 to 3"),
        ((images, labels - 1), "labels from 0 to 3"),
        ([feeds(images)], r"expected \(feeds, labels\), got dict"),
        ([({"image": images}, labels)], r"got \['image'\]"),
        (Images("input", images, None, Preprocessing(size=(8, 8))), "without labels"),
    ]
    for dataset, message in cases:
        with pytest.raises(InputError, match=message):
            tuned(dense, dataset)


@needs_torch
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs: expected a whole number from 1 on, got 0"),
        ({"batch_size": True}, "batch_size"),
        ({"threads": 0}, "threads"),
        ({"learning_rate": 0}, "learning_rate: expected a positive number"),
        ({"learning_rate": 1e30}, "the loss became"),
    ],
)
def test_bad_arguments_are_refused(
    dense: Model, data: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        tuned(dense, data, **options)


@needs_torch
def test_models_that_cannot_be_trained_are_refused(dense: Model, data: Any) -> None:
    last = dense.nodes[-1]
    odd = [
        Node("Erf", ("logits",), ("a",), {}, "a"),
        Node("Sign", ("a",), ("b",), {}, "b"),
        Node("Erf", ("b",), ("out",), {}, "c"),
    ]
    outputs = (TensorInfo("out", np.dtype(np.float32), ("N", CLASSES)),)
    with pytest.raises(UnsupportedOperatorError, match=r"2 operators.*: Erf \(x2\), Sign \(x1\)"):
        tuned(dense.replace(nodes=(*dense.nodes, *odd), outputs=outputs), data)
    with pytest.raises(InputError, match="found none"):
        tuned(one_node("Relu", [("N", 3, 8, 8)]), (data[0], data[1]))
    with pytest.raises(InputError, match="teacher: expected 4 classes, got 3"):
        narrow = {n: Tensor(dense.weights[n].numpy()[:3]) for n in last.inputs[1:]}
        tuned(dense, data, teacher=dense.replace(weights={**dense.weights, **narrow}))
    image = TensorInfo("stem", np.dtype(np.float32), None)
    with pytest.raises(InputError, match=r"expected logits \[32, classes\]"):
        tuned(dense.replace(outputs=(image,)), data)


@needs_torch
def test_quantizers_that_do_not_pair_up_are_refused(data: Any) -> None:
    g = GraphBuilder()
    pairs = [
        [g.weight(f"{n}.scale", scalar(s)), g.weight(f"{n}.zero", np.uint8(9))]
        for n, s in (("a", 0.1), ("b", 0.2))
    ]
    q = g.add("QuantizeLinear", ["input", *pairs[0]], "q")
    x = g.conv(g.add("DequantizeLinear", [q, *pairs[1]], "dq"), "conv", (4, 3, 8, 8))
    g.add("Flatten", [x], "logits")
    dims: Any = {"input": (1, ["N", 3, 8, 8])}, {"logits": (1, ["N", 4])}
    with pytest.raises(ModelError, match="same scale and zero point, 'q' is not"):
        tuned(read_onnx(g.finish(*dims)), data)


def test_without_torch_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, data: Any
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'sparing\[train\]'"):
        sparing.finetune(read_onnx(residual_net()), data, 1)
