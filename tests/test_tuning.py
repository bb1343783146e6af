"""Choosing kernels by cost, and measuring those costs."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_builders import conv_f32
from kernel_checks import require
from models import residual_net
from qdq_builder import feeds_for
from random_networks import random_network

import sparing
from sparing.cost import GMACS, PLACES, SUMS_OF, Costs, costs_path, step_key
from sparing.cost_cache import read_costs, write_costs
from sparing.errors import FormatError
from sparing.formats.onnx_reader import read_onnx
from sparing.kernel_choice import Option, choose, options_of
from sparing.kernels.registry import KERNELS, available_backends, candidates
from sparing.kernels.step import ArraySpec
from sparing.lower import lower
from sparing.lowered import Lowered, ReferenceOp, View
from sparing.model import Model
from sparing.noise import noise_feeds
from sparing.ops.fused_spec import ConvF32, ConvS8, DynamicConv, GemmS8
from sparing.plan import make_plan
from sparing.session import Session
from sparing.summary import default_shapes

FAST = [backend for backend in available_backends() if backend != "numpy"]
pytestmark = pytest.mark.skipif(not FAST, reason="neither a C compiler's kernels nor Numba")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPARING_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def model() -> Model:
    pruned = sparing.prune(read_onnx(residual_net()), sparsity=0.7)
    return sparing.quantize(pruned, [feeds_for(pruned, 4)])


def lowered(model: Model) -> Lowered:
    return lower(model, {name: a.shape for name, a in feeds_for(model, 1).items()})


def random_costs(graph: Lowered, rng: np.random.Generator) -> Costs:
    """A cost for every candidate and layout change, of any order of magnitude."""
    measured: dict[str, float] = {}
    for operation in graph.operations:
        work = operation.work
        if isinstance(work, (View, ReferenceOp)):
            continue
        shapes = [graph.values[name].shape for name in operation.inputs]
        for option in options_of(operation, graph.values, FAST[0], Costs()):
            assert option.kernel is not None
            key = step_key(option.kernel, work, shapes, option.layout)
            measured[key] = float(10 ** rng.uniform(-6, -4))
    return Costs(measured)


def total(graph: Lowered, costs: Costs, chosen: list[Option]) -> float:
    """Steps, and each layout that a value is wanted in, made once (written independently)."""
    layout = {name: "nchw" for name in graph.inputs}
    wanted = {(name, "nchw") for name in graph.outputs}
    for operation, option in zip(graph.operations, chosen, strict=True):
        wanted |= {(name, option.layout) for name in operation.inputs}
        layout.update(dict.fromkeys(operation.outputs, option.layout))
    pairs = {(name, bytes_in(graph.values[name], which)) for name, which in wanted}
    changes = (change(graph, costs, layout, *pair) for pair in pairs)
    return sum(option.seconds for option in chosen) + sum(changes)


def change(graph: Lowered, costs: Costs, layout: dict[str, str], name: str, wanted: str) -> float:
    spec = graph.values[name]
    ends = [bytes_in(spec, which) for which in (layout[name], wanted)]
    return 0.0 if ends[0] == ends[1] else costs.transpose(spec, *ends)


def bytes_in(spec: ArraySpec, layout: str) -> Any:
    """The layout, or "nchw" where its bytes are the same."""
    if len(spec.shape) != 4:
        return "nchw"
    _, channels, height, width = spec.shape
    one = height * width == 1
    same = {"nchw": True, "nhwc": channels == 1 or one, "nc4hw4": one and channels % 4 == 0}
    same["slab"] = spec.dtype != np.float32
    return "nchw" if same[layout] else layout


@pytest.mark.parametrize("seed", range(10))
def test_the_choice_is_the_cheapest_of_all(model: Model, seed: int) -> None:
    graph = lowered(model)
    costs = random_costs(graph, np.random.default_rng(seed))
    chosen, options = choose(graph, FAST[0], costs)
    best = min(total(graph, costs, list(each)) for each in itertools.product(*options))
    assert total(graph, costs, chosen) == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_a_plan_is_never_dearer_than_the_dense_one(seed: int) -> None:
    """By the shipped costs and by any measured ones, at sparsities from none to nearly all."""
    rng = np.random.default_rng(seed)
    model = random_network(seed)
    shapes = default_shapes(model)
    sparsity = float(rng.choice([0.3, 0.6, 0.8, 0.95]))
    pruned = sparing.prune(model, sparsity, granularity=str(rng.choice(["element", "1x4"])))
    feeds = [noise_feeds(model.inputs, shapes)]
    quantized = sparing.quantize(pruned, feeds, method="minmax", rounding="nearest")
    graph = lower(quantized, shapes)
    for costs in (Costs(), random_costs(graph, rng)):
        free, dense = (
            make_plan(graph, FAST[0], 1, costs, formats).seconds
            for formats in (None, ("dense_s8", "dense_s16", "dense_f32"))
        )
        assert free <= dense * (1 + 1e-12)
        assert free == pytest.approx(total(graph, costs, choose(graph, FAST[0], costs)[0]))


def test_tuning_fills_the_file_and_plans_follow_it(model: Model, cache: Path) -> None:
    counts: list[tuple[int, int]] = []
    path = sparing.tune(
        model, threads=1, backend=FAST[0], seconds=0.001, progress=lambda *c: counts.append(c)
    )
    assert path.parent == cache and path == costs_path(FAST[0], 1)
    costs = read_costs(path)
    assert len(costs) == len(counts) == counts[-1][1] and all(v > 0 for v in costs.values())

    feeds = feeds_for(model, 1)
    want = Session(model, backend="numpy").run(None, feeds)
    for favourite in ("conv_csr_s8", "conv_s8"):
        write_costs(path, {k: 1e-9 if k.startswith(favourite + ".") else 1e-2 for k in costs})
        session = Session(model, backend=FAST[0], threads=1)
        kernels = {s.kernel for s in session.explain().steps if s.operator == "ConvS8"}
        assert {kernel.partition(".")[0] for kernel in kernels} == {favourite}
        assert np.array_equal(session.run(None, feeds)[0], want[0])


def test_what_is_measured_is_not_measured_again(model: Model, cache: Path) -> None:
    path = sparing.tune(model, threads=1, backend=FAST[0], seconds=0.001)
    before = path.read_bytes()
    calls: list[int] = []
    sparing.tune(model, threads=1, backend=FAST[0], progress=lambda d, t: calls.append(d))
    assert not calls and path.read_bytes() == before


def test_a_damaged_file_is_named(model: Model, cache: Path) -> None:
    path = costs_path(FAST[0], 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{")
    with pytest.raises(FormatError, match="costs-"):
        Session(model, backend=FAST[0], threads=1)


def test_other_threads_have_other_files(cache: Path) -> None:
    assert costs_path(FAST[0], 1) != costs_path(FAST[0], 2)


def test_every_kernel_has_a_rate_wherever_it_may_run() -> None:
    weighted = {k.operator for k in KERNELS if k.spec in (ConvS8, ConvF32, GemmS8, DynamicConv)}
    assert {SUMS_OF.get(operator, operator) for operator in weighted} <= set(GMACS)
    assert all(len(rates) == len(PLACES) for rates in GMACS.values())
    if "c" in available_backends():
        native = pytest.importorskip("sparing.kernels.native")
        assert set(native.isas()) <= set(PLACES)


@pytest.mark.parametrize(
    ("channels", "size", "outputs", "kernel", "step", "zeros", "cheapest"),
    [
        (1, (1, 44100), 36, (1, 256), 256, 0.4, "dense_f32"),  # as many runs as pixels
        (8, (172, 264), 8, (3, 39), 1, 0.0, "dense_f32"),  # each tap serves a few products
        (64, (30, 30), 64, (3, 3), 1, 0.95, "csr_f32"),
    ],
)
def test_sparse_convolutions_are_expected_to_gather_their_taps(
    channels: int,
    size: tuple[int, int],
    outputs: int,
    kernel: tuple[int, int],
    step: int,
    zeros: float,
    cheapest: str,
) -> None:
    """Filters over a signal were planned sparse at a tenth of what they took."""
    require("c")
    shape = (1, channels, *size)
    spec = conv_f32("case", shape, outputs, kernel, strides=(1, step), sparsity=zeros).spec
    seconds = {
        k.weight_format: Costs().step(k, spec, [shape], k.layouts[0]) for k in candidates(spec, "c")
    }
    assert min(seconds, key=lambda name: seconds[name]) == cheapest
