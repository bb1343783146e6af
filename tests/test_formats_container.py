"""The `.sparing` container: exact round trips, equal bytes, the smallest form of each weight."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import models
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto
from same_model import assert_same_bits, assert_same_model

import sparing
from sparing.errors import FormatError, InputError
from sparing.formats.container import METADATA_KEY, load_container, save_container
from sparing.formats.container_tensors import DTYPES, named_dtype
from sparing.formats.onnx_reader import read_onnx
from sparing.model import Model, Node, SparseTensor, Tensor, TensorInfo

F32 = np.dtype(np.float32)


def holding(**weights: Any) -> Model:
    """A model of these weights, each an output."""
    tensors = {k: v if isinstance(v, Tensor) else Tensor(v) for k, v in weights.items()}
    return Model(
        nodes=(),
        inputs=(),
        outputs=tuple(TensorInfo(k, F32, None) for k in weights),
        weights=tensors,
    )


def pruned(model: Model, sparsity: float, seed: int = 0) -> Model:
    """The model with random elements of its 4-D weights set to zero."""
    rng = np.random.default_rng(seed)
    weights = dict(model.weights)
    for name, tensor in weights.items():
        if len(tensor.shape) == 4:
            zeroed = np.where(rng.random(tensor.shape) < sparsity, 0, tensor.numpy())
            weights[name] = Tensor(zeroed.astype(tensor.dtype))
    return model.replace(weights=weights)


def table(path: Path) -> dict[str, Any]:
    """The tensor table of a file, read without the code under test."""
    with safetensors.safe_open(path, "numpy") as file:
        tensors: dict[str, Any] = json.loads(file.metadata()[METADATA_KEY])["tensors"]
    return tensors


@pytest.mark.parametrize("build", [models.residual_net, models.depthwise_net, models.qdq_net])
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.95])
def test_round_trip_is_exact_and_repeatable(
    build: Callable[[], ModelProto], sparsity: float, tmp_path: Path
) -> None:
    model = pruned(read_onnx(build()), sparsity)
    first, second = tmp_path / "a.sparing", tmp_path / "b.sparing"
    sparing.save(model, first)
    loaded = sparing.load(first)
    assert_same_model(model, loaded)
    sparing.save(loaded, second)
    assert first.read_bytes() == second.read_bytes()


def test_same_bytes_from_another_process_and_order(tmp_path: Path) -> None:
    """Neither string hashing nor the order of dictionaries may show in the file."""
    model = pruned(read_onnx(models.qdq_net()), 0.9)
    here, there = tmp_path / "here.sparing", tmp_path / "there.sparing"
    save_container(model, here)
    script = (
        "import sys, sparing\n"
        "m = sparing.load(sys.argv[1])\n"
        "m = m.replace(weights=dict(reversed(m.weights.items())),\n"
        "              metadata=dict(reversed(m.metadata.items())))\n"
        "sparing.save(m, sys.argv[2])\n"
    )
    subprocess.run([sys.executable, "-c", script, here, there], check=True)
    assert here.read_bytes() == there.read_bytes()


def test_content_decides_not_the_suffix(tmp_path: Path) -> None:
    model = read_onnx(models.residual_net())
    save_container(model, tmp_path / "net.onnx")
    assert_same_model(sparing.load(tmp_path / "net.onnx"), model)


@pytest.mark.parametrize("name", ["net", "net.pt", "sparing"])
def test_refuses_other_suffixes(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected the suffix \.sparing or \.onnx"):
        sparing.save(holding(), tmp_path / name)


@pytest.mark.parametrize(
    ("dtype", "sparsity", "bytes_per_weight"),
    [
        # one bit of mask, and the non-zeros
        (np.int8, 0.9, 0.125 + 0.1),
        (np.float32, 0.9, 0.125 + 0.4),
        (np.float32, 0.5, 0.125 + 2.0),
        # dense: at 10 % zeros the mask costs more than it saves
        (np.int8, 0.1, 1.0),
        (np.float32, 0.0, 4.0),
        (ml_dtypes.int4, 0.0, 0.5),
    ],
)
def test_size_of_the_file(
    dtype: Any, sparsity: float, bytes_per_weight: float, tmp_path: Path
) -> None:
    size = 1 << 16
    values = np.full(size, 3 if dtype is ml_dtypes.int4 else 100, np.float32)
    values[: int(size * sparsity)] = 0
    path = tmp_path / "net.sparing"
    save_container(holding(w=values.reshape(256, 256).astype(dtype)), path)
    overhead = 1024  # header
    assert size * bytes_per_weight <= path.stat().st_size <= size * bytes_per_weight + overhead


@pytest.mark.parametrize(("low", "high"), [(-8, 7), (-9, 7), (-8, 8)])
def test_int8_that_fits_four_bits_is_packed(low: int, high: int, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(low, high + 1, (127, 129)).astype(np.int8)
    values[0, :2] = low, high
    path = tmp_path / "net.sparing"
    save_container(holding(w=values), path)
    fits = low >= -8 and high <= 7
    assert (path.stat().st_size < 0.6 * values.size) == fits
    assert_same_bits(load_container(path).weights["w"], Tensor(values))


def test_sparse_weights_stay_sparse_in_memory(tmp_path: Path) -> None:
    dense = np.zeros((64, 64), np.float32)
    dense[::4, ::5] = 1.5
    path = tmp_path / "net.sparing"
    save_container(holding(w=dense), path)
    loaded = load_container(path).weights["w"]
    assert isinstance(loaded, SparseTensor)
    assert loaded.nbytes == 64 * 64 // 8 + 4 * np.count_nonzero(dense)
    assert_same_bits(loaded, Tensor(dense))


def test_a_sparse_tensor_that_does_not_pay_is_stored_dense(tmp_path: Path) -> None:
    full = SparseTensor.from_dense(np.full((32, 32), 100, np.int8))
    path = tmp_path / "net.sparing"
    save_container(holding(w=full), path)
    assert table(path) == {}  # an array in the file, which needs no row
    assert_same_bits(load_container(path).weights["w"], full)


@pytest.mark.parametrize("bits", [0x80000000, 0x7FC00001, 0xFFC00000, 0x00000001])
def test_negative_zero_nan_payloads_and_denormals_survive(bits: int, tmp_path: Path) -> None:
    raw = np.zeros(256, np.uint32)
    raw[3] = bits
    path = tmp_path / "net.sparing"
    save_container(holding(w=raw.view(np.float32)), path)
    assert table(path)["w"]["kind"] == "sparse"
    assert load_container(path).weights["w"].numpy().view(np.uint32).tolist() == raw.tolist()


def test_layout_in_memory_does_not_matter(tmp_path: Path) -> None:
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    views = {"t": base.T, "step": base[::2, ::3], "big": base.astype(">f4")}
    path = tmp_path / "net.sparing"
    save_container(holding(**views), path)
    loaded = load_container(path)
    for name, view in views.items():
        assert loaded.weights[name].dtype == np.float32
        assert (loaded.weights[name].numpy() == view).all()


def test_names_that_collide_with_those_of_parts(tmp_path: Path) -> None:
    """A sparse "w" is stored as "w.mask" and "w.values"; other weights may have these names."""
    sparse = np.zeros((50, 50), np.float32)
    sparse[7] = 2
    node = Node("Pad", ("w",), ("y",), {"pads": np.arange(4)})
    model = holding(
        **{
            "w": sparse,
            "w.mask": np.float32(1),
            "w.values": sparse + (sparse == 0),
            "w.mask+": np.float32(2),
            "0.pads": np.float32(3),
            "__metadata__": np.float32(4),
            "é/名": np.float32(5),
        }
    ).replace(nodes=(node,))
    path = tmp_path / "net.sparing"
    save_container(model, path)
    assert_same_model(load_container(path), model)
    assert table(path)["w"]["keys"] == ["w.mask++", "w.values+"]


ATTRIBUTES: dict[str, Any] = {
    "int": -(1 << 63),
    "float": 1e-5,
    "whole": 1.0,
    "infinite": float("-inf"),
    "nan": float("nan"),
    "text": "NOTSET é",
    "ints": (0, -1, (1 << 63) - 1),
    "floats": (0.1, float("inf")),
    "strings": ("a", ""),
    "empty": (),
    "tensor": np.array([[1, 2]], np.int64),
    "scalar": np.array(2.5, np.float32),
}


def test_attributes_keep_value_and_type(tmp_path: Path) -> None:
    node = Node("Anything", ("", "w"), ("", "y"), ATTRIBUTES, name="n", domain="d")
    model = holding(w=np.zeros(0, np.int8)).replace(nodes=(node,))
    path = tmp_path / "net.sparing"
    save_container(model, path)
    loaded = load_container(path)
    assert_same_model(loaded, model)
    assert {k: type(v) for k, v in loaded.nodes[0].attributes.items()} == {
        k: type(v) for k, v in ATTRIBUTES.items()
    }


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (holding(w=np.array(["text"], object)), "element type object cannot be stored"),
        (holding(w=np.zeros(2, np.complex64)), "element type complex64 cannot be stored"),
        (holding().replace(metadata={"labels": object()}), "not plain JSON"),
        (holding().replace(metadata={"labels": [float("nan")]}), "not finite"),
        (holding().replace(metadata={"labels": "\ud800"}), "not Unicode"),
        (holding(w=np.zeros(2)).replace(nodes=(Node("A", (), ("y",), {"a": 1j}),)), "complex"),  # type: ignore[dict-item]
    ],
)
def test_refuses_what_the_format_cannot_hold(model: Model, message: str, tmp_path: Path) -> None:
    path = tmp_path / "net.sparing"
    with pytest.raises(FormatError, match=message):
        save_container(model, path)
    assert not list(tmp_path.iterdir())


def test_refuses_metadata_that_could_not_be_read_back(tmp_path: Path) -> None:
    deep: list[Any] = []
    for _ in range(100):
        deep = [deep]
    with pytest.raises(FormatError, match="nested"):
        save_container(holding().replace(metadata={"recipe": deep}), tmp_path / "a.sparing")
    with pytest.raises(FormatError, match="over the limit"):
        huge = holding().replace(metadata={"labels": "x" * (1 << 24)})
        save_container(huge, tmp_path / "a.sparing")


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """Any dtype, 0 to 4 dimensions of 0 to 9, any bits, any share of zeros."""
    dtype = named_dtype(draw(st.sampled_from(sorted(DTYPES))))
    shape = tuple(draw(st.lists(st.integers(0, 9), max_size=4)))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    size = int(np.prod(shape))
    if dtype == np.bool_:
        flat = rng.integers(0, 2, size).astype(dtype)
    elif dtype.name in ("int4", "uint4"):
        flat = (rng.integers(0, 16, size) - 8 * (dtype.name == "int4")).astype(dtype)
    else:
        flat = np.frombuffer(rng.bytes(size * dtype.itemsize), dtype).copy()
    flat[rng.random(size) < draw(st.sampled_from([0.0, 0.5, 0.97]))] = np.zeros((), dtype)
    array = flat.reshape(shape)
    can_be_sparse = dtype.name not in ("int4", "uint4")
    return (
        SparseTensor.from_dense(array) if can_be_sparse and draw(st.booleans()) else Tensor(array)
    )


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
SCALARS = st.one_of(st.integers(-(1 << 63), (1 << 63) - 1), st.floats(), st.text(max_size=4))
VALUES = st.one_of(
    SCALARS,
    st.lists(st.integers(-9, 9), max_size=3).map(tuple),
    st.lists(st.floats(width=32), max_size=3).map(tuple),
    tensors().map(lambda t: t.numpy()),
)
JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False)
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def graphs(draw: st.DrawFn) -> Model:
    """Random chains and joins of nodes; the operators need not exist."""
    weights = draw(st.dictionaries(NAMES.map("w".__add__), tensors(), max_size=5))
    defined = [*weights, "in 0"]
    nodes = []
    for index in range(draw(st.integers(0, 4))):
        inputs = draw(st.lists(st.sampled_from([*defined, ""]), max_size=3))
        attributes = draw(st.dictionaries(NAMES, VALUES, max_size=3))
        nodes.append(Node("Op", tuple(inputs), (f"out {index}",), attributes, draw(NAMES)))
        defined.append(f"out {index}")
    shape = draw(st.none() | st.tuples(st.sampled_from([None, "N", 0, 3])))
    info = TensorInfo("in 0", named_dtype(draw(st.sampled_from(sorted(DTYPES)))), shape)
    return Model(
        nodes=tuple(nodes),
        inputs=(info,),
        outputs=(TensorInfo(defined[-1], F32, None),),
        weights=weights,
        opset=draw(st.integers(7, 30)),
        metadata=draw(st.dictionaries(NAMES, JSON, max_size=3)),
    )


# Drawing the first text builds hypothesis's table of Unicode, which takes seconds; fsync takes long
# on some disks.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(model=graphs())
def test_any_graph_round_trips(model: Model, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.sparing"
    save_container(model, path)
    first = path.read_bytes()
    loaded = load_container(path)
    assert_same_model(model, loaded)
    save_container(loaded, path)
    assert path.read_bytes() == first
