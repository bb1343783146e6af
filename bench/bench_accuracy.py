"""What compression costs in accuracy, on real images: `python -m sparing.bench.bench_accuracy`.

EfficientNet-Lite0 is calibrated on 100 of 500 photos and measured on the other 400, for five fixed
splits; the embedded ResNet-8 is calibrated on 500 training images of Fashion-MNIST, five times, and
measured on all 10,000 test images. All settings are fixed here; none is chosen by the images that
are measured. Photos and model are looked for in $SPARING_SHARED (else ../shared), Fashion-MNIST
where Debian's package dataset-fashion-mnist puts it; what is missing is left out and named.

Nothing is trained here: `finetune_default` does that. With `--results FILE` each split is written
down when it is done, and a run that was stopped goes on from there.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from ..compression.prune import prune
from ..compression.quantize import quantize
from ..evaluation import evaluate
from ..formats import load
from ..image_data import Images
from ..model import Model
from ..preprocessing import preprocessing_of

FASHION = Path("/usr/share/datasets/fashion-mnist")
PHOTOS_TO_CALIBRATE, IMAGES_TO_CALIBRATE = 100, 500  # of Lite0, of ResNet-8
LITE0, RESNET8 = "EfficientNet-Lite0", "ResNet-8"


@dataclass(frozen=True, slots=True)
class Compression:
    """What is done to a model. pruned, quantized: arguments of `prune` (None: not pruned) and
    `quantize`.
    """

    title: str
    pruned: Mapping[str, Any] | None = None
    quantized: Mapping[str, Any] = field(default_factory=dict)
    subjects: tuple[str, ...] = (RESNET8, LITE0)

    def __call__(self, model: Model, calibration: Images) -> Model:
        if self.pruned is None:
            return quantize(model, calibration, **self.quantized)
        pruned = prune(model, **self.pruned, calibration=calibration)
        return quantize(pruned, calibration, **self.quantized, original=model)


SPARSE = {"criterion": "obs", "scope": "loss"}
NEAREST = {"method": "minmax", "rounding": "nearest", "bias_correction": False}
ROWS: Mapping[str, Compression] = {
    "int8": Compression("int8"),
    "w7a7": Compression("7-bit both", None, {"weight_bits": 7, "activation_bits": 7}),
    "nearest": Compression("int8, minmax, rounded to nearest", None, NEAREST),
    "sparse80": Compression("80 % sparse + int8", {"sparsity": 0.8, **SPARSE}, {}, (RESNET8,)),
    "w4a8": Compression("4-bit weights, 8-bit activations", None, {"weight_bits": 4}),
    "sparse50": Compression("50 % sparse + int8", {"sparsity": 0.5, **SPARSE}, {}, (LITE0,)),
}


@dataclass(frozen=True, slots=True)
class Subject:
    """A model with images. split: calibration and measured images, by number."""

    name: str
    model: Model
    split: Callable[[int], tuple[Images, Images]]


@dataclass(frozen=True, slots=True)
class Result:
    """Of one split; top1s and agreement in percent. seconds: of compressing."""

    subject: str
    row: str
    split: int
    float_top1: float
    top1: float
    agreement: float
    kl_divergence: float
    seconds: float


def lite0(shared: Path) -> Subject:
    """EfficientNet-Lite0 with the photos, whose file names are their classes."""
    model = load(shared / "models" / "efficientnet_lite0.onnx")
    paths = sorted((shared / "data" / "photos").iterdir())
    labels = np.array([int(path.stem.split("_")[0]) for path in paths])
    how = preprocessing_of(model, 224, 127, 128)

    def split(number: int) -> tuple[Images, Images]:
        order = np.random.default_rng(number).permutation(len(paths))
        calibration, measured = (
            Images(model.inputs[0].name, [paths[i] for i in part], labels[part], how)
            for part in map(np.sort, np.split(order, [PHOTOS_TO_CALIBRATE]))
        )
        return calibration, measured

    return Subject(LITE0, model, split)


def resnet8(fashion: Path) -> Subject:
    """The embedded ResNet-8 with Fashion-MNIST."""
    with as_file(files("sparing") / "assets" / "resnet8_fashion_mnist.onnx") as path:
        model = load(path)
    name, how = model.inputs[0].name, preprocessing_of(model)
    train = _idx(fashion / "train-images-idx3-ubyte.gz")
    test = _idx(fashion / "t10k-images-idx3-ubyte.gz")
    labels = _idx(fashion / "t10k-labels-idx1-ubyte.gz").astype(np.int64)

    def split(number: int) -> tuple[Images, Images]:
        chosen = np.random.default_rng(number).permutation(len(train))[:IMAGES_TO_CALIBRATE]
        calibration = Images(name, train[np.sort(chosen)], None, how, batch=100)
        return calibration, Images(name, test, labels, how, batch=100)

    return Subject(RESNET8, model, split)


def _idx(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """An array of bytes in the format of the MNIST files: magic number, sizes, values."""
    data = gzip.decompress(path.read_bytes())
    axes = data[3]
    shape = np.frombuffer(data, ">u4", axes, 4).astype(int)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


def measure(subject: Subject, row: str, split: int) -> Result:
    """Compress and evaluate on one split."""
    calibration, measured = subject.split(split)
    start = time.perf_counter()
    model = ROWS[row](subject.model, calibration)
    seconds = time.perf_counter() - start
    found = evaluate(model, measured, against=subject.model)
    assert found.top1 is not None and found.other_top1 is not None
    assert found.agreement is not None and found.kl_divergence is not None
    return Result(
        subject.name,
        row,
        split,
        100 * found.other_top1,
        100 * found.top1,
        100 * found.agreement,
        found.kl_divergence,
        seconds,
    )


HEADER = """\
| model | compression | splits | float | drop | agreement | KL | seconds | drop of each split |
|---|---|---|---|---|---|---|---|---|"""


def line(results: list[Result]) -> str:
    """Means over the splits, and the drop of each, in points of top-1."""

    def mean(name: str) -> float:
        return statistics.mean(getattr(result, name) for result in results)

    first = results[0]
    drops = " ".join(f"{result.float_top1 - result.top1:.2f}" for result in results)
    return (
        f"| {first.subject} | {ROWS[first.row].title} | {len(results)} | {mean('float_top1'):.2f} "
        f"| {mean('float_top1') - mean('top1'):.2f} | {mean('agreement'):.2f} "
        f"| {mean('kl_divergence'):.5f} | {mean('seconds'):.1f} | {drops} |"
    )


class Notebook:
    """Results of earlier runs and this one, a JSON object a line."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.done: dict[tuple[str, str, int], Result] = {}
        if path is not None and path.exists():
            for text in path.read_text(encoding="utf-8").splitlines():
                result = Result(**json.loads(text))
                self.done[result.subject, result.row, result.split] = result

    def add(self, result: Result) -> None:
        self.done[result.subject, result.row, result.split] = result
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(result)) + "\n")


