"""Sessions: every backend gives the reference's bits, and bad input gives one clear error."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import GraphBuilder, depthwise_net, qdq_net, residual_net
from onnx import TensorProto
from qdq_builder import QdqBuilder, feeds_for

import sparing
from sparing.errors import FormatError, InputError, NativeError
from sparing.formats.onnx_reader import read_onnx
from sparing.interpreter import run_graph
from sparing.kernels.registry import available_backends
from sparing.model import Model
from sparing.session import MAX_PLANS, BackendChoice, Session

BACKENDS = available_backends()
FLOAT_HEAD = "quantized, but for its last layer"


def quantized(model: Model, **options: Any) -> Model:
    feeds = [feeds_for(model, batch=4, seed=seed) for seed in range(3)]
    return sparing.quantize(model, feeds, **options)


def networks() -> Iterator[tuple[str, Model]]:
    for name, proto in (("residual", residual_net()), ("depthwise", depthwise_net())):
        model = read_onnx(proto)
        for bits in (8, 7):
            small = quantized(model, weight_bits=bits, activation_bits=bits)
            yield f"{name} {bits} bits", small
        sparse = sparing.prune(model, sparsity=0.8)
        yield f"{name} pruned, 8 bits", quantized(sparse)
    yield FLOAT_HEAD, read_onnx(qdq_net())
    yield "tables, pools and concat", _everything()


def _everything() -> Model:
    b = QdqBuilder()
    x = b.quantize("input", "x")
    conv = b.quantize(b.q_conv(x, "conv", (6, 3, 3, 3), pads=[1, 1, 1, 1]), "t")
    swish = b.quantize(b.add("HardSwish", [conv], "swish"), "s", scale=0.02)
    gate = b.quantize(b.add("GlobalAveragePool", [swish], "mean"), "gate")
    scaled = b.quantize(b.add("Mul", [swish, gate], "scaled"), "m")
    pooled = b.add("MaxPool", [scaled], "pool", kernel_shape=[3, 3], strides=[2, 2])
    average = b.add("AveragePool", [swish], "avg", kernel_shape=[3, 3], strides=[2, 2])
    parts = [b.quantize(pooled, "p"), b.quantize(average, "a", scale=0.01)]
    both = b.quantize(b.add("Concat", parts, "both", axis=1), "c")
    sizes = b.weight("sizes", np.array([1.0, 1.0, 2.0, 2.0], np.float32))
    resized = b.add("Resize", [both, "", sizes], "resize", mode="nearest")
    return b.model(("n", 3, 9, 9), b.quantize(resized, "r", scale=0.05))


NETWORKS = dict(networks())


@pytest.mark.parametrize("backend", [b for b in BACKENDS if b != "numpy"])
@pytest.mark.parametrize("name", [name for name in NETWORKS if name != FLOAT_HEAD])
def test_integer_networks_equal_the_reference(name: str, backend: Any) -> None:
    model = NETWORKS[name]
    for batch in (1, 3):
        feeds = feeds_for(model, batch)
        (want,) = Session(model, backend="numpy").run(None, feeds)
        for threads in (1, 2, 3):
            (got,) = Session(model, backend=backend, threads=threads).run(None, feeds)
            assert np.array_equal(got, want)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("formats", [("dense_s8",), ("csr_s8",), ("block_s8",)])
def test_weight_formats_give_the_same_bits(backend: Any, formats: tuple[str, ...]) -> None:
    model = NETWORKS["residual pruned, 8 bits"]
    feeds = feeds_for(model)
    (want,) = Session(model, backend="numpy").run(None, feeds)
    session = Session(model, backend=backend, formats=formats)
    # where a layer cannot have the format, all formats are considered
    assert np.array_equal(session.run(None, feeds)[0], want)
    if backend != "numpy":
        kernels = [step.kernel for step in session.explain().steps]
        assert any(f".{formats[0]}." in kernel for kernel in kernels)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("proto", [residual_net, depthwise_net])
def test_float_networks_stay_near_the_graph(backend: Any, proto: Any) -> None:
    model = read_onnx(proto())
    feeds = feeds_for(model, 3)
    want = run_graph(model, feeds)
    (got,) = Session(model, backend=backend).run(None, feeds)
    # values are near 1 and every layer sums fewer than 300 terms: far below 1e-4 of error
    assert np.abs(got - next(iter(want.values()))).max() < 1e-4


@pytest.mark.parametrize("backend", BACKENDS)
def test_outputs_by_name_views_of_inputs_and_constants(backend: Any) -> None:
    b = GraphBuilder()
    b.add("Flatten", ["input"], "flat")
    b.add("Relu", ["input"], "relu")
    b.add(
        "Add",
        [b.weight("one", np.ones(1, np.float32)), b.weight("two", np.full(1, 2, np.float32))],
        "three",
    )
    b.add("Identity", ["relu"], "again")
    outputs = {
        "again": (TensorProto.FLOAT, ("n", 2, 2, 2)),
        "flat": (TensorProto.FLOAT, ("n", 8)),
        "three": (TensorProto.FLOAT, (1,)),
        "relu": (TensorProto.FLOAT, ("n", 2, 2, 2)),
    }
    model = read_onnx(b.finish({"input": (TensorProto.FLOAT, ("n", 2, 2, 2))}, outputs))
    feeds = feeds_for(model)
    session = Session(model, backend=backend)
    want = run_graph(model, feeds)
    for name, array in zip(outputs, session.run(None, feeds), strict=True):
        assert np.array_equal(array, want[name]), name
    assert np.array_equal(session.run(["relu"], feeds)[0], want["relu"])
    assert session.run(["three", "flat"], feeds)[1].shape == (2, 8)


@pytest.mark.parametrize("backend", BACKENDS)
def test_scalar_inputs_stay_scalars(backend: Any) -> None:
    b = GraphBuilder()
    b.add("Mul", ["input", "factor"], "y")
    inputs = {"input": (TensorProto.FLOAT, ("n", 3)), "factor": (TensorProto.FLOAT, ())}
    model = read_onnx(b.finish(inputs, {"y": (TensorProto.FLOAT, ("n", 3))}))
    x = np.ones((2, 3), np.float32)
    (y,) = Session(model, backend).run(None, {"input": x, "factor": np.array(3, np.float32)})
    assert np.array_equal(y, 3 * x)


def test_results_are_the_callers_own() -> None:
    session = Session(NETWORKS[FLOAT_HEAD])
    feeds = feeds_for(NETWORKS[FLOAT_HEAD])
    (first,) = session.run(None, feeds)
    before = first.copy()
    feeds["input"] = -feeds["input"]
    session.run(None, feeds)
    assert np.array_equal(first, before)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_session_in_several_threads(backend: Any) -> None:
    model = NETWORKS["depthwise 8 bits"]
    session = Session(model, backend=backend, threads=2)
    feeds = [feeds_for(model, batch=1 + seed % 3, seed=seed) for seed in range(4)]
    want = [session.run(None, feed)[0] for feed in feeds]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(20):
            if not np.array_equal(session.run(None, feeds[i])[0], want[i]):
                wrong.append(i)

    workers = [threading.Thread(target=work, args=(i % 4,)) for i in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_plans_for_other_shapes_are_made_and_bounded(tmp_path: Path) -> None:
    path = tmp_path / "net.sparing"
    sparing.save(NETWORKS["residual 8 bits"], path)
    session = Session(path)
    for batch in range(1, MAX_PLANS + 4):
        (logits,) = session.run(None, feeds_for(NETWORKS["residual 8 bits"], batch))
        assert logits.shape[0] == batch
    assert len(session._plans) == MAX_PLANS


def test_feeds_need_not_be_contiguous() -> None:
    model = NETWORKS[FLOAT_HEAD]
    session = Session(model)
    feeds = feeds_for(model, 2)
    turned = np.asfortranarray(feeds["input"])
    (want,), (got,) = session.run(None, feeds), session.run(None, {"input": turned})
    assert np.array_equal(want, got)


@pytest.mark.parametrize(
    ("feeds", "said"),
    [
        ({}, r"\['input'\].*\[\]"),
        ({"inptu": np.zeros((1, 3, 8, 8), np.float32)}, r"\['input'\].*inptu"),
        ({"input": np.zeros((1, 3, 8, 8))}, "float32.*float64"),
        ({"input": np.zeros((1, 4, 8, 8), np.float32)}, r"3.*\[1, 4, 8, 8\]"),
        ({"input": np.zeros((3, 8, 8), np.float32)}, r"\[3, 8, 8\]"),
        ({"input": [[0.0]]}, "array.*list"),
        ([np.zeros((1, 3, 8, 8), np.float32)], r"feeds: expected \{name: array\}, got list"),
    ],
)
def test_wrong_feeds_say_what_was_expected_and_what_came(feeds: Any, said: str) -> None:
    session = Session(read_onnx(residual_net()))
    with pytest.raises(InputError, match=said):
        session.run(None, feeds)


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_collection_is_left_as_it_was(enabled: bool, tmp_path: Path) -> None:
    (tmp_path / "bad.sparing").write_bytes(b"no model")
    (gc.enable if enabled else gc.disable)()
    try:
        Session(read_onnx(residual_net()))
        assert gc.isenabled() == enabled
        with pytest.raises(FormatError):
            Session(tmp_path / "bad.sparing")
        assert gc.isenabled() == enabled
    finally:
        gc.enable()


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_empty_batch_gives_empty_results(backend: BackendChoice) -> None:
    for name, model in NETWORKS.items():
        if name == "tables, pools and concat":
            continue  # ONNX has no Resize of nothing
        feeds = {name: array[:0] for name, array in feeds_for(model).items()}
        for info, result in zip(
            model.outputs, Session(model, backend=backend).run(None, feeds), strict=True
        ):
            assert result.shape[0] == 0 and result.dtype == info.dtype


def test_wrong_arguments() -> None:
    model = NETWORKS[FLOAT_HEAD]
    with pytest.raises(InputError, match=r"outputs among.*nothing"):
        Session(model).run(["nothing"], feeds_for(model))
    with pytest.raises(InputError, match=r"a list of names or None, got 'output'"):
        Session(model).run("output", feeds_for(model))
    with pytest.raises(InputError, match=r"the path of a model, got NoneType"):
        Session(None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"threads.*0"):
        Session(model, threads=0)
    with pytest.raises(InputError, match=r"auto, c, numba or numpy.*cuda"):
        Session(model, backend="cuda")  # type: ignore[arg-type]


def test_an_absent_backend_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparing.session.available_backends", lambda: ("numpy",))
    with pytest.raises(NativeError, match="C compiler"):
        Session(NETWORKS[FLOAT_HEAD], backend="c")
    assert Session(NETWORKS[FLOAT_HEAD]).backend == "numpy"


@pytest.mark.parametrize("backend", BACKENDS)
def test_profile_and_explain_cover_every_step(backend: Any) -> None:
    model = NETWORKS["residual 8 bits"]
    session = Session(model, backend=backend)
    explanation = session.explain()
    profile = session.profile(feeds_for(model, 1))
    assert [label for label, _ in profile] == [step.label for step in explanation.steps]
    assert all(seconds >= 0 for _, seconds in profile)
    assert explanation.arena_bytes >= explanation.live_peak_bytes > 0
    assert "ConvS8" in str(explanation)
    assert explanation.to_dict()["backend"] == backend
    if backend != "numpy":
        assert explanation.weight_bytes > 0


def test_a_free_image_size_is_planned_for_when_it_comes() -> None:
    b = GraphBuilder()
    pooled = b.add("MaxPool", [b.conv("input", "conv", (4, 3, 5, 5))], "pool", kernel_shape=[3, 3])
    b.add("GlobalAveragePool", [pooled], "mean")
    shape = ("n", 3, "h", "w")
    outputs = {"mean": (TensorProto.FLOAT, ("n", 4, 1, 1))}
    session = Session(read_onnx(b.finish({"input": (TensorProto.FLOAT, shape)}, outputs)))
    for size in (9, 12):
        (mean,) = session.run(None, {"input": np.ones((2, 3, size, size), np.float32)})
        assert mean.shape == (2, 4, 1, 1)
    with pytest.raises(InputError, match="shapes"):
        session.explain()
    assert session.explain({"input": (1, 3, 9, 9)}).steps
