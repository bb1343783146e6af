"""Compress the embedded ResNet-8 so far that it must learn again, and print what that cost.

    python -m sparing.bench.finetune_default --row sparse      # 90 % zeros, then int8
    python -m sparing.bench.finetune_default --row channels    # half of the channels, then int8

Optimal brain compression takes weights or channels away, from unlabelled images. Then the model
learns from labels and from the dense model's answers, and after quantization once more, under the
quantizers. 90 % of the weights go in two steps, with training between: gradual pruning (Zhu and
Gupta, 2017, arXiv:1710.01878) with few steps, since each is a good one.

Training and calibration see training images only; the test images are looked at to print the table.
Needs the extra `train` and Debian's package dataset-fashion-mnist. An epoch takes about 80 seconds
on one core. Each step's model goes to `--out`, and a run that was stopped goes on from there; the
same seed, thread count, version of torch and kind of CPU give the same models.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from ..compression.finetune import finetune
from ..compression.prune import prune
from ..compression.quantize import quantize
from ..evaluation import evaluate
from ..fold import simplify
from ..formats import load, save
from ..image_data import Images
from ..model import Model
from ..preprocessing import preprocessing_of
from .train_default import ASSETS, DEBIAN_DATA, MEAN, STD
from .train_default import load as load_images

Bytes = NDArray[np.uint8]
Labels = NDArray[np.int64]

BATCH, SHIFT, CALIBRATION = 128, 1, 1024
EPOCHS = {"sparse": 6.0, "channels": 8.0}
FLOAT_RATE, INTEGER_RATE = 1e-2, 5e-4  # of learning


class Augmented:
    """Batches of shifted and mirrored training images, others in each pass; `share` of an epoch.

    Shifts are smaller than in the dense model's training: a small network overfits little.
    """

    def __init__(self, images: Bytes, labels: Labels, share: float, seed: int) -> None:
        padded = np.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)))
        # a view: [N, offset y, offset x, 28, 28]
        self._shifted = np.lib.stride_tricks.sliding_window_view(padded, (28, 28), axis=(1, 2))
        self._labels = labels
        self._rng = np.random.default_rng(seed)
        self._count = max(1, round(share * (len(labels) // BATCH)))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[dict[str, NDArray[np.float32]], Labels]]:
        order = self._rng.permutation(len(self._labels))
        for start in range(0, self._count * BATCH, BATCH):
            chosen = order[start : start + BATCH]
            y, x = self._rng.integers(0, 2 * SHIFT + 1, (2, BATCH))
            crops = self._shifted[chosen, y, x]
            mirrored = self._rng.random((BATCH, 1, 1)) < 0.5
            yield as_input(np.where(mirrored, crops[:, :, ::-1], crops)), self._labels[chosen]


def as_input(images: Bytes) -> dict[str, NDArray[np.float32]]:
    """Pixels [N, 28, 28] as the network's input [N, 1, 28, 28]."""
    centred = images[:, None].astype(np.float32) - np.float32(MEAN)
    return {"input": centred / np.float32(STD)}


