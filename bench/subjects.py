"""The models of a benchmark, with their files and their inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from ..errors import InputError
from ..formats import load, save
from ..image_data import images
from ..model import Array, Model
from ..noise import noise_feeds
from ..summary import Summary, summarize, wanted_shapes
from . import zoo

Feeds = dict[str, Array]
SAMPLES = 8  # batches that are run in turn


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """path: the file that sessions load. onnx: the same model for the peers. data: what its inputs
    are: "noise", or where the images come from."""

    name: str
    path: Path
    onnx: Path
    feeds: Sequence[Feeds]
    data: str
    summary: Summary

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: array.shape for name, array in self.feeds[0].items()}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the inputs are to be.

    data: images to run on; without, the embedded ones for the embedded model, else seeded noise.
    shapes: as `wanted_shapes` takes them.
    """

    batch: int
    data: str | None
    shapes: Sequence[tuple[str, tuple[int, ...]]]
    seed: int


def subject(spec: str, number: int, folder: Path, wanted: Wanted) -> Subject:
    """The model that `spec` names (a file, or `zoo:NAME`), its files in `folder` where it has
    none."""
    if spec.startswith("zoo:"):
        model = zoo.build(spec[4:])
        path = folder / f"{number}.sparing"
        save(model, path)
        name = spec[4:]
    else:
        model, path = load(spec), Path(spec)
        name = path.name
    onnx = path
    if path.suffix.lower() != ".onnx":
        onnx = folder / f"{number}.onnx"
        save(model, onnx)
    feeds, source = _feeds(model, name, wanted)
    summary = summarize(model, {n: array.shape for n, array in feeds[0].items()})
    return Subject(name, path, onnx, feeds, source, summary)


def _feeds(model: Model, name: str, wanted: Wanted) -> tuple[list[Feeds], str]:
    data, batch = wanted.data, wanted.batch
    if data is not None:
        if wanted.shapes:
            raise InputError("expected images to run on or shapes of noise, got both")
        return list(_images(model, data, batch)), data
    if name.split(":")[0] == "resnet8" and not wanted.shapes:
        with as_file(files("sparing.assets") / "fashion_mnist.npz") as path:
            return list(_images(model, str(path), batch)), "Fashion-MNIST"
    shapes = wanted_shapes(model, batch, wanted.shapes)
    feeds = [noise_feeds(model.inputs, shapes, wanted.seed + i) for i in range(SAMPLES)]
    return feeds, "noise"


def _images(model: Model, source: str, batch: int) -> Iterator[Feeds]:
    found = images(source, model=model, batch=batch)
    if len(found) < batch:
        raise InputError(f"{source}: expected at least {batch} images, got {len(found)}")
    chosen = found.take(min(len(found) // batch, SAMPLES) * batch)
    for feeds in chosen:
        yield dict(feeds)
