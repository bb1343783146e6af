"""Damaged and hostile `.sparing` files: a valid model or FormatError, never anything else."""

from __future__ import annotations

import copy
import json
import random
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import models
import numpy as np
import pytest
from same_model import assert_same_model

import sparing
from sparing.errors import FormatError
from sparing.formats.container import METADATA_KEY, load_container, save_container
from sparing.formats.onnx_reader import read_onnx
from sparing.model import Attribute, Model, Node, Tensor, check_graph

Header = dict[str, Any]
HOSTILE: list[Any] = [
    None, True, -1, 0, 7, 1 << 31, 1 << 62, -(1 << 63) - 1, 1 << 80, 0.5, 1e300, "", "input", "\0",
    "dense", "sparse", "int8", [], [[]], [-1], [1 << 40, 1 << 40], [None], ["w"], {}, {"w": {}},
    {"float": "inf"}, {"float": 1}, {"tensor": {}}, {"tensor": None},
]  # fmt: skip


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file with every kind of weight and attribute."""
    model = read_onnx(models.qdq_net())
    sparse = np.zeros((8, 8, 3, 3), np.int8)
    sparse[:, ::4, 1] = 5
    extra = {
        "conv2.weight": Tensor(sparse),
        "nibbles": Tensor(np.array([-8, 7, 1], ml_dtypes.int4)),
        "flags": Tensor(np.array([True, False])),
        "half": Tensor(np.array([1.5], ml_dtypes.bfloat16)),
    }
    attributes: dict[str, Attribute] = {
        "t": np.arange(3),
        "f": float("inf"),
        "s": "x",
        "i": (1, 2),
        "g": 0.5,
    }
    node = Node("Odd", ("nibbles", "flags", "half"), ("odd",), attributes, domain="d")
    model = model.replace(weights={**model.weights, **extra}, nodes=(*model.nodes, node))
    path = tmp_path_factory.mktemp("intact") / "net.sparing"
    save_container(model, path)
    return path.read_bytes()


@pytest.fixture
def load(tmp_path: Path) -> Callable[[bytes], Model | None]:
    """Loads bytes as a file: the model, checked, or None where FormatError came."""
    path = tmp_path / "net.sparing"

    def load(data: bytes) -> Model | None:
        path.write_bytes(data)
        try:
            model = sparing.load(path)
        except FormatError as error:
            assert str(path) in str(error)
            return None
        check_graph(model)
        for tensor in model.weights.values():
            assert tensor.numpy().shape == tensor.shape
        save_container(model, path)  # whatever was accepted can be written and read again
        assert_same_model(load_container(path), model)
        return model

    return load


def split(data: bytes) -> tuple[Header, Any, bytes]:
    """safetensors' header, the document in it, and the arrays' bytes."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    return header, json.loads(header["__metadata__"][METADATA_KEY]), data[8 + length :]


def join(header: Header, document: Any, arrays: bytes) -> bytes:
    text = document if isinstance(document, str) else json.dumps(document)
    raw = json.dumps({**header, "__metadata__": {METADATA_KEY: text}}).encode()
    return struct.pack("<Q", len(raw)) + raw + arrays


