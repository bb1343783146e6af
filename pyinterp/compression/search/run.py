"""The steps of a search: costs, losses, the front, and the verification of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from typing import TypeAlias

from ...errors import SparingError
from ...kernels.registry import Backend
from ...model import Model
from ..calibrate import Feeds
from ..recipe import apply_recipe
from .costs import CostModel
from .front import Point, pareto_front, thinned, worthwhile
from .losses import LayerTask, measure_layer
from .options import SearchOptions
from .report import Found
from .space import FLOAT, Choice, Space
from .state import SearchState
from .verify import Verified, back_off
from .work import Evaluate, ScoreTask, apply_and_score, spread

# Opens a progress bar; the context gives a function to call with advances.
Show: TypeAlias = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]

AS_IT_STANDS = "float"  # key of the score of the given model


class Search:
    """One search, step by step."""

    def __init__(
        self,
        model: Model,
        calibration: Iterable[Feeds],
        evaluate: Evaluate,
        space: Space,
        costs: CostModel,
        state: SearchState,
        executor: Executor | None,
        show: Show,
        backend: Backend,
        threads: int,
    ) -> None:
        self.model, self.calibration, self.evaluate = model, calibration, evaluate
        self.space, self.costs, self.state = space, costs, state
        self.executor, self.show = executor, show
        self.backend, self.threads = backend, threads
        self.models: dict[str, Model] = {}  # that were made in this run, by key

    def begin(self) -> None:
        """The model as it stands: a score that does not fit shows before the long work."""
        self._score("evaluating the model", [None])

    def front(
        self, simple: Model, images: Sequence[Feeds], granularities: Sequence[str]
    ) -> list[Point]:
        self._prepare(granularities)
        tables = {name: worthwhile(self.space, self.costs, name) for name in granularities}
        self._measure(simple, images, tables)
        points = pareto_front(tables, self.costs, self._loss)
        return [p for p in points if any(c != FLOAT for c in p.configuration.choices.values())]

    def _prepare(self, granularities: Sequence[str]) -> None:
        """Costs: one stand-in for every choice."""
        widest = max(
            (self.space.choices(label) for label in self.space.layers), key=lambda row: len(row)
        )
        wanted = [
            (name, choice)
            for number, name in enumerate(granularities)
            for choice in widest
            if choice.sparsity or number == 0
        ]
        with self.show("measuring costs", len(wanted)) as advance:
            for name, choice in wanted:
                self.costs.prepare(name, choice)
                advance(1)

    def _measure(
        self,
        simple: Model,
        images: Sequence[Feeds],
        tables: dict[str, dict[str, list[Choice]]],
    ) -> None:
        """Losses: one task for every layer and granularity."""
        tasks: list[LayerTask] = []
        asked: set[str] = set()
        for granularity, table in tables.items():
            for label, row in table.items():
                keys = {_loss_key(granularity, label, choice): choice for choice in row[1:]}
                missing = [
                    choice
                    for key, choice in keys.items()
                    if key not in asked and self.state.get("losses", key) is None
                ]
                asked |= keys.keys()
                if missing:
                    tasks.append(LayerTask(simple, self.space, images, label, granularity, missing))
        with self.show("measuring losses", sum(len(task.choices) for task in tasks)) as advance:

            def done(number: int, losses: list[float]) -> None:
                task = tasks[number]
                pairs = zip(task.choices, losses, strict=True)
                named = {_loss_key(task.granularity, task.label, c): loss for c, loss in pairs}
                self.state.put("losses", named)
                advance(len(losses))

            spread(self.executor, measure_layer, tasks, done)

    def _loss(self, granularity: str, label: str, choice: Choice) -> float:
        if choice == FLOAT:
            return 0.0
        found = self.state.get("losses", _loss_key(granularity, label, choice))
        assert found is not None  # measured for all choices of the tables
        return found

    def result(self, front: list[Point], options: SearchOptions) -> Found:
        baseline, float_cost = self._known(AS_IT_STANDS)

        def verify(points: Sequence[Point]) -> list[Verified]:
            self._score("evaluating", points)
            return [self._verified(point, baseline, options.max_drop) for point in points]

        integers = self._integers()
        plain = verify([integers])[0]
        if plain.holds:  # what costs more is of no use
            front = [point for point in front if point.predicted < integers.predicted]
        others = [point for point in front if self._key(point) != self._key(integers)]
        verified = [plain, *back_off(thinned(others), verify)]
        held = [v for v in verified if v.holds and v.cost < float_cost]
        best = min(held, key=lambda v: (v.cost, -v.score), default=None)
        common = (options.target, options.max_drop, baseline, float_cost, plain)
        ordered = tuple(sorted(verified, key=lambda v: (-v.cost, v.drop)))
        if best is None:
            self._check_repeatable(baseline, options.max_drop)
            return Found(self.model, None, baseline, float_cost, *common, ordered, None)
        point = best.point
        recipe, made = self.space.recipe(point.configuration), self._made(self._key(point), point)
        return Found(made, recipe, best.score, best.cost, *common, ordered, best)

    def _known(self, key: str) -> tuple[float, float]:
        """Score and cost."""
        score, cost = self.state.get("scores", key), self.state.get("costs", key)
        assert score is not None and cost is not None  # _score has seen to both
        return score, cost

    def _integers(self) -> Point:
        configuration = self.space.integers()
        predicted = self.costs.predicted(configuration)
        items = configuration.choices.items()
        loss = sum(self._loss(configuration.granularity, *item) for item in items)
        return Point(configuration, predicted, loss)

    def _score(self, what: str, points: Sequence[Point | None]) -> None:
        """Scores and costs of all that have none yet. None: the model as it stands."""
        named = {self._key(point): point for point in points}
        missing = [key for key in named if self.state.get("scores", key) is None]
        with self.show(what, len(missing)) as advance:

            def done(number: int, result: tuple[float, Model]) -> None:
                score, self.models[missing[number]] = result
                self.state.put("scores", {missing[number]: score})
                advance(1)

            tasks = [self._task(named[key]) for key in missing]
            spread(self.executor, apply_and_score, tasks, done)
        for key, point in named.items():  # one by one, with nothing beside them
            if self.state.get("costs", key) is None:
                self.state.put("costs", {key: self.costs.actual(self._made(key, point))})

    def _made(self, key: str, point: Point | None) -> Model:
        """What a configuration gives; applied again where an earlier run did."""
        if point is None:
            return self.model
        if key not in self.models:
            recipe = self.space.recipe(point.configuration)
            self.models[key] = apply_recipe(self.model, recipe, self.calibration)
        return self.models[key]

    def _task(self, point: Point | None) -> ScoreTask:
        recipe = None if point is None else self.space.recipe(point.configuration)
        data = self.calibration
        return ScoreTask(self.model, recipe, data, self.evaluate, self.backend, self.threads)

    def _key(self, point: Point | None) -> str:
        return AS_IT_STANDS if point is None else self.space.key(point.configuration)

    def _verified(self, point: Point, baseline: float, max_drop: float) -> Verified:
        key = self._key(point)
        score, cost = self._known(key)
        # 1e-9: a difference of two hit rates may round to just above the drop that it is
        holds = baseline - score <= max_drop + 1e-9
        if not holds:
            self.models.pop(key, None)  # nobody will ask for it
        return Verified(point, score, baseline - score, holds, cost)

    def _check_repeatable(self, baseline: float, max_drop: float) -> None:
        """Raise SparingError where not even the model itself holds, evaluated once more."""
        score, _ = apply_and_score(self._task(None))
        if baseline - score > max_drop + 1e-9:
            raise SparingError(
                f"evaluate: gave the model itself {baseline} and then {score}, which differ by "
                f"more than max_drop {max_drop:g}: it must give the same score each time"
            )


def _loss_key(granularity: str, label: str, choice: Choice) -> str:
    return f"{granularity if choice.sparsity else 'dense'} {choice.name} {label}"
