"""Work that is spread over an executor, or done in order where there is none."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from numbers import Real
from typing import TypeAlias, TypeVar

from ...errors import InputError
from ...kernels.registry import Backend
from ...model import Model
from ...session import Session
from ..calibrate import Feeds
from ..recipe import Recipe, apply_recipe

Evaluate: TypeAlias = Callable[[Session], float]

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ScoreTask:
    """Everything that a verification needs: it can be pickled if `calibration` and `evaluate` can.

    recipe: None for the model as it stands.
    """

    model: Model
    recipe: Recipe | None
    calibration: Iterable[Feeds]
    evaluate: Evaluate
    backend: Backend
    threads: int


def apply_and_score(task: ScoreTask) -> tuple[float, Model]:
    """The score of the model after the recipe, and that model.

    Raises InputError for a score that is no number from 0 to 1.
    """
    model = task.model
    if task.recipe is not None:
        model = apply_recipe(model, task.recipe, task.calibration)
    score = task.evaluate(Session(model, task.backend, task.threads))
    if isinstance(score, bool) or not isinstance(score, Real) or not 0 <= float(score) <= 1:
        raise InputError(f"evaluate: expected a number from 0 to 1, got {score!r}")
    return float(score), model


def spread(
    executor: Executor | None,
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    done: Callable[[int, Result], None],
) -> None:
    """Do all tasks. done: called here with the number and the result of each as it is finished.

    What was not begun is cancelled where one raises.
    """
    if executor is None:
        for number, task in enumerate(tasks):
            done(number, function(task))
        return
    futures = {executor.submit(function, task): number for number, task in enumerate(tasks)}
    try:
        for future in as_completed(futures):
            done(futures[future], future.result())
    finally:
        for future in futures:
            future.cancel()


def check_picklable(executor: Executor | None, evaluate: Evaluate) -> None:
    """Raise InputError at once for an `evaluate` that cannot go to another process."""
    if isinstance(executor, ProcessPoolExecutor):
        try:
            pickle.dumps(evaluate)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise InputError(
                f"evaluate: expected what can be pickled, a function of a module, say, since "
                f"processes shall call it: {error}"
            ) from error
