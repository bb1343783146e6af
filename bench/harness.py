"""The benchmark: models on Sparing's backends and on other engines, in one process, taking turns.

Every contestant is loaded, warmed up, checked on one input against the NumPy reference, and then
timed in turns with all others that use as many threads.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, TypeAlias

import numpy as np

from ..demo_checks import is_integer
from ..errors import InputError
from ..kernels.registry import Backend
from ..model import Array
from ..session import Session, resolve_backend
from .machine import INTEGER_MIXES, describe, pinned, resident_bytes
from .peers import load_peer, peer_version, prepare_peer, try_peer
from .rounds import SETTLE, Contestant, blas_threads, interleave
from .subjects import Subject, Wanted, subject

Progress: TypeAlias = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
Check: TypeAlias = Literal[
    "reference", "equal", "NOT EQUAL", ""
]  # "": not an integer model of ours

OURS = ("c", "numba", "numpy")


@dataclass(frozen=True, slots=True)
class Settings:
    """seconds: timed for each contestant. threads: every number of them is a contest of its own."""

    backends: Sequence[Backend] = ("c", "numba")
    peers: Sequence[str] = ()
    threads: Sequence[int] = (1,)
    batch: int = 1
    seconds: float = 2.0
    data: str | None = None
    shapes: Sequence[tuple[str, tuple[int, ...]]] = ()
    pin: bool = True
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """One contestant. Times in milliseconds for one batch; rates in 1e9 multiply-accumulates a
    second at the median, `dense` counting zeros, `effective` leaving them out.

    peak_fraction: dense rate over the peak of this machine measured in the same run, times threads;
    None without the C kernels. speedups: over the reference and each peer, by medians.
    resident_bytes: memory that loading and a first run added to the process. agreement: fraction of
    images with the reference's top class (None where outputs are no class scores), and the largest
    difference of an output.
    """

    model: str
    engine: str
    threads: int
    min_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    count: int
    dense_gmacs: float
    effective_gmacs: float
    peak_fraction: float | None
    speedups: Mapping[str, float]
    file_bytes: int
    resident_bytes: int | None
    load_seconds: float
    agreement: float | None
    max_difference: float
    check: Check


@dataclass(frozen=True, slots=True)
class Report:
    """absent: what was asked for and could not run, with the reason. pinned: CPUs, where it was."""

    machine: Mapping[str, Any]
    settings: Settings
    models: Sequence[Mapping[str, Any]]
    results: Sequence[Result]
    absent: Sequence[Mapping[str, str]]
    pinned: Mapping[int, list[int] | None]
    blas_limited: bool
    passed: bool


@dataclass(slots=True, eq=False)
class _Entry:
    subject: Subject
    engine: str
    threads: int
    load_seconds: float
    resident_bytes: int | None
    outputs: list[Array]
    contestant: Contestant
    integer: bool = False
    check: Check = ""
    file_bytes: int = 0


@dataclass(slots=True)
class _Bench:
    settings: Settings
    progress: Progress
    folder: Path
    absent: list[dict[str, str]] = field(default_factory=list)
    pinned: dict[int, list[int] | None] = field(default_factory=dict)
    blas_limited: bool = True

    def contest(self, subjects: Sequence[Subject], threads: int) -> list[_Entry]:
        """Load and time everything that uses this many threads."""
        cpus = threads if self.settings.pin else None
        with pinned(cpus) as chosen, blas_threads(threads) as limited:
            self.pinned[threads] = chosen
            self.blas_limited = self.blas_limited and limited
            engines = ["numpy", *self.settings.backends, *self.settings.peers]
            engines = list(dict.fromkeys(engines))
            with self.progress(
                f"loading ({_threads(threads)})", len(subjects) * len(engines)
            ) as advance:
                entries: list[_Entry] = []
                for item in subjects:
                    entries += self._load(item, engines, threads, advance)
            contestants = [entry.contestant for entry in entries]
            with self.progress(f"timing ({_threads(threads)})", len(contestants)) as advance:
                interleave(
                    contestants,
                    self.settings.seconds,
                    seed=self.settings.seed,
                    progress=advance,
                    settle=SETTLE if threads > 1 else 0.0,
                )
        return entries

    def _load(
        self, item: Subject, engines: Sequence[str], threads: int, advance: Callable[[int], None]
    ) -> Iterator[_Entry]:
        reference: _Entry | None = None
        for engine in engines:
            entry = self._entry(item, engine, threads)
            advance(1)
            if entry is None:
                continue
            reference = reference or entry  # the NumPy backend comes first
            given, expected = len(entry.outputs), len(reference.outputs)
            if given != expected:
                self._miss(item, engine, f"gave {given} outputs, expected {expected}")
                continue
            entry.integer = reference.integer
            entry.check = _check(entry, reference)
            yield entry

    def _entry(self, item: Subject, engine: str, threads: int) -> _Entry | None:
        integer, path = False, item.path
        if engine not in OURS:
            found = self._peer_file(item, engine, threads)
            if found is None:
                return None
            path = found
        before, start = resident_bytes(), perf_counter()
        if engine in OURS:
            session = Session(path, resolve_backend(engine), threads)  # type: ignore[arg-type]
            integer = is_integer(session, item.shapes)
            run = _runner(session)
        else:
            try:
                run = load_peer(engine, path, threads, item.shapes)
                run(item.feeds[0])
            except Exception as error:  # an engine's own errors have no common type
                self._miss(item, engine, " ".join(f"{type(error).__name__}: {error}".split()))
                return None
        loaded = perf_counter() - start
        outputs = [np.array(output) for output in run(item.feeds[0])]  # some return views
        after = resident_bytes()
        added = None if before is None or after is None else max(0, after - before)
        feeds = item.feeds
        contestant = Contestant(lambda i: run(feeds[i % len(feeds)]))
        size = path.stat().st_size
        return _Entry(item, engine, threads, loaded, added, outputs, contestant, integer, "", size)

    def _peer_file(self, item: Subject, engine: str, threads: int) -> Path | None:
        """What the peer loads, or None where it is absent or cannot take the model."""
        if peer_version(engine) is None:
            self._miss(item, engine, "not installed")
            return None
        try:
            path = prepare_peer(engine, item.onnx, self.folder)
            noise = self.folder / "trial.npz"
            np.savez(noise, *item.feeds[0].values())
            try_peer(engine, path, threads, item.shapes, noise)
            return path
        except RuntimeError as error:
            self._miss(item, engine, str(error))
            return None

    def _miss(self, item: Subject, engine: str, reason: str) -> None:
        found = {"model": item.name, "engine": engine, "reason": reason[:200]}
        if found not in self.absent:
            self.absent.append(found)


def run_bench(models: Sequence[str], settings: Settings, progress: Progress) -> Report:
    """Measure the models (files, or `zoo:NAME`). progress: as for the demo.

    Raises InputError for what does not exist, NativeError for a backend that is not installed.
    """
    if not models:
        raise InputError("expected at least one model")
    for name in settings.peers:
        peer_version(name)  # refuses unknown names before any work
    for backend in settings.backends:
        resolve_backend(backend)
    with tempfile.TemporaryDirectory() as scratch:
        bench = _Bench(settings, progress, Path(scratch))
        with progress("building models", len(models)) as advance:
            subjects = []
            wanted = Wanted(settings.batch, settings.data, settings.shapes, settings.seed)
            for number, spec in enumerate(models):
                subjects.append(subject(spec, number, Path(scratch), wanted))
                advance(1)
        machine = describe(settings.seed)
        entries = [e for threads in settings.threads for e in bench.contest(subjects, threads)]
        results = [_result(entry, entries, machine["peak_gmacs"]) for entry in entries]
    return Report(
        machine,
        settings,
        [_model_facts(item) for item in subjects],
        results,
        bench.absent,
        bench.pinned,
        bench.blas_limited,
        all(result.check != "NOT EQUAL" for result in results),
    )


def _runner(session: Session) -> Callable[[Mapping[str, Array]], list[Array]]:
    return lambda feeds: session.run(None, feeds)


def _check(entry: _Entry, reference: _Entry) -> Check:
    if not entry.integer or entry.engine not in OURS:
        return ""
    if entry is reference:
        return "reference"
    pairs = zip(entry.outputs, reference.outputs, strict=True)
    return "equal" if all(np.array_equal(a, b) for a, b in pairs) else "NOT EQUAL"


def _model_facts(item: Subject) -> dict[str, Any]:
    return {
        "name": item.name,
        "macs": item.summary.macs,
        "nonzero_macs": item.summary.nonzero_macs,
        "parameters": item.summary.parameters,
        "sparsity": item.summary.sparsity,
        "quantized_layers": item.summary.quantized,
        "layers": len(item.summary.layers),
        "inputs": {name: list(shape) for name, shape in item.shapes.items()},
        "data": item.data,
    }


def _result(entry: _Entry, entries: Sequence[_Entry], peaks: Mapping[str, float]) -> Result:
    seconds = np.array(entry.contestant.seconds)
    p50, p90, p99 = (float(np.percentile(seconds, p)) for p in (50, 90, 99))
    summary = entry.subject.summary
    mixes = INTEGER_MIXES if entry.integer else ("fma",)
    peak = max((peaks[mix] for mix in mixes if mix in peaks), default=None)
    group = [e for e in entries if e.subject is entry.subject and e.threads == entry.threads]
    reference = next(e for e in group if e.engine == "numpy")
    agreement, difference = _agreement(entry.outputs[0], reference.outputs[0])
    rate = summary.macs / p50 / 1e9
    return Result(
        model=entry.subject.name,
        engine=entry.engine,
        threads=entry.threads,
        min_ms=float(seconds.min()) * 1e3,
        p50_ms=p50 * 1e3,
        p90_ms=p90 * 1e3,
        p99_ms=p99 * 1e3,
        count=len(seconds),
        dense_gmacs=rate,
        effective_gmacs=summary.nonzero_macs / p50 / 1e9,
        peak_fraction=None if peak is None else rate / (peak * entry.threads),
        speedups={
            other.engine: float(np.median(other.contestant.seconds)) / p50
            for other in group
            if other.engine == "numpy" or other.engine not in OURS
        },
        file_bytes=entry.file_bytes,
        resident_bytes=entry.resident_bytes,
        load_seconds=entry.load_seconds,
        agreement=agreement,
        max_difference=difference,
        check=entry.check,
    )


def _agreement(output: Array, reference: Array) -> tuple[float | None, float]:
    if output.shape != reference.shape:
        return None, float("inf")
    wide = output.astype(np.float64) - reference
    difference = float(np.abs(wide).max(initial=0))
    if output.ndim != 2:
        return None, difference
    return float((output.argmax(1) == reference.argmax(1)).mean()), difference


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
