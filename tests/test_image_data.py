"""Images from folders, CSV lists and arrays, as a model's input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import sparing
from sparing.errors import FormatError, InputError
from sparing.image_data import images
from sparing.model import Model, Node, TensorInfo
from sparing.preprocessing import Preprocessing, preprocessing_of

F32 = np.dtype(np.float32)


def picture(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def save(path: Path, pixels: npt.NDArray[np.uint8]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def model_of(shape: tuple[Any, ...], **metadata: Any) -> Model:
    x, y = TensorInfo("pixels", F32, shape), TensorInfo("y", F32, shape)
    return Model((Node("Relu", ("pixels",), ("y",)),), (x,), (y,), {}, metadata=metadata)


def test_a_folder_becomes_batches_as_often_as_wanted(tmp_path: Path) -> None:
    pictures = [picture(6, 6, seed) for seed in range(5)]
    for number, pixels in enumerate(pictures):
        save(tmp_path / f"{number}.png", pixels)
    (tmp_path / "notes.txt").write_text("no image")
    feeds = sparing.images(tmp_path, size=6, batch=2)
    assert len(feeds) == 5 and feeds.labels is None
    for _ in range(2):
        batches = [feed["input"] for feed in feeds]
        assert [batch.shape for batch in batches] == [(2, 3, 6, 6), (2, 3, 6, 6), (1, 3, 6, 6)]
        assert all(batch.dtype == np.float32 for batch in batches)
        expected = (np.stack(pictures).astype(np.float32) - 127) / np.float32(128)
        assert np.array_equal(np.concatenate(batches), expected.transpose(0, 3, 1, 2))


def test_the_centre_of_the_longer_side_is_cut(tmp_path: Path) -> None:
    pixels = picture(4, 10)
    path = save(tmp_path / "a.png", pixels)
    got = Preprocessing((4, 4), (0.0,), (1.0,)).load(path)
    assert np.array_equal(got, pixels[:, 3:7].transpose(2, 0, 1).astype(np.float32))


def test_the_shorter_side_is_scaled(tmp_path: Path) -> None:
    flat = np.full((40, 60, 3), (10, 100, 200), np.uint8)
    got = Preprocessing((8, 8), (0.0,), (1.0,)).load(save(tmp_path / "a.png", flat))
    assert np.array_equal(got, np.broadcast_to([[[10]], [[100]], [[200]]], (3, 8, 8)))


def test_grey_channels_last_and_numbers_per_channel(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", picture(5, 5)[..., 0])
    grey = Preprocessing((5, 5), channels=1).load(path)
    assert grey.shape == (1, 5, 5)
    last = Preprocessing((5, 5), (1.0, 2.0, 3.0), (1.0, 2.0, 4.0), layout="NHWC").load(path)
    raw = picture(5, 5)[..., 0].astype(np.float32)
    assert np.array_equal(last, np.stack([raw - 1, (raw - 2) / 2, (raw - 3) / 4], axis=-1))


def test_what_is_not_given_comes_from_the_model(tmp_path: Path) -> None:
    save(tmp_path / "a.png", picture(9, 9))
    stored = {"size": 5, "mean": [1.0], "std": [2.0], "channels": 1, "layout": "NCHW"}
    model = model_of(("N", 1, 9, 9), preprocessing=stored)
    assert preprocessing_of(model) == Preprocessing((5, 5), (1.0,), (2.0,), 1)
    assert preprocessing_of(model, size=(3, 4), mean=0, std=[9]) == Preprocessing(
        (3, 4), (0.0,), (9.0,), 1
    )
    (feed,) = images(tmp_path, model=model)
    assert feed["pixels"].shape == (1, 1, 5, 5)
    assert preprocessing_of(model_of(("N", 3, 7, 8))) == Preprocessing((7, 8))
    assert preprocessing_of(model_of(("N", 3, "H", "W"))) == Preprocessing()
    assert preprocessing_of(None) == Preprocessing((224, 224), (127.0,), (128.0,), 3, "NCHW")


@pytest.mark.parametrize(
    ("folders", "labels", "expected"),
    [
        (["boot", "bag"], ["shirt", "bag", "boot"], [1, 2]),  # sorted folders: bag, boot
        (["7", "30"], [], [30, 7]),
        (["b", "a"], ["x", "y"], [0, 1]),
    ],
)
def test_folders_of_classes(
    folders: list[str], labels: list[str], expected: list[int], tmp_path: Path
) -> None:
    for folder in folders:
        save(tmp_path / folder / "one.png", picture(4, 4))
        save(tmp_path / folder / "two.jpg", picture(4, 4))
    (tmp_path / "empty").mkdir()
    data = images(tmp_path, size=4, model=model_of(("N", 3, 4, 4), labels=labels))
    assert data.labels is not None and data.labels.dtype == np.int64
    assert data.labels.tolist() == [n for n in expected for _ in range(2)]
    assert len(data) == 4


@pytest.mark.parametrize("header", ["", "path,label\n"])
def test_a_csv_of_paths_and_labels(header: str, tmp_path: Path) -> None:
    save(tmp_path / "sub" / "a.png", picture(4, 4, 1))
    save(tmp_path / "b.png", picture(4, 4, 2))
    listed = tmp_path / "list.csv"
    listed.write_text(f"{header}sub/a.png,5\n\nb.png, boot\n")
    data = images(listed, size=4, mean=0, std=1, model=model_of((1, 3, 4, 4), labels=["", "boot"]))
    assert data.labels is not None and data.labels.tolist() == [5, 1]
    (feed,) = data
    assert np.array_equal(feed["pixels"][1], picture(4, 4, 2).transpose(2, 0, 1))


def test_arrays_of_pixels(tmp_path: Path) -> None:
    pixels = picture(6, 6)[..., 0][None].repeat(3, axis=0)
    np.savez(
        tmp_path / "a.npz",
        images=pixels,
        labels=np.arange(3, dtype=np.uint8),
        calibration_images=pixels[:1],
        calibration_labels=np.array([9]),
    )
    model = model_of(("N", 1, 6, 6))
    data = images(tmp_path / "a.npz", mean=0, std=2, model=model)
    assert len(data) == 3 and data.labels is not None and data.labels.tolist() == [0, 1, 2]
    (feed,) = data
    assert np.array_equal(feed["pixels"], pixels[:, None].astype(np.float32) / 2)
    part = images(tmp_path / "a.npz", model=model, part="calibration")
    assert len(part) == 1 and part.labels is not None and part.labels.tolist() == [9]
    assert len(images(tmp_path / "a.npz", model=model, part="validation")) == 3


def test_arrays_of_floats_are_inputs_already(tmp_path: Path) -> None:
    inputs = np.random.default_rng(0).normal(size=(3, 2, 5)).astype(np.float32)
    np.save(tmp_path / "a.npy", inputs)
    data = images(tmp_path / "a.npy", batch=2)
    assert [feed["input"].tolist() for feed in data] == [inputs[:2].tolist(), inputs[2:].tolist()]


def test_a_share_of_the_images_is_spread_over_all(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((10, 4, 4), np.uint8), labels=np.arange(10))
    data = images(tmp_path / "a.npz", model=model_of((1, 1, 4, 4)))
    some = data.take(4)
    assert some.labels is not None and some.labels.tolist() == [0, 2, 5, 7] and len(some) == 4
    assert len(data.take(99)) == 10
    for number in range(6):
        save(tmp_path / "f" / f"{number}.png", picture(4, 4))
    files = images(tmp_path / "f", size=4).take(3).items
    assert [Path(str(item)).stem for item in files] == ["0", "2", "4"]


def test_importing_needs_no_pillow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", picture(4, 4))
    monkeypatch.setitem(sys.modules, "PIL", None)
    data = images(tmp_path)
    with pytest.raises(InputError, match=r"package pillow: pip install 'sparing\[cli\]'"):
        list(data)
    assert path.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size: expected an integer above 0, or"),
        ({"size": (3, 4, 5)}, "size: expected"),
        ({"std": 0}, "std: expected numbers other than 0"),
        ({"mean": "grey"}, "mean: expected numbers, got 'grey'"),
        ({"mean": [1, 2]}, "mean: expected 1 or 3 numbers, got 2"),
        ({"batch": 0}, "batch: expected 1 or more, got 0"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    save(tmp_path / "a.png", picture(4, 4))
    with pytest.raises(InputError, match=message):
        images(tmp_path, **arguments)


def test_models_that_take_no_images_are_named(tmp_path: Path) -> None:
    save(tmp_path / "a.png", picture(4, 4))
    with pytest.raises(InputError, match="expected a model with 1 or 3 channels, got 5"):
        images(tmp_path, model=model_of((1, 5, 4, 4)))
    with pytest.raises(InputError, match="layout: expected NCHW or NHWC, got 'CHWN'"):
        images(tmp_path, model=model_of((1, 3, 4, 4), preprocessing={"layout": "CHWN"}))


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        images(tmp_path / "none")
    with pytest.raises(InputError, match="expected images, found none"):
        images(tmp_path)
    (tmp_path / "words.txt").write_text("x")
    with pytest.raises(InputError, match=r"words\.txt: expected a folder, an image, \.csv"):
        images(tmp_path / "words.txt")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nrest")
    with pytest.raises(InputError, match=r"cannot read .*bad\.png' as an image"):
        list(images(tmp_path))
    save(tmp_path / "class" / "a.png", picture(4, 4))
    with pytest.raises(InputError, match="expected image files or folders of them, got both"):
        images(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a.png\n", "line 1: expected path,label, got"),
        (b"path,label\na.png,3,4\n", "line 2: expected path,label"),
        (b"a.png,cat\n", "line 1: 'cat' is no class of the model"),
        (b"a.png,\xff\n", "this is not a CSV file"),
    ],
)
def test_damaged_lists_are_named(text: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(text)
    with pytest.raises(FormatError, match=message):
        images(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((1, 4, 4), np.uint8)}, r"expected an array named images, got \['x'\]"),
        ({"images": np.zeros((4, 4), np.uint8)}, r"images: expected uint8 \[N, H, W\]"),
        ({"images": np.zeros((1, 4, 4), np.int32)}, "got int32"),
        (
            {"images": np.zeros((2, 4, 4), np.uint8), "labels": np.zeros(3, int)},
            "labels: expected 2 integers",
        ),
        (
            {"images": np.zeros((2, 4, 4), np.uint8), "labels": np.zeros(2)},
            "labels: expected 2 integers, got float64",
        ),
    ],
)
def test_wrong_arrays_are_named(
    arrays: dict[str, npt.NDArray[Any]], message: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", allow_pickle=True, **arrays)
    with pytest.raises(FormatError, match=message):
        images(tmp_path / "a.npz")


def test_damaged_array_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=picture(40, 40)[None])
    whole = path.read_bytes()
    for damaged in (b"", b"words", whole[: len(whole) // 2], whole[:80] + bytes(99) + whole[179:]):
        path.write_bytes(damaged)
        with pytest.raises(FormatError, match="not a NumPy file, or a damaged one"):
            images(path)
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(FormatError, match="not a NumPy file"):
        images(tmp_path / "objects.npy")


def test_pixels_of_another_size_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 5, 4), np.uint8))
    with pytest.raises(InputError, match=r"expected images of \(4, 4, 1\), got \(5, 4, 1\)"):
        list(images(tmp_path / "a.npz", model=model_of((1, 1, 4, 4))))
