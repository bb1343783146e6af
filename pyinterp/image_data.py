"""Image files and arrays as a model's input: folders, CSV lists, `.npz` and `.npy` files.

Files are decoded batch by batch, each time they are iterated over, so that memory does not grow
with their number.
"""

from __future__ import annotations

import csv
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .errors import FormatError, InputError
from .model import Array, Model
from .preprocessing import PerChannel, Preprocessing, preprocessing_of

Labels: TypeAlias = npt.NDArray[np.int64]

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Feeds `{name: float32 [n, C, H, W]}` of at most `batch` images, as often as wanted.

    items: image files, or an array [N, ...] (uint8 pixels, or float32 that is the input already).
    labels: class indices [N], or None where the data holds none.
    """

    name: str
    items: Sequence[Path] | Array
    labels: Labels | None
    preprocessing: Preprocessing
    batch: int = 8

    def __len__(self) -> int:
        """The number of images (not of batches)."""
        return len(self.items)

    def __iter__(self) -> Iterator[dict[str, npt.NDArray[np.float32]]]:
        for start in range(0, len(self), self.batch):
            yield {self.name: self._load(start, start + self.batch)}

    def take(self, count: int) -> Images:
        """At most `count` of the images, spread evenly over all of them."""
        count = min(count, len(self))
        chosen = [i * len(self) // count for i in range(count)]
        if isinstance(self.items, np.ndarray):
            items: Sequence[Path] | Array = self.items[chosen]
        else:
            items = [self.items[i] for i in chosen]
        return replace(
            self, items=items, labels=None if self.labels is None else self.labels[chosen]
        )

    def _load(self, start: int, end: int) -> npt.NDArray[np.float32]:
        items = self.items[start:end]
        if not isinstance(items, np.ndarray):
            return np.stack([self.preprocessing.load(path) for path in items])
        return self.preprocessing.apply(items) if items.dtype == np.uint8 else items


def images(
    source: str | os.PathLike[str],
    size: int | tuple[int, int] | None = None,
    mean: PerChannel | None = None,
    std: PerChannel | None = None,
    batch: int = 8,
    model: Model | None = None,
    part: str = "",
) -> Images:
    """Images from a folder, a CSV of `path,label`, an `.npz` or an `.npy`, as feeds for a model.

    A folder holds image files, or one folder of them for each class: a class is the index of the
    folder's name among the model's labels, else the number that is its name, else its place in
    alphabetical order. A CSV's paths start from its own folder, its labels are class indices or
    names. An `.npz` holds `images` and, if labelled, `labels`; with `part`, arrays named
    `{part}_images` go first. Arrays are uint8 [N, H, W] or [N, H, W, C], or float32 as the model
    takes them. size, mean, std: see `Preprocessing`; what is not given comes from the model.
    Raises InputError for what cannot be read or holds no images, FormatError for damaged files.
    """
    path = Path(source)
    if batch < 1:
        raise InputError(f"batch: expected 1 or more, got {batch}")
    names = list(model.metadata.get("labels") or []) if model is not None else []
    items: Sequence[Path] | Array
    if path.is_dir():
        items, labels = _from_folder(path, names)
    elif not path.is_file():
        raise InputError(f"cannot read {str(path)!r}: there is no such file or folder")
    elif path.suffix.lower() in (".npz", ".npy"):
        items, labels = _from_arrays(path, part)
    elif path.suffix.lower() == ".csv":
        items, labels = _from_csv(path, names)
    elif path.suffix.lower() in SUFFIXES:
        items, labels = [path], None
    else:
        raise InputError(f"{path}: expected a folder, an image, .csv, .npy or .npz")
    if not len(items):
        raise InputError(f"{path}: expected images, found none")
    name = model.inputs[0].name if model is not None and model.inputs else "input"
    return Images(name, items, labels, preprocessing_of(model, size, mean, std), batch)


def _files(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.is_file() and f.suffix.lower() in SUFFIXES)


def _from_folder(path: Path, names: Sequence[str]) -> tuple[list[Path], Labels | None]:
    classes = sorted(folder for folder in path.iterdir() if folder.is_dir() and _files(folder))
    loose = _files(path)
    if loose and classes:
        raise InputError(f"{path}: expected image files or folders of them, got both")
    if not classes:
        return loose, None
    folders = [folder.name for folder in classes]
    if all(name in names for name in folders):
        indices = [names.index(name) for name in folders]
    elif all(name.isdecimal() for name in folders):
        indices = [int(name) for name in folders]
    else:
        indices = list(range(len(folders)))
    items, labels = [], []
    for folder, index in zip(classes, indices, strict=True):
        files = _files(folder)
        items += files
        labels += [index] * len(files)
    return items, np.array(labels, np.int64)


def _from_csv(path: Path, names: Sequence[str]) -> tuple[list[Path], Labels]:
    items, labels = [], []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [(n, row) for n, row in enumerate(csv.reader(file), start=1) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{path}: this is not a CSV file: {error}") from error
    for number, row in rows:
        if number == 1 and [cell.strip() for cell in row] == ["path", "label"]:
            continue
        if len(row) != 2:
            raise FormatError(f"{path}, line {number}: expected path,label, got {row}")
        file_name, label = (cell.strip() for cell in row)
        if label in names:
            labels.append(names.index(label))
        elif label.isdecimal():
            labels.append(int(label))
        else:
            raise FormatError(f"{path}, line {number}: {label!r} is no class of the model")
        items.append(path.parent / file_name)
    return items, np.array(labels, np.int64)


def _from_arrays(path: Path, part: str) -> tuple[Array, Labels | None]:
    arrays = _read_arrays(path)
    prefix = f"{part}_" if f"{part}_images" in arrays else ""
    items, labels = arrays.get(f"{prefix}images"), arrays.get(f"{prefix}labels")
    if items is None:
        raise FormatError(f"{path}: expected an array named images, got {sorted(arrays)}")
    is_pixels = items.dtype == np.uint8 and items.ndim in (3, 4)
    if not is_pixels and (items.dtype != np.float32 or items.ndim < 2):
        raise FormatError(
            f"{path}: images: expected uint8 [N, H, W] or [N, H, W, C], or float32 [N, ...], "
            f"got {items.dtype} {items.shape}"
        )
    if labels is not None and (labels.dtype.kind not in "iu" or labels.shape != items.shape[:1]):
        raise FormatError(
            f"{path}: labels: expected {len(items)} integers, got {labels.dtype} {labels.shape}"
        )
    return items, None if labels is None else labels.astype(np.int64)


def _read_arrays(path: Path) -> dict[str, Array]:
    try:
        opened = np.load(path, allow_pickle=False)
        if isinstance(opened, np.ndarray):
            return {"images": opened}
        with opened:
            return {name: opened[name] for name in opened.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise FormatError(f"{path}: this is not a NumPy file, or a damaged one: {error}") from error