@dataclass(frozen=True, slots=True)
class Lesson:
    """What every training here has in common."""

    images: Bytes
    labels: Labels
    teacher: Model
    seed: int
    threads: int

    def __call__(self, model: Model, epochs: float, learning_rate: float, seed: int) -> Model:
        """The model after `epochs`, of which fractions count."""
        passes = max(1, math.ceil(epochs))
        data = Augmented(self.images, self.labels, epochs / passes, self.seed + seed)
        return finetune(
            model,
            data,
            passes,
            learning_rate=learning_rate,
            teacher=self.teacher,
            seed=self.seed + seed,
            threads=self.threads,
            progress=True,
        )

    def calibration(self) -> list[dict[str, NDArray[np.float32]]]:
        rng = np.random.default_rng(self.seed)
        chosen = rng.choice(len(self.images), CALIBRATION, replace=False)
        return [as_input(self.images[part]) for part in np.split(chosen, CALIBRATION // BATCH)]


Step = Callable[[Model], Model]


def steps(row: str, lesson: Lesson, epochs: float, integer_epochs: float) -> Mapping[str, Step]:
    """What is done to the dense model, one after the other, by what the table calls the results."""
    calibration = lesson.calibration()

    def pruned(sparsity: float, granularity: str) -> Step:
        return lambda m: prune(m, sparsity, granularity, "obs", calibration=calibration)

    def trained(share: float, learning_rate: float, seed: int) -> Step:
        return lambda m: lesson(m, share, learning_rate, seed)

    first: dict[str, Step]
    if row == "sparse":
        first = {
            "75 % zeros": pruned(0.75, "element"),
            "75 % zeros, fine-tuned": trained(epochs / 6, FLOAT_RATE, 1),
            "90 % zeros": pruned(0.9, "element"),
            "90 % zeros, fine-tuned": trained(epochs * 5 / 6, FLOAT_RATE, 2),
        }
    else:
        first = {
            "half of the channels": pruned(0.5, "channel"),
            "half of the channels, fine-tuned": trained(epochs, FLOAT_RATE, 1),
        }
    last = list(first)[-1]
    return first | {
        f"{last}, int8": lambda m: quantize(m, calibration),
        f"{last}, int8, fine-tuned": trained(integer_epochs, INTEGER_RATE, 3),
    }


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. weights: not zero, as a share. drop: in points of top-1.

    seconds: of the step, without measuring.
    """

    compression: str
    weights: float
    file_bytes: int
    top1: float
    drop: float
    agreement: float
    seconds: float


def weights_left(model: Model) -> int:
    """Non-zero weights of the layers."""
    arrays = [tensor.numpy() for tensor in simplify(model).weights.values()]
    return sum(
        int(np.count_nonzero(array))
        for array in arrays
        if array.ndim > 1 and array.dtype in (np.float32, np.int8)
    )


def measure(name: str, path: Path, dense: Model, test: Images, seconds: float) -> Row:
    model = load(path)
    result = evaluate(model, test, against=dense)
    assert result.top1 is not None and result.other_top1 is not None
    return Row(
        name,
        weights_left(model) / weights_left(dense),
        path.stat().st_size,
        100 * result.top1,
        100 * (result.other_top1 - result.top1),
        100 * (result.agreement or 0),
        seconds,
    )


Settings = Mapping[str, float | None]


def taken(name: str, step: Step, path: Path, lesson: Lesson, test: Images, before: Model) -> Row:
    """Take a step and note what it gave, or read the note that an earlier run left."""
    note = path.with_suffix(".json")
    if note.exists():
        return Row(**json.loads(note.read_text(encoding="utf-8")))
    start = perf_counter()
    save(step(before), path)
    row = measure(name, path, lesson.teacher, test, perf_counter() - start)
    write_whole(note, asdict(row))  # the last thing: where a note is, the model is whole
    return row


def write_whole(path: Path, values: Mapping[str, object]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(values), encoding="utf-8")
    part.replace(path)


def claim(folder: Path, settings: Settings) -> None:
    """Make the folder; an error if it holds models of other settings."""
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / "settings.json"
    if not note.exists():
        write_whole(note, settings)
    elif (known := json.loads(note.read_text(encoding="utf-8"))) != settings:
        raise SystemExit(f"finetune_default: expected a folder of {settings}, {folder} has {known}")


def run(row: str, lesson: Lesson, test: Images, args: argparse.Namespace) -> None:
    """Take the steps that `--out` has no model of, and print a line for each."""
    before = lesson.teacher
    planned = steps(row, lesson, args.epochs or EPOCHS[row], args.integer_epochs)
    for number, (name, step) in enumerate(planned.items(), 1):
        path = args.out / f"{row}_{number}.sparing"
        line = taken(name, step, path, lesson, test, before)
        before = load(path)
        if args.json:
            print(json.dumps(asdict(line)), flush=True)
            continue
        print(
            f"{line.compression:<52}{line.weights:8.1%}{line.file_bytes / 1000:9.1f}"
            f"{line.top1:8.2f}{line.drop:7.2f}{line.agreement:8.2f}{line.seconds:9.0f}",
            flush=True,
        )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--row", choices=("sparse", "channels", "both"), default="both")
    parser.add_argument("--data", type=Path, default=DEBIAN_DATA, help="folder of the IDX files")
    parser.add_argument("--epochs", type=float, help="of float training, default 6, channels 8")
    parser.add_argument("--integer-epochs", type=float, default=0.5, help="with int8, default 0.5")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--threads", type=int, default=1, help="default 1")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--out", type=Path, default=Path("finetuned"), help="folder of the models (default: here)"
    )
    args = parser.parse_args(arguments)
    if not importlib.util.find_spec("torch"):
        raise SystemExit("finetune_default: missing packages; pip install 'sparing[train]'")
    (images, labels), (test_images, test_labels) = (
        load_images(args.data, part) for part in ("train", "t10k")
    )
    chosen = ("epochs", "integer_epochs", "seed", "threads")
    claim(args.out, {name: getattr(args, name) for name in chosen})
    dense = load(ASSETS / "resnet8_fashion_mnist.onnx")
    lesson = Lesson(images, labels.astype(np.int64), dense, args.seed, args.threads)
    how = preprocessing_of(dense)
    test = Images("input", test_images, test_labels.astype(np.int64), how, batch=100)
    if not args.json:
        print(
            f"{'ResNet-8, 10,000 test images':<52}{'weights':>8}{'kB':>9}{'top-1':>8}{'drop':>7}"
            f"{'agree':>8}{'seconds':>9}"
        )
    for row in ("sparse", "channels") if args.row == "both" else (args.row,):
        run(row, lesson, test, args)


if __name__ == "__main__":
    main()
