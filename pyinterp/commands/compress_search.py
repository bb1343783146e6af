"""The part of `sparing compress` that searches: its arguments, and what it prints."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import print_table, progress
from .arguments import add_backend, positive, preprocessing

if TYPE_CHECKING:
    from ..compression.search.report import Found
    from ..image_data import Images
    from ..model import Model
    from ..session import Session


def add_search(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("search (instead of a recipe)")
    group.add_argument(
        "--evaluate",
        metavar="DATA",
        help="images to score by: top-1 with labels, else agreement with MODEL; not the "
        "calibration's",
    )
    group.add_argument(
        "--max-drop", type=float, metavar="D", help="what the score may drop by: 0.01 is a point"
    )
    group.add_argument(
        "--target",
        choices=("latency", "size"),
        default="latency",
        help="what to save: time of one image on this machine, or bytes (default: latency)",
    )
    group.add_argument("--seed", type=int, default=0, help="of the search (default: 0)")
    group.add_argument(
        "--workers", type=positive, default=1, help="processes to work with (default: 1)"
    )
    group.add_argument(
        "--resume", metavar="FILE", help="keeps what was found; a stopped search goes on from it"
    )
    group.add_argument(
        "--save-recipe", metavar="FILE", help="write the recipe that was found, for --recipe"
    )
    add_backend(parser)


def check_search(parsed: argparse.Namespace) -> bool:
    """Whether a search is asked for. Raises InputError where arguments are missing or clash."""
    from ..errors import InputError

    if parsed.evaluate is None and parsed.max_drop is None:
        for name in ("resume", "save_recipe"):
            if getattr(parsed, name) is not None:
                raise InputError(f"--{name.replace('_', '-')}: expected --evaluate and --max-drop")
        return False
    if parsed.recipe is not None:
        raise InputError("expected --recipe or a search with --evaluate, got both")
    for name in ("evaluate", "max_drop", "calibration"):
        if getattr(parsed, name) is None:
            raise InputError(f"a search needs --{name.replace('_', '-')}")
    if parsed.save_recipe is not None and not Path(parsed.save_recipe).parent.is_dir():
        raise InputError(f"--save-recipe: there is no folder for {parsed.save_recipe!r}")
    return True


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """Top-1 accuracy, or agreement with the original where there are no labels. It can be pickled,
    for worker processes.
    """

    images: Images
    original: Model

    def __call__(self, session: Session) -> float:
        from ..evaluation import evaluate

        if self.images.labels is not None:
            return evaluate(session, self.images).top1 or 0.0
        return evaluate(session, self.images, against=self.original).agreement or 0.0


def run_search(parsed: argparse.Namespace, model: Model, calibration: Images) -> Found:
    from ..compression.search.compress import search
    from ..compression.search.options import options_for
    from ..compression.search.space import SPARSITIES, recipe_text
    from .inputs import open_images

    options = options_for(parsed.max_drop, parsed.target, parsed.seed, SPARSITIES, None, None, 8)
    scored = open_images(parsed.evaluate, model, preprocessing(parsed))
    with _workers(parsed.workers) as executor:
        found = search(
            model,
            calibration,
            Score(scored, model),
            options,
            backend=parsed.backend,
            threads=parsed.threads,
            executor=executor,
            resume=parsed.resume,
            show=progress,
        )
    if parsed.save_recipe is not None and found.recipe is not None:
        Path(parsed.save_recipe).write_text(recipe_text(found.recipe), encoding="utf-8")
    return found


@contextmanager
def _workers(count: int) -> Iterator[Executor | None]:
    if count == 1:
        yield None
        return
    with ProcessPoolExecutor(count) as executor:
        yield executor


def print_found(found: Found, saved_recipe: str | None) -> None:
    from ..compression.search.report import print_front

    print_front(found)
    if found.best is None:
        print_table(
            ("", ""), [["result", "the model as it stands: nothing cheaper holds the drop"]]
        )
    elif saved_recipe is not None:
        print_table(("", ""), [["recipe", saved_recipe]])


def found_facts(found: Found) -> dict[str, Any]:
    """What --json prints of a search."""
    from ..compression.search.report import described

    return {
        "target": found.target,
        "max_drop": found.max_drop,
        "baseline": found.baseline,
        "score": found.score,
        "float_cost": found.float_cost,
        "cost": found.cost,
        "integer_cost": found.integers.cost,
        "holds": found.best is not None,
        "front": [
            {
                "layers": described(verified.point.configuration),
                "cost": verified.cost,
                "loss": verified.point.loss,
                "score": verified.score,
                "holds": verified.holds,
            }
            for verified in found.verified
        ],
        **({"recipe": [found.recipe.steps, found.recipe.layers]} if found.recipe else {}),
    }
