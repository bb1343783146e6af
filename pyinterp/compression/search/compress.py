"""Search for the fastest or the smallest form of a model that keeps its score.

Each layer has a small table of choices, with a cost measured on this machine and a loss measured on
calibration images; a dynamic program finds the least loss for every budget; of these configurations
the user's own score tells how far one may go (after SPDY: Frantar and Alistarh, 2022,
arXiv:2201.13096; verification takes the place of its search over coefficients).
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from importlib.metadata import version

from ... import console
from ...cost import where_it_runs
from ...cpus import usable_cpus
from ...errors import InputError
from ...fold import simplify
from ...model import Model
from ...session import BackendChoice, resolve_backend
from ..calibrate import Feeds
from ..layers import refuse_quantized, weights_digest
from ..opset import raise_opset
from .costs import CostModel, Latency, Size, StandIns, default_granularities
from .losses import sample
from .options import SearchOptions, check_calibration, options_for
from .report import Found, described, print_front
from .run import Search, Show
from .space import SPARSITIES, space_of
from .state import SearchState
from .work import Evaluate, check_picklable

RANGES = 4  # images that stand-ins take their ranges from


def compress(
    model: Model,
    calibration: Iterable[Feeds],
    evaluate: Evaluate,
    max_drop: float,
    target: str = "latency",
    seed: int = 0,
    *,
    sparsities: Sequence[float] = SPARSITIES,
    weight_bits: Sequence[int] | None = None,
    granularities: Sequence[str] | None = None,
    activation_bits: int = 8,
    backend: BackendChoice = "auto",
    threads: int | None = None,
    executor: Executor | None = None,
    resume: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Model:
    """The fastest or smallest form of a float model whose score drops by at most `max_drop`.

    calibration: feeds `{input: array}` (batch first) that can be read several times. evaluate: is
    given a `Session` and returns a score from 0 to 1, higher is better, such as top-1 accuracy on
    images that are not the calibration's; the same session must get the same score. max_drop: from
    the score of `model` itself, absolute. target: "latency" of one image on this machine, with
    `backend` and `threads`, or "size" of the weights in the file.
    seed: draws the calibration images that losses are measured on. sparsities, weight_bits,
    granularities: what layers may choose from, besides float (default: 8 bits for latency, 8 and 4
    for size; patterns that there are kernels for); activation_bits: of all.
    Kernels that `tune` has not timed before are timed and filed as `tune` does. With the same seed
    and the same file of costs the result is the same, whatever the executor; only NumPy's BLAS must
    use as many threads, since its sums depend on that (Dask's workers have one by default).
    executor: any of `concurrent.futures`, or `dask.distributed.Client.get_executor()`; does the
    losses, and the compressing and evaluating. Threads call `evaluate` at the same time; processes
    need all arguments to be picklable. Latency is always measured here, with nothing beside it.
    resume: a file that keeps what was found; with the same arguments a search that was stopped goes
    on from there. progress: bars on stderr, and the Pareto front on stdout.

    The result holds its recipe, which `sparing compress --recipe` reproduces to the same bytes
    (`search_space.recipe_text` writes it). Where nothing holds, it is the model as it stands, with
    a warning. Raises InputError for arguments, feeds and scores that do not fit, ModelError for a
    quantized model, SparingError where `evaluate` gives the model itself two different scores.
    """
    options = options_for(
        max_drop, target, seed, sparsities, weight_bits, granularities, activation_bits
    )
    found = search(
        model,
        calibration,
        evaluate,
        options,
        backend=backend,
        threads=threads,
        executor=executor,
        resume=resume,
        show=console.progress if progress else _silent,
    )
    if progress:
        print_front(found)
    if found.best is None:
        nearest = min(found.verified, key=lambda v: v.drop)
        warnings.warn(
            f"the model is returned as it stands: nothing cheaper keeps the drop of the score "
            f"within {max_drop:g}; the nearest, {described(nearest.point.configuration)}, "
            f"drops by {nearest.drop:.4f} from {found.baseline:.4f}",
            stacklevel=2,
        )
    return found.model


def search(
    model: Model,
    calibration: Iterable[Feeds],
    evaluate: Evaluate,
    options: SearchOptions,
    *,
    backend: BackendChoice = "auto",
    threads: int | None = None,
    executor: Executor | None = None,
    resume: str | os.PathLike[str] | None = None,
    show: Show,
) -> Found:
    """What `compress` does, with all that it found. show: opens a progress bar."""
    check_calibration(calibration)
    check_picklable(executor, evaluate)
    refuse_quantized(model, "search with the float model")
    chosen, used = resolve_backend(backend), usable_cpus() if threads is None else threads
    simple = simplify(raise_opset(simplify(model)))
    space = space_of(simple, options.sparsities, options.weight_bits, options.activation_bits)
    if not space.layers:
        raise InputError("expected a layer to compress (Conv, Gemm or MatMul), found none")
    drawn = sample(simple, calibration, options.seed)
    state = SearchState(
        resume,
        {
            "sparing": version("sparing"),
            "model": _digest(model),
            "calibration": drawn.digest,
            "seed": int(options.seed),
            "target": options.target,
            "activation_bits": options.activation_bits,
            "backend": where_it_runs(chosen),
            "threads": used,
        },
    )
    stand_ins = StandIns(model, space, drawn.images[:RANGES])
    shapes = {name: array.shape for name, array in drawn.images[0].items()}
    costs: CostModel = Size(stand_ins)
    if options.target == "latency":
        costs = Latency(stand_ins, chosen, used, shapes)
    granularities = options.granularities or default_granularities(options.target, chosen)
    run = Search(model, calibration, evaluate, space, costs, state, executor, show, chosen, used)
    run.begin()
    front = run.front(simple, drawn.images, granularities)
    return run.result(front, options)


@contextmanager
def _silent(description: str, total: int) -> Iterator[Callable[[int], None]]:
    yield lambda _: None


def _digest(model: Model) -> str:
    """Of graph and weights."""
    graph = repr((model.nodes, model.inputs, model.outputs, model.opset))
    return hashlib.sha256((graph + weights_digest(model)).encode()).hexdigest()
