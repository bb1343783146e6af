"""Writing ONNX: valid, exact, repeatable, and run by another runtime to the same answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import models
import numpy as np
import onnx
import pytest
from onnx import ModelProto
from same_model import assert_same_bits, assert_same_model

import sparing
from sparing.errors import FormatError, InputError
from sparing.formats import onnx_writer
from sparing.formats.onnx_reader import read_onnx
from sparing.formats.onnx_writer import to_proto, write_onnx
from sparing.model import Model, Node, SparseTensor, Tensor, TensorInfo

BUILDERS = [models.residual_net, models.depthwise_net, models.qdq_net]
VECTOR = TensorInfo("x", np.dtype(np.float32), (2,))


def single(node: Node, **changes: Any) -> Model:
    """A model of one node that reads "x" and gives "y" [2]."""
    fields: dict[str, Any] = {
        "inputs": (VECTOR,),
        "outputs": (replace(VECTOR, name="y"),),
        "weights": {},
        "opset": 17,
    }
    return Model(nodes=(node,), **{**fields, **changes})


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("opset", [13, 17, 21])
def test_round_trip_is_exact_and_repeatable(
    build: Callable[..., ModelProto], opset: int, tmp_path: Path
) -> None:
    model = read_onnx(build(opset=opset))
    first, second = tmp_path / "a.onnx", tmp_path / "b.onnx"
    sparing.save(model, first)
    loaded = sparing.load(first)
    assert_same_model(model, loaded)
    sparing.save(loaded, second)
    assert first.read_bytes() == second.read_bytes()
    onnx.checker.check_model(str(first), full_check=True)


@pytest.mark.parametrize("build", BUILDERS)
def test_onnxruntime_answers_as_for_the_original(
    build: Callable[..., ModelProto], tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the peer that runs exported files")
    original = build()
    path = tmp_path / "net.onnx"
    write_onnx(read_onnx(original), path)
    dims = [d.dim_value for d in original.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(0).normal(0, 1, (3, *dims[1:])).astype(np.float32)
    answers = [
        onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"]).run(
            None, {"input": x}
        )[0]
        for source in (original.SerializeToString(), str(path))
    ]
    assert np.array_equal(*answers)  # the same graph and weights: the same arithmetic


@pytest.mark.parametrize(("opset", "ir"), [(8, 4), (13, 7), (17, 8), (21, 10)])
def test_oldest_ir_version_that_the_opset_allows(opset: int, ir: int) -> None:
    assert to_proto(single(Node("Relu", ("x",), ("y",)), opset=opset)).ir_version == ir


def test_equal_names_of_nodes_become_different(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="it refuses equal names of nodes")
    steps = zip(("x", "a", "b", "c"), ("a", "b", "c", "y"), ("n", "n", "n_1", "n"), strict=True)
    nodes = tuple(Node("Neg", (x,), (y,), name=name) for x, y, name in steps)
    path = tmp_path / "net.onnx"
    outputs = (replace(VECTOR, name="y"),)
    write_onnx(Model(nodes=nodes, inputs=(VECTOR,), outputs=outputs, weights={}, opset=17), path)
    assert [node.name for node in onnx.load(path).graph.node] == ["n", "n_2", "n_1", "n_3"]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    x = np.array([1, -2], np.float32)
    assert np.array_equal(session.run(None, {"x": x})[0], x)


def test_sparse_weights_are_written_dense(tmp_path: Path) -> None:
    dense = np.zeros((2, 3), np.float32)
    dense[0, 2] = -0.0
    dense[1, 0] = 2.5
    weights = {"w": SparseTensor.from_dense(dense), "v": Tensor(np.ones(3, np.float32))}
    model = single(Node("MatMul", ("w", "v"), ("y",)), weights=weights)
    path = tmp_path / "net.onnx"
    write_onnx(model, path)
    assert_same_bits(sparing.load(path).weights["w"], Tensor(dense))


@pytest.mark.parametrize("dtype", [ml_dtypes.int4, ml_dtypes.uint4, ml_dtypes.bfloat16, np.bool_])
def test_element_types(dtype: Any, tmp_path: Path) -> None:
    weight = Tensor(np.array([[1, 0, 1]]).astype(dtype))
    info = TensorInfo("y", weight.dtype, (1, 3))
    model = single(
        Node("Identity", ("w",), ("y",)), weights={"w": weight}, outputs=(info,), opset=21
    )
    path = tmp_path / "net.onnx"
    write_onnx(model, path)
    assert_same_model(sparing.load(path), model)


def test_an_empty_list_takes_its_type_from_the_operator(tmp_path: Path) -> None:
    node = Node("Transpose", ("x",), ("y",), {"perm": ()})
    path = tmp_path / "net.onnx"
    x, y = (TensorInfo(name, np.dtype(np.float32), ()) for name in ("x", "y"))
    write_onnx(single(node, inputs=(x,), outputs=(y,)), path)
    (attribute,) = onnx.load(path).graph.node[0].attribute
    assert attribute.type == onnx.AttributeProto.INTS
    with pytest.raises(FormatError, match="type of the empty attribute 'axes' is unknown"):
        write_onnx(single(Node("Mystery", ("x",), ("y",), {"axes": ()}, domain="d")), path)


def test_layout_in_memory_does_not_matter(tmp_path: Path) -> None:
    base = np.arange(6, dtype=np.float32).reshape(2, 3)
    path = tmp_path / "net.onnx"
    transposed = Tensor(base.T[:2])
    write_onnx(single(Node("MatMul", ("x", "w"), ("y",)), weights={"w": transposed}), path)
    assert sparing.load(path).weights["w"].numpy().tolist() == [[0, 3], [1, 4]]


def test_ranks_that_the_model_leaves_open_are_inferred(tmp_path: Path) -> None:
    unknown = TensorInfo("y", np.dtype(np.float32), None)
    path = tmp_path / "net.onnx"
    write_onnx(single(Node("Relu", ("x",), ("y",)), outputs=(unknown,)), path)
    assert sparing.load(path).outputs == (replace(unknown, shape=(2,)),)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (single(Node("NoSuchOperator", ("x",), ("y",))), "not valid as ONNX opset 17"),
        (single(Node("Relu", ("x",), ("y",), {"slope": 1.0})), "not valid as ONNX opset 17"),
        (single(Node("Relu", ("x",), ("y",), {"slope": 1j})), "cannot be written as ONNX"),  # type: ignore[dict-item]
        (single(Node("Relu", ("x",), ("y",)), opset=999), "cannot be written as ONNX"),
        (single(Node("Relu", ("x",), ("y",)), metadata={"a": object()}), "cannot be written"),
        (single(Node("Relu", ("x",), ("y",)), metadata={"a": float("nan")}), "cannot be written"),
    ],
)
def test_refuses_what_onnx_cannot_hold(model: Model, message: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=message):
        write_onnx(model, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_refuses_models_over_the_limit_of_protobuf(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(onnx_writer, "PROTOBUF_LIMIT", 1000)
    with pytest.raises(FormatError, match="one ONNX file holds less than 2 GiB"):
        write_onnx(read_onnx(models.residual_net()), tmp_path / "net.onnx")


def test_other_domains_are_imported(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    model = single(Node("FusedThing", ("x",), ("y",), {"a": (1, 2)}, domain="com.example"))
    write_onnx(model, path)
    assert_same_model(sparing.load(path), model)


@pytest.mark.parametrize("suffix", [".onnx", ".sparing"])
def test_a_failed_save_leaves_the_old_file(
    suffix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_bytes(b"old")

    def full_disk(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(InputError, match=r"cannot write .*net.*No space left"):
        sparing.save(read_onnx(models.residual_net()), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".onnx", ".sparing"])
def test_a_folder_that_does_not_exist_is_named(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / "absent" / f"net{suffix}"
    with pytest.raises(InputError, match=r"absent.*No such file or directory"):
        sparing.save(read_onnx(models.residual_net()), path)