def paths(value: Any, prefix: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside a JSON value, itself included."""
    yield prefix
    if isinstance(value, (dict, list)):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in pairs:
            yield from paths(item, (*prefix, key))


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    document = copy.deepcopy(document)
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return document


def test_the_intact_file_loads(intact: bytes, load: Callable[[bytes], Model | None]) -> None:
    assert load(intact) is not None
    assert load(join(*split(intact))) is not None


def test_truncated_anywhere(intact: bytes, load: Callable[[bytes], Model | None]) -> None:
    header_end = 8 + struct.unpack("<Q", intact[:8])[0]
    cuts = {0, 1, 7, 8, 9, header_end - 1, header_end, header_end + 1, len(intact) - 1}
    for cut in cuts | set(range(0, len(intact), 97)):
        assert load(intact[:cut]) is None, cut
    assert load(intact + b"\0") is None


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bits(seed: int, intact: bytes, load: Callable[[bytes], Model | None]) -> None:
    rng = random.Random(seed)
    header_end = 8 + struct.unpack("<Q", intact[:8])[0]
    refused = 0
    for _ in range(300):
        data = bytearray(intact)
        for _ in range(rng.choice([1, 1, 4])):
            end = rng.choice([8, header_end, header_end, len(data)])
            data[rng.randrange(end)] ^= 1 << rng.randrange(8)
        refused += load(bytes(data)) is None
    assert refused > 100  # flips inside names and dense values leave a valid model


@pytest.mark.parametrize("seed", range(2))
def test_hostile_values_in_the_graph(
    seed: int, intact: bytes, load: Callable[[bytes], Model | None]
) -> None:
    header, document, arrays = split(intact)
    rng = random.Random(seed)
    places = list(paths(document))
    refused = 0
    for _ in range(400):
        variant = changed(document, rng.choice(places), rng.choice(HOSTILE))
        refused += load(join(header, variant, arrays)) is None
    assert refused > 200


def test_hostile_values_in_the_array_table(
    intact: bytes, load: Callable[[bytes], Model | None]
) -> None:
    header, document, arrays = split(intact)
    del header["__metadata__"]
    rng = random.Random(0)
    places = [path for path in paths(header) if path]
    refused = 0
    for _ in range(400):
        variant = changed(header, rng.choice(places), rng.choice(HOSTILE))
        refused += load(join(variant, document, arrays)) is None
    assert refused > 380  # the others put a 0 where a 0 was, or a 7


def row(document: Any, name: str) -> dict[str, Any]:
    """The table's row of that name, written out for the one weight here that needs none."""
    plain = {"kind": "dense", "dtype": "int8", "shape": [8, 3, 3, 3], "keys": ["conv1.weight"]}
    tensors = document["tensors"]
    found: dict[str, Any] = (
        tensors.setdefault(name, plain) if name == "conv1.weight" else tensors[name]
    )
    return found


def set_row(name: str, **entries: Any) -> Callable[[Header, Any], None]:
    return lambda header, document: row(document, name).update(entries)


def set_top(**entries: Any) -> Callable[[Header, Any], None]:
    return lambda header, document: document.update(entries)


def set_node(**entries: Any) -> Callable[[Header, Any], None]:
    return lambda header, document: document["nodes"][0].update(entries)


def overlap(header: Header, document: Any) -> None:
    one, other = "conv1.weight_scale", "conv2.weight_scale"
    header[one]["data_offsets"] = header[other]["data_offsets"]


def add_array(name: str, code: str, shape: Sequence[int] = (0,)) -> Callable[[Header, Any], None]:
    array = {"dtype": code, "shape": list(shape), "data_offsets": [0, 0]}
    return lambda header, document: header.update({name: array})


def set_entry(name: str, **entries: Any) -> Callable[[Header, Any], None]:
    """Of safetensors' own table."""
    return lambda header, document: header[name].update(entries)


DEEP: Any = []
for _ in range(80):
    DEEP = [DEEP]

CRAFTED: list[tuple[str, Callable[[Header, Any], Any]]] = [
    ("format version 2", set_top(version=2)),
    ("format version None", set_top(version=None)),
    ("opset", set_top(opset=1 << 40)),
    ("opset", set_top(opset=True)),
    ("unknown keys", set_top(extra=1)),
    ("missing keys", lambda header, document: document.pop("nodes")),
    ("metadata", set_top(metadata=[])),
    ("nested over", set_top(metadata={"a": DEEP})),
    ("not Unicode", set_top(metadata={"labels": ["\ud800"]})),
    ("Infinity is not JSON", set_top(metadata={"mean": float("inf")})),
    ("tensor table", set_top(tensors=[])),
    ("expected kind", set_row("nibbles", kind="dense")),
    ("expected kind", set_row("conv1.weight", kind="csr")),
    ("element type", set_row("conv1.weight", dtype="object")),
    ("element type", set_row("conv1.weight", dtype=["int8"])),
    ("should be", set_row("conv1.weight", dtype="uint8")),
    ("should be", set_row("conv1.weight", shape=[8, 3, 3, 2])),
    ("should be", set_row("conv2.weight", shape=[8, 8, 3, 4])),
    ("should be", set_row("nibbles", shape=[5])),
    ("integer from 0", set_row("conv1.weight", shape=[-8, -3, 3, 3])),
    ("integer from 0", set_row("conv1.weight", shape=[8.0, 3, 3, 3])),
    ("is over", set_row("conv2.weight", shape=[1 << 20, 1 << 21])),
    ("is over", set_row("conv2.weight", shape=[0, 1 << 40, 1 << 40])),
    ("over the limit of 64", set_row("conv1.weight", shape=[1] * 65)),
    ("takes 2 arrays", set_row("conv2.weight", keys=["conv2.weight.mask"])),
    ("used twice", set_row("conv2.weight", keys=["conv2.weight.mask"] * 2)),
    ("missing, or used", set_row("conv1.weight", keys=["nowhere"])),
    ("both a row of the table and an array", add_array("conv2.weight", "U8")),
    ("array 'odd one': expected an element type", add_array("odd one", "F8_E4M3")),
    ("expected a name", add_array("", "U8")),
    ("expected an object", set_top(nodes=[1])),
    ("expected a list", set_node(inputs="input")),
    ("expected text", set_node(inputs=[1])),
    ("expected a name", set_node(op="")),
    ("attributes by name", set_node(attributes=[1])),
    ("expected an integer", set_node(attributes={"a": {"b": 1}})),
    ("expected an integer", set_node(attributes={"a": 1 << 63})),
    ("expected an integer", set_node(attributes={"a": True})),
    ("list of one type", set_node(attributes={"a": [1, 1.0]})),
    ("inf, -inf or nan", set_node(attributes={"a": {"float": "1"}})),
    ("expected an object", set_node(attributes={"a": {"tensor": 1}})),
    ("not defined before", set_node(inputs=["logits"])),
    ("a second time", set_node(outputs=["input_q", "input"])),
    ("computed by no node", lambda header, document: document["nodes"].clear()),
    ("arrays overlap", overlap),
    ("arrays overlap, or leave bytes of the file out", lambda header, document: header.pop("23.t")),
    ("do not fill", set_entry("23.t", data_offsets=[0, 23])),
    ("do not fill", set_entry("23.t", shape=[2])),
    ("lists of integers from 0 on", set_entry("23.t", shape=[-3, -1])),
    ("lists of integers from 0 on", set_entry("23.t", shape=[3.0])),
    ("lists of integers from 0 on", set_entry("23.t", shape=[True, 3])),
    ("lists of integers from 0 on", set_entry("23.t", data_offsets=[24])),
    ("lists of integers from 0 on", set_entry("23.t", data_offsets="ab")),
    ("missing keys", lambda header, document: header["23.t"].pop("dtype")),
    ("is over", add_array("empty", "U8", [0, 1 << 40, 1 << 40])),
    ("over the limit of 64", add_array("deep", "U8", [0] + [1] * 64)),
]  # fmt: skip


@pytest.mark.parametrize(("message", "craft"), CRAFTED)
def test_crafted_files_say_what_is_wrong(
    message: str, craft: Callable[[Header, Any], Any], intact: bytes, tmp_path: Path
) -> None:
    header, document, arrays = split(intact)
    craft(header, document)
    path = tmp_path / "net.sparing"
    path.write_bytes(join(header, document, arrays))
    with pytest.raises(FormatError, match=message):
        sparing.load(path)


@pytest.mark.parametrize(
    ("array", "byte", "message"),
    [
        ("conv2.weight.mask", 0xFF, "bits does not fit"),
        ("nibbles", 0xF0, "padding"),
        ("flags", 2, "neither 0 nor 1"),
    ],
)
def test_impossible_content(
    array: str, byte: int, message: str, intact: bytes, tmp_path: Path
) -> None:
    header, document, arrays = split(intact)
    last = header[array]["data_offsets"][1] - 1
    path = tmp_path / "net.sparing"
    path.write_bytes(join(header, document, arrays[:last] + bytes([byte]) + arrays[last + 1 :]))
    with pytest.raises(FormatError, match=message):
        sparing.load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[" * 200_000, "not valid JSON"),
        ('{"version": NaN}', "NaN is not JSON"),
        ('{"version": 1e999}', "not finite"),
        ('{"version": 1, "version": 1}', "occurs twice"),
        ("9" * 100_000, "not valid JSON|format version"),
        ("[]", "format version None"),
    ],
)
def test_documents_that_are_no_json(text: str, message: str, intact: bytes, tmp_path: Path) -> None:
    header, _, arrays = split(intact)
    path = tmp_path / "net.sparing"
    path.write_bytes(join(header, text, arrays))
    with pytest.raises(FormatError, match=message):
        sparing.load(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "header of"),
        (struct.pack("<Q", 1 << 63) + b"{}", "header of"),
        (struct.pack("<Q", (1 << 24) + 1) + b"{" * ((1 << 24) + 1), "header of"),
        (struct.pack("<Q", 2) + b"{}", "not of Sparing"),
        (struct.pack("<Q", 4) + b"\xff\xff\xff\xff", "not an intact safetensors file"),
    ],
    ids=["empty", "huge header", "long header", "plain safetensors", "binary header"],
)
def test_files_that_are_no_container(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "net.sparing"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=message):
        sparing.load(path)


