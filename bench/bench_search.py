"""What `sparing.compress` finds, beside plain int8: `python -m sparing.bench.bench_search`.

The embedded ResNet-8 is searched for size and for latency: calibrated on 100 of the embedded
calibration images, scored on half of the embedded test images, reported on the other half, which no
choice was made by. Latency is measured in turns, on one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from dataclasses import replace
from importlib.resources import as_file, files

from .. import evaluation
from ..compression.quantize import quantize
from ..compression.search.compress import compress
from ..compression.search.costs import stored_bytes
from ..console import print_table
from ..formats import load
from ..image_data import Images, images
from ..model import Model
from ..session import Session
from ..summary import summarize
from .rounds import Contestant, interleave

CALIBRATION_IMAGES = 100
LATENCY_SECONDS = 2.0


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--max-drop", type=float, default=0.01, help="default: 0.01")
    parser.add_argument("--seed", type=int, default=0)
    parsed = parser.parse_args(arguments)
    assets = files("sparing") / "assets"
    with (
        as_file(assets / "resnet8_fashion_mnist.onnx") as network,
        as_file(assets / "fashion_mnist.npz") as data,
    ):
        model = load(network)
        calibration = images(data, model=model, part="calibration").take(CALIBRATION_IMAGES)
        scored, reported = halves(images(data, model=model, batch=100))

    def top1(session: Session) -> float:
        return evaluation.evaluate(session, scored).top1 or 0.0

    models = {"float": model, "int8": quantize(model, calibration)}
    seconds = {"float": 0.0, "int8": 0.0}
    for target in ("size", "latency"):
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the table shows it
            models[f"searched for {target}"] = compress(
                model,
                calibration,
                top1,
                parsed.max_drop,
                target,
                parsed.seed,
                threads=1,
                progress=True,
            )
        seconds[f"searched for {target}"] = time.perf_counter() - start
    print_table(*table(models, seconds, reported))


def halves(all_images: Images) -> tuple[Images, Images]:
    """Every other image, and the rest."""
    assert all_images.labels is not None
    first, second = (
        replace(all_images, items=all_images.items[i::2], labels=all_images.labels[i::2])
        for i in (0, 1)
    )
    return first, second


def table(
    models: dict[str, Model], seconds: dict[str, float], reported: Images
) -> tuple[list[str], list[list[str]], str]:
    """Columns, rows and title of what the models come to."""
    one = {reported.name: next(iter(reported))[reported.name][:1]}
    contestants = {}
    for name, model in models.items():
        session = Session(model, threads=1)
        contestants[name] = Contestant(lambda _, session=session: session.run(None, one))  # type: ignore[misc]
    interleave(list(contestants.values()), LATENCY_SECONDS)
    rows = []
    for name, model in models.items():
        found = evaluation.evaluate(model, reported, threads=1)
        rows.append(
            [
                name,
                f"{100 * (found.top1 or 0):.2f}",
                f"{summarize(model).sparsity:.0%}",
                f"{stored_bytes(model):,}",
                f"{1e6 * statistics.median(contestants[name].seconds):.1f}",
                f"{seconds[name]:.0f}",
            ]
        )
    columns = [
        "ResNet-8",
        ">top-1 %",
        ">zeros",
        ">weight bytes",
        ">median µs",
        ">seconds to search",
    ]
    return columns, rows, f"On {len(reported)} images that nothing was chosen by"


if __name__ == "__main__":
    main()
