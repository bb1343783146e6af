"""What compression costs in accuracy, on real images: `python -m sparing.bench.bench_accuracy`.

EfficientNet-Lite0 is calibrated on 100 of 500 photos and measured on the other 400, for five fixed
splits; the embedded ResNet-8 is calibrated on 100 training images of Fashion-MNIST, five times, and
measured on all 10,000 test images. All settings are fixed here; none is chosen by the images that
are measured. Photos and model are looked for in $SPARING_SHARED (else ../shared), Fashion-MNIST
where Debian's package dataset-fashion-mnist puts it; what is missing is left out and named.
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
from dataclasses import asdict, dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from .. import evaluation
from ..compression.quantize import quantize
from ..formats import load
from ..image_data import Images
from ..model import Model
from ..preprocessing import preprocessing_of

FASHION = Path("/usr/share/datasets/fashion-mnist")
CALIBRATION_IMAGES = 100
CONFIGURATIONS: Mapping[str, Mapping[str, Any]] = {
    "int8 (w8a8)": {},
    "7-bit both (w7a7)": {"weight_bits": 7, "activation_bits": 7},
    "4-bit weights (w4a8)": {"weight_bits": 4},
    "int8, rounded to nearest": {
        "method": "minmax",
        "rounding": "nearest",
        "bias_correction": False,
    },
}


@dataclass(frozen=True, slots=True)
class Subject:
    """A model with images. splits: pairs of calibration and measured images."""

    name: str
    model: Model
    splits: Callable[[int], Iterator[tuple[Images, Images]]]


@dataclass(frozen=True, slots=True)
class Row:
    """Means over the splits. drops: in points of top-1, one a split. seconds: of compressing."""

    subject: str
    compression: str
    float_top1: float
    drop: float
    drops: tuple[float, ...]
    agreement: float
    kl_divergence: float
    seconds: float


def lite0(shared: Path) -> Subject:
    """EfficientNet-Lite0 with the photos, whose file names are their classes."""
    model = load(shared / "models" / "efficientnet_lite0.onnx")
    paths = sorted((shared / "data" / "photos").iterdir())
    labels = np.array([int(path.stem.split("_")[0]) for path in paths])
    how = preprocessing_of(model, 224, 127, 128)

    def splits(count: int) -> Iterator[tuple[Images, Images]]:
        for seed in range(count):
            order = np.random.default_rng(seed).permutation(len(paths))
            parts = np.split(order, [CALIBRATION_IMAGES])
            calibration, measured = (
                Images(model.inputs[0].name, [paths[i] for i in part], labels[part], how)
                for part in map(np.sort, parts)
            )
            yield calibration, measured

    return Subject("EfficientNet-Lite0", model, splits)


def resnet8(fashion: Path) -> Subject:
    """The embedded ResNet-8 with Fashion-MNIST."""
    with as_file(files("sparing") / "assets" / "resnet8_fashion_mnist.onnx") as path:
        model = load(path)
    name, how = model.inputs[0].name, preprocessing_of(model)
    train = _idx(fashion / "train-images-idx3-ubyte.gz")
    test = _idx(fashion / "t10k-images-idx3-ubyte.gz")
    labels = _idx(fashion / "t10k-labels-idx1-ubyte.gz").astype(np.int64)

    def splits(count: int) -> Iterator[tuple[Images, Images]]:
        for seed in range(count):
            chosen = np.random.default_rng(seed).permutation(len(train))[:CALIBRATION_IMAGES]
            calibration = Images(name, train[np.sort(chosen)], None, how)
            yield calibration, Images(name, test, labels, how, batch=100)

    return Subject("ResNet-8", model, splits)


def _idx(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """An array of bytes in the format of the MNIST files: magic number, sizes, values."""
    data = gzip.decompress(path.read_bytes())
    axes = data[3]
    shape = np.frombuffer(data, ">u4", axes, 4).astype(int)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


def measure(subject: Subject, compression: str, splits: int) -> Row:
    """Compress and evaluate on each split."""
    results, seconds = [], []
    for calibration, measured in subject.splits(splits):
        start = time.perf_counter()
        model = quantize(subject.model, calibration, **CONFIGURATIONS[compression])
        seconds.append(time.perf_counter() - start)
        results.append(evaluation.evaluate(model, measured, against=subject.model))
    drops = tuple(100 * ((r.other_top1 or 0) - (r.top1 or 0)) for r in results)
    return Row(
        subject.name,
        compression,
        100 * statistics.mean(r.other_top1 or 0 for r in results),
        statistics.mean(drops),
        drops,
        100 * statistics.mean(r.agreement or 0 for r in results),
        statistics.mean(r.kl_divergence or 0 for r in results),
        statistics.mean(seconds),
    )


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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--splits", type=int, default=5, help="of the images (default: 5)")
    parser.add_argument("--only", default="", help="compressions whose name holds this text")
    parser.add_argument("--subject", default="", help="models whose name holds this text")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parsed = parser.parse_args(arguments)
    if not parsed.json:
        print(
            f"{'model':20}{'compression':26}{'float':>7}{'drop':>7}{'agree':>7}{'KL':>9}"
            f"{'seconds':>9}  drop of each split"
        )
    for subject in subjects():
        if parsed.subject.lower() not in subject.name.lower():
            continue
        for compression in CONFIGURATIONS:
            if parsed.only.lower() not in compression.lower():
                continue
            row = measure(subject, compression, parsed.splits)
            if parsed.json:
                print(json.dumps(asdict(row)), flush=True)
                continue
            each = " ".join(f"{drop:.2f}" for drop in row.drops)
            print(
                f"{row.subject:20}{row.compression:26}{row.float_top1:7.2f}{row.drop:7.2f}"
                f"{row.agreement:7.2f}{row.kl_divergence:9.5f}{row.seconds:9.1f}  {each}",
                flush=True,
            )


if __name__ == "__main__":
    main()