def subjects() -> Iterator[Subject]:
    """Those whose data is there; the others are named on stderr."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    shared = Path(os.environ.get("SPARING_SHARED", beside))
    for build, folder in ((resnet8, FASHION), (lite0, shared)):
        if folder.is_dir():
            yield build(folder)
        else:
            print(f"{build.__name__}: left out, there is no folder {folder}", file=sys.stderr)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--splits", type=int, default=5, help="of the images (default: 5)")
    parser.add_argument("--rows", default=",".join(ROWS), help="default: %(default)s")
    parser.add_argument("--subject", default="", help="models whose name holds this text")
    parser.add_argument("--results", type=Path, help="file of results, to go on from and to add to")
    parsed = parser.parse_args(arguments)
    rows = parsed.rows.split(",")
    if unknown := [row for row in rows if row not in ROWS]:
        parser.error(f"--rows: expected some of {', '.join(ROWS)}, got {', '.join(unknown)}")
    notebook = Notebook(parsed.results)
    chosen = [s for s in subjects() if parsed.subject.lower() in s.name.lower()]
    print(HEADER, flush=True)
    for row in rows:
        for subject in chosen:
            if subject.name not in ROWS[row].subjects:
                continue
            keys = [(subject.name, row, split) for split in range(parsed.splits)]
            for key in keys:
                if key not in notebook.done:
                    notebook.add(measure(subject, row, key[2]))
            print(line([notebook.done[key] for key in keys]), flush=True)


if __name__ == "__main__":
    main()
