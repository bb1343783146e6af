"""Measure, on this machine, what the plan's candidates cost, and keep it for the next sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import permutations
from pathlib import Path
from time import perf_counter

import numpy as np

from .cost import Costs, costs_path, step_key, transpose_key
from .cost_cache import read_costs, write_costs
from .cpus import usable_cpus
from .kernel_choice import layouts_of, options_of
from .kernels.registry import Backend
from .kernels.step import Array, ArraySpec, Step
from .lower import lower
from .lowered import Lowered, ReferenceOp, View
from .model import Model
from .plan import transpose_step
from .session import BackendChoice, resolve_backend

OTHER_BYTES = 1 << 22  # more than the caches that a core has to itself

Measurement = tuple[str, Callable[[], Step]]  # key, and what prepares the step to measure


def tune(
    model: Model,
    shapes: Mapping[str, Sequence[int]] | None = None,
    backend: BackendChoice = "auto",
    threads: int | None = None,
    *,
    seconds: float = 0.02,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Time every candidate kernel of every distinct layer, and file the costs for later sessions.

    shapes: input shapes to measure for; None for a batch of one. seconds: how long to repeat each
    measurement; its minimum counts. What an earlier call measured is not measured again.
    progress(done, total) is called after each. Returns the file. Sessions made afterwards with the
    same backend and threads plan by it; integer results are the same whatever it says.
    """
    chosen = resolve_backend(backend)
    used = usable_cpus() if threads is None else threads
    given = shapes or {
        info.name: tuple(d if isinstance(d, int) else 1 for d in info.shape or ())
        for info in model.inputs
    }
    lowered = lower(model, {name: tuple(shape) for name, shape in given.items()})
    path = costs_path(chosen, used)
    costs = read_costs(path)
    missing = {k: make for k, make in _measurements(lowered, chosen, used) if k not in costs}
    for done, (key, make) in enumerate(missing.items(), start=1):
        costs[key] = _seconds(make(), seconds)
        if progress is not None:
            progress(done, len(missing))
    write_costs(path, costs)
    return path


def _measurements(lowered: Lowered, backend: Backend, threads: int) -> Iterator[Measurement]:
    for operation in lowered.operations:
        work = operation.work
        if isinstance(work, (View, ReferenceOp)):
            continue
        inputs = [lowered.values[name].shape for name in operation.inputs]
        options = options_of(operation, lowered.values, backend, Costs())
        if len(options) == 1:
            continue  # nothing to choose
        for option in options:
            kernel, layout = option.kernel, option.layout
            assert kernel is not None  # only views and reference operators have none
            yield (
                step_key(kernel, work, inputs, layout),
                lambda k=kernel, w=work, s=inputs, o=layout: k.prepare(w, s, o, threads),  # type: ignore[misc]
            )
    for spec in lowered.values.values():
        for before, after in permutations(layouts_of(spec), 2):
            yield (
                transpose_key(spec, before, after),
                lambda v=spec, b=before, a=after: transpose_step(v, b, a, backend, threads),  # type: ignore[misc]
            )


def _seconds(step: Step, budget: float) -> float:
    """The fastest of as many runs as fit the budget (at least three), on seeded noise.

    Before each run other data passes through the caches, and then the inputs: as in a network,
    where the weights were last used a whole run ago, and the inputs have just been made.
    """
    rng = np.random.default_rng(0)
    inputs = [_noise(spec, rng) for spec in step.inputs]
    output = np.empty(step.output.shape, step.output.dtype)
    others = np.zeros(OTHER_BYTES // 8, np.int64)
    step.run(inputs, output)  # warm-up; the first run of a Numba kernel compiles it
    best, end, runs = float("inf"), perf_counter() + budget, 0
    while runs < 3 or perf_counter() < end:
        others.sum()
        for array in inputs:
            array.max()
        start = perf_counter()
        step.execute(inputs, output)
        best = min(best, perf_counter() - start)
        runs += 1
    return best


def _noise(spec: ArraySpec, rng: np.random.Generator) -> Array:
    if spec.dtype == np.float32:
        return rng.standard_normal(spec.shape, np.float32)
    return rng.integers(0, 128, spec.shape).astype(spec.dtype)
