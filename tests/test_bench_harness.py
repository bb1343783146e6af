"""The benchmark harness: fair turns, true numbers, checks that can fail, and the zoo."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import residual_net

import sparing
from sparing.bench import harness, machine, peers, zoo
from sparing.bench.rounds import TURN, Contestant, interleave
from sparing.bench.shapes import layers
from sparing.cli import main
from sparing.demo_checks import is_integer
from sparing.errors import InputError
from sparing.formats.onnx_reader import read_onnx
from sparing.interpreter import run_graph
from sparing.kernels.registry import available_backends
from sparing.model import Array
from sparing.noise import noise_feeds
from sparing.session import Session
from sparing.summary import default_shapes, summarize

CAPTURE = pytest.CaptureFixture[str]
FAST = [name for name in available_backends() if name != "numpy"]


def test_contestants_take_turns_until_their_time_is_up() -> None:
    order: list[str] = []

    def contestant(name: str, seconds: float) -> Contestant:
        return Contestant(lambda i: time.sleep(seconds), lambda: order.append(name))

    fast, slow = contestant("fast", 0.001), contestant("slow", 2 * TURN)
    done: list[int] = []
    interleave([fast, slow], budget=5 * TURN, least=3, progress=done.append)
    assert sum(done) == 2
    assert len(slow.seconds) >= 3 and min(slow.seconds) >= 2 * TURN
    assert len(fast.seconds) > len(slow.seconds) and min(fast.seconds) >= 0.001
    assert set(order[:2]) == set(order[2:4]) == {"fast", "slow"}


def test_samples_are_run_in_order() -> None:
    seen: list[int] = []

    def work(sample: int) -> None:
        seen.append(sample)
        time.sleep(2 * TURN)

    interleave([Contestant(work)], budget=0, least=4)
    assert seen == [0, 0, 1, 2, 3]  # the first run is not timed


def bench(arguments: list[str], capfd: pytest.CaptureFixture[str], code: int = 0) -> Any:
    assert main(["bench", *arguments, "--seconds", "0.01", "--json"]) == code
    return json.loads(capfd.readouterr().out)


def test_bench_measures_and_checks(tmp_path: Path, capfd: CAPTURE) -> None:
    pytest.importorskip("onnxruntime", reason="the peer of this test")
    target = tmp_path / "report.html"
    models = ["zoo:resnet8", "zoo:resnet8:w8a8:s50"]
    report = bench([*models, "--vs", "onnxruntime", "--batch", "2", "--html", str(target)], capfd)
    engines = ["numpy", *FAST, "onnxruntime"]
    rows = report["results"]
    assert [(r["model"], r["engine"]) for r in rows] == [
        (m[4:], e) for m in models for e in engines
    ]
    for row in rows:
        ours, integer = row["engine"] != "onnxruntime", "w8a8" in row["model"]
        want = "reference" if row["engine"] == "numpy" else "equal"
        assert row["check"] == (want if ours and integer else "")
        assert 0 < row["min_ms"] <= row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"]
        assert row["count"] >= 3
        macs = next(m["macs"] for m in report["models"] if m["name"] == row["model"])
        assert row["dense_gmacs"] == pytest.approx(macs / row["p50_ms"] / 1e6)
        assert row["agreement"] == 1
    float_macs, pruned_macs = (m["macs"] for m in report["models"])
    assert float_macs == pruned_macs == 2 * summarize(zoo.build("resnet8")).macs
    assert report["models"][1]["nonzero_macs"] < 0.6 * pruned_macs
    assert [m["data"] for m in report["models"]] == ["Fashion-MNIST"] * 2
    by_engine = {r["engine"]: r for r in rows if r["model"] == "resnet8"}
    peer = by_engine["onnxruntime"]
    assert peer["speedups"]["numpy"] == pytest.approx(by_engine["numpy"]["p50_ms"] / peer["p50_ms"])
    assert peer["speedups"]["onnxruntime"] == 1
    page = target.read_text()
    assert page.count("<svg") == 2 and "http-equiv" not in page and "<script" not in page
    assert all(f">{engine}<" in page for engine in engines)


def test_a_wrong_backend_fails_the_bench(monkeypatch: pytest.MonkeyPatch, capfd: CAPTURE) -> None:
    if not FAST:
        pytest.skip("only the reference is installed: there is nothing to compare with it")

    class Off(Session):
        def run(self, outputs: object, feeds: object) -> list[Array]:
            results = super().run(outputs, feeds)  # type: ignore[arg-type]
            if self.backend != "numpy":
                results[0] = results[0] + np.float32(1)
            return results

    monkeypatch.setattr(harness, "Session", Off)
    report = bench(["zoo:resnet8:w8a8", "--backends", FAST[0]], capfd, code=1)
    assert [r["check"] for r in report["results"]] == ["reference", "NOT EQUAL"]
    assert not report["passed"]


def test_absent_peers_are_listed(monkeypatch: pytest.MonkeyPatch, capfd: CAPTURE) -> None:
    monkeypatch.setitem(peers.PEERS, "mnn", ("sparing_no_such_module", "", peers.PEERS["mnn"][2]))
    report = bench(["zoo:resnet8", "--vs", "mnn", "--backends", "numpy"], capfd)
    assert report["absent"] == [{"model": "resnet8", "engine": "mnn", "reason": "not installed"}]
    assert [r["engine"] for r in report["results"]] == ["numpy"]


def test_a_peer_that_gives_no_outputs_is_listed(
    monkeypatch: pytest.MonkeyPatch, capfd: CAPTURE
) -> None:
    monkeypatch.setattr(harness, "peer_version", lambda name: "1")
    monkeypatch.setattr(harness, "try_peer", lambda *_: None)
    monkeypatch.setattr(harness, "load_peer", lambda *_: lambda feeds: [])
    report = bench(["zoo:resnet8", "--vs", "onnxruntime", "--backends", "numpy"], capfd)
    assert [entry["reason"] for entry in report["absent"]] == ["gave 0 outputs, expected 1"]
    assert [r["engine"] for r in report["results"]] == ["numpy"]


@pytest.mark.parametrize("name", peers.PEERS)
def test_peers_compute_what_the_reference_does(name: str, tmp_path: Path) -> None:
    version = peers.peer_version(name)
    if version is None:
        pytest.skip(f"{name} is not installed")
    path = tmp_path / "net.onnx"
    path.write_bytes(residual_net().SerializeToString())
    model = sparing.load(path)
    shapes = default_shapes(model, 2)
    feeds = noise_feeds(model.inputs, shapes)
    run = peers.load_peer(name, peers.prepare_peer(name, path, tmp_path), 1, shapes)
    (got,) = run(feeds)
    (want,) = Session(model, backend="numpy").run(None, feeds)
    # values near 1 through five layers in float32
    assert np.abs(got - want).max() < 1e-4


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["zoo:resnet9"], "expected one of"),
        (["zoo:resnet50:w8"], "got 'w8'"),
        (["zoo:resnet8:96px"], "one image size"),
        (["no.onnx"], "no.onnx"),
        (["zoo:resnet8", "--vs", "tflite"], "tflite"),
        (["zoo:resnet8", "--backends", "gpu"], "gpu"),
        (["zoo:resnet8", "--html", "/no/such/folder/r.html"], "no such folder"),
        (["zoo:resnet8", "--seconds", "0"], "above 0"),
    ],
)
def test_bad_arguments_are_one_line(arguments: list[str], expected: str, capsys: CAPTURE) -> None:
    assert main(["bench", *arguments]) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if not x.endswith(" ...")]
    assert "error: " in line and expected in line


@pytest.mark.parametrize("network", ["resnet18", "resnet50", "mobilenet_v2", "vgg11"])
def test_zoo_networks_have_the_published_layers(network: str) -> None:
    found = Counter(
        (layer.macs, layer.weights) for layer in summarize(zoo.float_model(network)).layers
    )
    want = Counter[tuple[int, int]]()
    for layer in layers(network):
        if network == "vgg11" and layer.name.startswith("fc"):
            continue  # the zoo's VGG-11 has one classifier layer instead of three
        weights = layer.outputs * layer.channels // layer.groups * np.prod(layer.kernel)
        want[layer.macs, int(weights)] += layer.times
    if network == "vgg11":
        want[512 * 1000, 512 * 1000] += 1
    assert found == want


@pytest.mark.parametrize("network", ["resnet18", "resnet50", "mobilenet_v2", "vgg11"])
def test_zoo_activations_neither_explode_nor_vanish(network: str) -> None:
    model = zoo.float_model(network, 64)
    largest: list[float] = []
    feeds = noise_feeds(model.inputs, default_shapes(model))
    run_graph(model, feeds, observe=lambda _, a: largest.append(float(np.abs(a).max())))
    # a factor of 100 up or down over the whole depth would cost int8 ranges their meaning
    assert min(largest) > 0.1 and max(largest) < 100


def test_zoo_names_mean_what_they_say() -> None:
    small = summarize(zoo.build("mobilenet_v2:w7a7:s80:32px"))
    assert small.quantized == len(small.layers) == 53
    first, *middle, last = small.layers
    assert first.sparsity < 0.2 and last.sparsity < 0.2  # rounding to int8 adds a few zeros
    wide = [layer for layer in middle if layer.weights > 9 * layer.output_shape[1]]
    assert len(wide) > 30
    assert all(layer.sparsity == pytest.approx(0.8, abs=0.02) for layer in wide)
    assert [zoo.parse(f"resnet8:{p}50").granularity for p in "sbr"] == ["element", "1x4", "4x1"]
    pruned = summarize(zoo.build("resnet8:s50"))
    assert pruned.quantized == 0
    assert [layer.sparsity > 0.49 for layer in pruned.layers] == [False, *[True] * 8, False]
    with pytest.raises(InputError, match="expected one of"):
        zoo.parse("alexnet")


def test_efficientnet_is_named_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARING_SHARED", str(tmp_path))
    with pytest.raises(InputError, match=r"efficientnet_lite0\.onnx"):
        zoo.build("efficientnet_lite0")


def test_the_machine_is_described() -> None:
    described = machine.describe(3)
    assert described["seed"] == 3 and described["usable_cpus"] >= 1
    assert described["versions"]["numpy"] == np.__version__
    has_c = "c" in available_backends()
    assert bool(described["peak_gmacs"]) == bool(described["isas"]) == has_c
    json.dumps(described)


def test_integer_models_are_checked_on_every_backend() -> None:
    model = read_onnx(residual_net())
    feeds = [noise_feeds(model.inputs, default_shapes(model, 4))]
    assert not is_integer(Session(model, backend="numpy"))
    assert is_integer(Session(sparing.quantize(model, feeds), backend="numpy"))


def test_an_engine_that_crashes_leaves_the_others_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    crash = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"]
    assert peers.killed_by(crash) == "SIGSEGV"
    assert peers.killed_by([sys.executable, "-c", "raise SystemExit(3)"]) == ""
    monkeypatch.setattr(peers, "killed_by", lambda command: "SIGSEGV")
    with pytest.raises(RuntimeError, match=r"openvino crashed on the model \(SIGSEGV\)"):
        peers.try_peer("openvino", tmp_path / "a.onnx", 1, {"x": (1, 3)}, tmp_path / "a.npz")
