"""Time against sparsity, for a network or a layer: from which sparsity on do zeros pay?

Contestants of a network: its plan made of dense kernels alone, its plan with the sparse kernels
wherever they can run, and the plan that Sparing chooses. Contestants of a layer: every kernel that
can run it. All of one sparsity take turns, and each is checked against the NumPy reference first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from ..compression.prune import prune
from ..cost_sparse import SPARSE_FORMATS
from ..demo_checks import is_integer
from ..errors import InputError
from ..formats import load
from ..kernel_choice import layouts_of
from ..kernels.registry import KERNELS, Backend, Kernel, candidates
from ..kernels.step import ArraySpec, Layout, in_layout
from ..lower import lower
from ..model import Array, Model
from ..noise import noise_feeds
from ..ops import fused
from ..ops import fused_spec as fs
from ..plan import transpose_step
from ..session import Session
from ..summary import default_shapes, summarize
from . import zoo
from .harness import Check, Progress
from .machine import describe, pinned
from .rounds import Contestant, blas_threads, interleave
from .shapes import NETWORKS, Layer, layers
from .zoo_graphs import single_layer

SPARSITIES = (0.0, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
SPARSE = sorted({k.weight_format for k in KERNELS if k.weight_format in SPARSE_FORMATS})
DENSE = sorted({k.weight_format for k in KERNELS if k.weight_format} - set(SPARSE))

Kind: TypeAlias = Literal["dense", "sparse", "chosen"]


@dataclass(frozen=True, slots=True)
class SweepSettings:
    """bits: of weights and activations, for what is quantized here; None sweeps the float model.

    granularity: of the zeros, as for `sparing.prune`.
    """

    sparsities: Sequence[float] = SPARSITIES
    granularity: str = "element"
    bits: tuple[int, int] | None = (7, 8)
    backend: Backend = "c"
    threads: int = 1
    seconds: float = 1.0
    pin: bool = True
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Point:
    """Times in milliseconds. gmacs: dense-equivalent, at the median."""

    sparsity: float
    contestant: str
    kind: Kind
    min_ms: float
    p50_ms: float
    gmacs: float
    check: Check


@dataclass(frozen=True, slots=True)
class Sweep:
    """break_even: the sparsity from which the best sparse contestant is the faster one, between the
    measured ones by interpolation; None where dense stays ahead. worst_ratio: the largest time of
    the chosen plan over the dense plan's; None for layers. Both go by the fastest runs, which other
    programs disturb least."""

    subject: str
    settings: SweepSettings
    machine: dict[str, Any]
    points: Sequence[Point]
    break_even: float | None
    worst_ratio: float | None
    passed: bool


@dataclass(slots=True, eq=False)
class _Entry:
    name: str
    kind: Kind
    contestant: Contestant
    check: Check


def run_sweep(subject: str, settings: SweepSettings, progress: Progress) -> Sweep:
    """Sweep a float model's file, `zoo:NETWORK` or `layer:NETWORK/LAYER` (of bench/shapes).

    progress: as for the demo. Raises InputError for subjects that do not exist or are quantized.
    """
    build = _builder(subject, settings)
    points: list[Point] = []
    with (
        pinned(settings.threads if settings.pin else None),
        blas_threads(settings.threads),
        progress(subject, len(settings.sparsities)) as advance,
    ):
        for sparsity in settings.sparsities:
            points += _measure(build(sparsity), sparsity, subject, settings)
            advance(1)
    return Sweep(
        subject,
        settings,
        describe(settings.seed),
        points,
        break_even(points),
        _worst_ratio(points),
        all(point.check != "NOT EQUAL" for point in points),
    )


def _builder(subject: str, settings: SweepSettings) -> Callable[[float], Model]:
    """What makes the subject's model with a given fraction of zeros."""
    if subject.startswith("layer:"):
        model, ignored = single_layer(_layer(subject)), list[str]()
    else:
        model = _float_model(subject)
        ignored = zoo.kept_dense(model)
    if summarize(model).quantized:
        raise InputError(f"{subject}: expected a float model, which the sweep prunes and quantizes")

    def build(sparsity: float) -> Model:
        made = model
        if sparsity:
            made = prune(
                model,
                sparsity,
                granularity=settings.granularity,
                scope="layer",
                ignored=ignored,
            )
        return made if settings.bits is None else zoo.quantized_for_speed(made, *settings.bits)

    return build


def _float_model(subject: str) -> Model:
    if not subject.startswith("zoo:"):
        return load(subject)
    entry = zoo.parse(subject[4:])
    if entry.weight_bits is not None or entry.sparsity:
        raise InputError(f"{subject}: a sweep sets bits and zeros: expected zoo:{entry.network}")
    return zoo.float_model(entry.network, entry.size)


def _layer(subject: str) -> Layer:
    network, _, name = subject.removeprefix("layer:").partition("/")
    if network not in NETWORKS:
        raise InputError(f"{subject}: expected layer:NETWORK/LAYER, NETWORK of {list(NETWORKS)}")
    found = {layer.name: layer for layer in layers(network)}
    if name not in found:
        raise InputError(f"{subject}: expected a layer of {list(found)}")
    return found[name]


def _measure(
    model: Model, sparsity: float, subject: str, settings: SweepSettings
) -> Iterator[Point]:
    layer = subject.startswith("layer:")
    entries = list(_kernels(model, settings) if layer else _plans(model, settings))
    macs = summarize(model).macs
    interleave([e.contestant for e in entries], settings.seconds, seed=settings.seed)
    for entry in entries:
        seconds = np.array(entry.contestant.seconds)
        p50 = float(np.median(seconds))
        yield Point(
            sparsity,
            entry.name,
            entry.kind,
            float(seconds.min()) * 1e3,
            p50 * 1e3,
            macs / p50 / 1e9,
            entry.check,
        )


