"""The demo: compress the embedded model, run it everywhere, and check every answer.

Four models (float, quantized, pruned, pruned and quantized) are saved as `.sparing` files and run
from there on every backend and instruction set that this machine has, on the embedded test images.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from .bench.rounds import Contestant, blas_threads, interleave
from .compression.recipe import Recipe, apply_recipe
from .demo_checks import (
    Check,
    Target,
    available_targets,
    check_float,
    is_integer,
    same_isa_afterwards,
)
from .errors import InputError
from .formats import load, save
from .image_data import Images, images
from .model import Array, Model
from .session import Session
from .summary import summarize

Progress: TypeAlias = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]

MODEL, DATA = "resnet8_fashion_mnist.onnx", "fashion_mnist.npz"
BATCH = 100  # images a run while accuracy is measured; latency is measured one by one
BOUND_IMAGES = 4  # images on which every layer of a float model is held against its bound
SAMPLES = 32  # images that latency is measured on, in turn
LATENCY_SECONDS = 0.4  # for each model on each backend

# Nothing is retrained after pruning, which so small a network does not forgive. These sparsities
# (56 % zeros in all) were chosen on the calibration images: each layer about as far as it bears.
PRUNING: dict[str, Any] = {"sparsity": 0.4, "scope": "layer"}
LAYERS: dict[str, dict[str, Any]] = {
    "stem/conv": {"ignored": True},
    "stack[23]/projection": {"sparsity": 0.8},
    "stack3/conv2": {"sparsity": 0.7},
    "classifier": {"sparsity": 0.5},
}
RECIPES: dict[str, Recipe | None] = {
    "float": None,
    "int8": Recipe({"quantize": {}}),
    "pruned": Recipe({"prune": PRUNING}, LAYERS),
    "pruned + int8": Recipe(
        {"prune": PRUNING, "quantize": {}},
        # a layer that is not pruned is quantized all the same
        {key: value if "sparsity" in value else {"sparsity": 0.0} for key, value in LAYERS.items()},
    ),
}


@dataclass(frozen=True, slots=True)
class DemoRow:
    """One model on one backend. Latencies are of one image, in seconds.

    speedup: over the NumPy reference running the same model; speedup_onnxruntime: over onnxruntime
    running the float model, None where it is not installed. Both compare medians.
    check: "equal" (every output, bit for bit), "within bound", "reference", or what failed.
    """

    model: str
    backend: str
    accuracy: float
    sparsity: float
    file_bytes: int
    latency_min: float
    latency_median: float
    runs: int
    speedup: float
    speedup_onnxruntime: float | None
    check: str
    passed: bool


@dataclass(frozen=True, slots=True)
class Demo:
    """passed: whether every check did. onnxruntime_median: seconds, None where not installed."""

    images: int
    rows: tuple[DemoRow, ...]
    onnxruntime_median: float | None
    notes: tuple[str, ...]
    passed: bool


@dataclass(slots=True, eq=False)
class _Entry:
    """A model on a target, before it is timed."""

    model: str
    target: Target
    session: Session
    accuracy: float
    check: Check
    contestant: Contestant = field(init=False)


def run_demo(count: int, progress: Progress) -> Demo:
    """Compress, run, check and time. count: test images to use.

    progress(description, total): a context manager that gives a function to call with advances.
    """
    targets = available_targets()
    with (
        as_file(files("sparing.assets") / MODEL) as model_path,
        as_file(files("sparing.assets") / DATA) as data_path,
        tempfile.TemporaryDirectory() as scratch,
        same_isa_afterwards(),
        blas_threads(1) as limited,
    ):
        original = load(model_path)
        calibration = images(data_path, model=original, part="calibration", batch=64)
        test = images(data_path, model=original, batch=BATCH)
        if count > len(test):
            raise InputError(f"images: expected at most {len(test)}, which are embedded")
        test = test.take(count)
        saved = _compressed(original, calibration, Path(scratch), progress)
        with progress("running and checking", len(saved) * len(targets)) as advance:
            entries = list(_checked(saved, targets, test, advance))
        peer = _onnxruntime(model_path, _singles(test))
        contestants = [entry.contestant for entry in entries] + ([peer] if peer else [])
        with progress("timing", len(contestants)) as advance:
            interleave(contestants, LATENCY_SECONDS, least=10, progress=advance)
        return _result(entries, saved, peer, count, tuple(_notes(peer, targets, limited)))


def _compressed(
    original: Model, calibration: Images, folder: Path, progress: Progress
) -> dict[str, Path]:
    saved = {}
    with progress("compressing", len(RECIPES)) as advance:
        for name, recipe in RECIPES.items():
            model = original if recipe is None else apply_recipe(original, recipe, calibration)
            saved[name] = folder / f"{name.replace(' ', '')}.sparing"
            save(model, saved[name])
            advance(1)
    return saved


def _checked(
    saved: dict[str, Path], targets: Sequence[Target], test: Images, advance: Callable[[int], None]
) -> Iterator[_Entry]:
    singles = _singles(test)
    assert test.labels is not None
    for name, path in saved.items():
        reference: Array | None = None
        for target in targets:
            target.enter()
            session = Session(path, target.backend, threads=1)
            outputs = np.concatenate([session.run(None, feeds)[0] for feeds in test])
            if reference is None:  # the first target is the reference
                reference = outputs
            integer = is_integer(session)
            if target.backend == "numpy" and integer:
                check = Check("reference", True)
            elif integer:
                check = _equality(outputs, reference)
            else:
                check = check_float(load(path), target, next(iter(test.take(BOUND_IMAGES))))
            accuracy = float((outputs.argmax(1) == test.labels).mean())
            entry = _Entry(name, target, session, accuracy, check)
            entry.contestant = Contestant(
                lambda i, session=session: session.run(None, singles[i % len(singles)]),  # type: ignore[misc]
                target.enter,
            )
            advance(1)
            yield entry


def _equality(outputs: Array, reference: Array) -> Check:
    different = int((outputs != reference).any(axis=1).sum())
    return Check("equal" if not different else f"{different} images differ", not different)


def _singles(test: Images) -> list[dict[str, Array]]:
    """Feeds of one image each."""
    (batch,) = test.take(SAMPLES)
    return [{test.name: array[None]} for array in batch[test.name]]


def _onnxruntime(path: Path, singles: Sequence[dict[str, Array]]) -> Contestant | None:
    if find_spec("onnxruntime") is None:
        return None
    from .bench.peers import load_peer

    shapes = {name: array.shape for name, array in singles[0].items()}
    run = load_peer("onnxruntime", path, 1, shapes)
    return Contestant(lambda i: run(singles[i % len(singles)]))


def _result(
    entries: Sequence[_Entry],
    saved: dict[str, Path],
    peer: Contestant | None,
    count: int,
    notes: tuple[str, ...],
) -> Demo:
    medians = {(e.model, e.target.name): float(np.median(e.contestant.seconds)) for e in entries}
    peer_median = None if peer is None else float(np.median(peer.seconds))
    sparsities = {name: summarize(load(path)).sparsity for name, path in saved.items()}
    rows = []
    for entry in entries:
        median = medians[entry.model, entry.target.name]
        rows.append(
            DemoRow(
                model=entry.model,
                backend=entry.target.name,
                accuracy=entry.accuracy,
                sparsity=sparsities[entry.model],
                file_bytes=saved[entry.model].stat().st_size,
                latency_min=min(entry.contestant.seconds),
                latency_median=median,
                runs=len(entry.contestant.seconds),
                speedup=medians[entry.model, "numpy"] / median,
                speedup_onnxruntime=None if peer_median is None else peer_median / median,
                check=entry.check.text,
                passed=entry.check.passed,
            )
        )
    return Demo(count, tuple(rows), peer_median, notes, all(row.passed for row in rows))


def _notes(peer: Contestant | None, targets: Sequence[Target], limited: bool) -> Iterator[str]:
    if peer is None:
        yield "onnxruntime is not installed: no comparison with it (pip install onnxruntime)"
    if not limited:
        yield "threadpoolctl is not installed: NumPy's BLAS may use more than one thread"
    backends = {target.backend for target in targets}
    if "c" not in backends:
        yield "Sparing was installed without a C compiler: no C kernels"
    if "numba" not in backends:
        yield "numba is not installed: no Numba kernels (pip install 'sparing[numba]')"