def test_hostile_files_cannot_take_memory(intact: bytes, tmp_path: Path) -> None:
    """With 64 MB of address space left, every claim of a huge size is refused as FormatError."""
    claims: list[Callable[[Header, Any], Any]] = [
        set_row("conv2.weight", shape=[1 << 40]),
        set_row("conv1.weight", shape=[1 << 30]),
        set_row("nibbles", shape=[1 << 38]),
        set_top(opset=1 << 60),
    ]
    files = []
    for index, claim in enumerate(claims):
        header, document, arrays = split(intact)
        claim(header, document)
        files.append(tmp_path / f"{index}.sparing")
        files[-1].write_bytes(join(header, document, arrays))
    header, document, arrays = split(intact)
    header["conv2.weight.values"]["shape"] = [1 << 40]
    files.append(tmp_path / "array.sparing")
    files[-1].write_bytes(join(header, document, arrays))
    script = (
        "import resource, sys, sparing\n"
        "from sparing.formats import container\n"
        "pages = int(open('/proc/self/statm').read().split()[0])\n"
        "limit = pages * resource.getpagesize() + (64 << 20)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n"
        "        sparing.load(path)\n"
        "    except sparing.errors.FormatError:\n"
        "        print('refused')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, *files], capture_output=True, text=True, check=False
    )
    assert result.stdout.split() == ["refused"] * len(files), result.stderr