def _plans(model: Model, settings: SweepSettings) -> Iterator[_Entry]:
    feeds = noise_feeds(model.inputs, default_shapes(model), settings.seed)
    reference = Session(model, "numpy", settings.threads)
    want, integer = reference.run(None, feeds), is_integer(reference)
    kinds: dict[Kind, Sequence[str] | None] = {"dense": DENSE, "sparse": SPARSE, "chosen": None}
    for kind, formats in kinds.items():
        session = Session(model, settings.backend, settings.threads, formats)
        got = session.run(None, feeds)
        equal = all(np.array_equal(a, b) for a, b in zip(got, want, strict=True))
        check: Check = "" if not integer else "equal" if equal else "NOT EQUAL"
        yield _Entry(kind, kind, Contestant(_runner(session, feeds)), check)


def _runner(session: Session, feeds: dict[str, Array]) -> Callable[[int], object]:
    return lambda _: session.run(None, feeds)


def _kernels(model: Model, settings: SweepSettings) -> Iterator[_Entry]:
    lowered = lower(model, default_shapes(model))
    layer = next(op for op in lowered.operations if isinstance(op.work, (fs.ConvS8, fs.ConvF32)))
    spec = layer.work
    assert isinstance(spec, (fs.ConvS8, fs.ConvF32))
    x = _activation(lowered.values[layer.inputs[0]].shape, spec, settings.seed)
    want = fused.run(spec, [x])
    for kernel in candidates(spec, settings.backend):
        yield _kernel_entry(kernel, spec, x, want, settings)


def _activation(shape: Sequence[int], spec: fs.ConvS8 | fs.ConvF32, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    if isinstance(spec, fs.ConvF32):
        return rng.standard_normal(shape, np.float32)
    return rng.integers(0, spec.x_max, shape, np.uint8, endpoint=True)


def _kernel_entry(
    kernel: Kernel, spec: fs.ConvS8 | fs.ConvF32, x: Array, want: Array, settings: SweepSettings
) -> _Entry:
    layout = kernel.layouts[0]
    step = kernel.prepare(spec, [x.shape], layout, settings.threads)
    inside = _converted(x, "nchw", layout, settings)
    output = np.empty(step.output.shape, step.output.dtype)
    step.run([inside], output)
    check: Check = ""
    if isinstance(spec, fs.ConvS8):
        got = _converted(output, layout, "nchw", settings, want)
        check = "equal" if np.array_equal(got, want) else "NOT EQUAL"
    kind: Kind = "sparse" if kernel.weight_format in SPARSE_FORMATS else "dense"
    return _Entry(kernel.name, kind, Contestant(lambda _: step.execute([inside], output)), check)


def _converted(
    array: Array, before: Layout, after: Layout, settings: SweepSettings, like: Array | None = None
) -> Array:
    """An activation in another layout. like: an array of its logical (NCHW) shape."""
    logical = array if like is None else like
    spec = ArraySpec(logical.shape, logical.dtype)
    start, end = (name if name in layouts_of(spec) else "nchw" for name in (before, after))
    if start == end:  # the same bytes
        return array.reshape(in_layout(logical.shape, after))
    step = transpose_step(spec, start, end, settings.backend, settings.threads)
    output = np.empty(step.output.shape, step.output.dtype)
    step.run([array.reshape(in_layout(logical.shape, start))], output)
    return output.reshape(in_layout(logical.shape, after))


def break_even(points: Sequence[Point]) -> float | None:
    """The sparsity from which on sparse is the faster one, by the fastest runs.

    Between two measured sparsities the logarithm of the ratio is taken as straight.
    """
    ratios = []
    for sparsity in sorted({point.sparsity for point in points}):
        best = {kind: _fastest(points, sparsity, kind) for kind in ("dense", "sparse")}
        if None not in best.values():
            ratios.append((sparsity, math.log(best["sparse"] / best["dense"])))  # type: ignore[operator]
    if not ratios or ratios[-1][1] >= 0:
        return None
    later = ratios[-1]
    for earlier in reversed(ratios[:-1]):
        if earlier[1] >= 0:
            share = earlier[1] / (earlier[1] - later[1])
            return earlier[0] + share * (later[0] - earlier[0])
        later = earlier
    return later[0]


def break_even_text(sweep: Sweep) -> str:
    """Where sparse kernels begin to pay, and how the chosen plan did, in words."""
    if sweep.break_even is None:
        text = "sparse kernels are not faster at any measured sparsity"
    else:
        text = f"sparse kernels are faster than dense ones from {sweep.break_even:.0%} zeros on"
    if sweep.worst_ratio is not None:
        text += f"; the chosen plan took at most {sweep.worst_ratio:.2f} times the dense plan"
    return text


def _fastest(points: Sequence[Point], sparsity: float, kind: Kind) -> float | None:
    found = [p.min_ms for p in points if p.sparsity == sparsity and p.kind == kind]
    return min(found, default=None)


def _worst_ratio(points: Sequence[Point]) -> float | None:
    ratios = [
        chosen / dense
        for sparsity in {point.sparsity for point in points}
        if (chosen := _fastest(points, sparsity, "chosen")) is not None
        and (dense := _fastest(points, sparsity, "dense")) is not None
    ]
    return max(ratios, default=None)
