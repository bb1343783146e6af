"""Reading ONNX: what becomes of constants, order, types and everything that can be wrong."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import models
import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, defs, helper, numpy_helper

import sparing
from sparing.errors import FormatError, InputError, ModelError, SparingError
from sparing.formats.onnx_reader import OLDEST_OPSET, read_onnx

X = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
Y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])


def tiny(
    nodes: list[NodeProto],
    initializers: list[TensorProto] | None = None,
    opset: int = 17,
    inputs: Any = (X,),
    outputs: Any = (Y,),
    **options: Any,
) -> ModelProto:
    graph = helper.make_graph(nodes, "tiny", list(inputs), list(outputs), initializers or [])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], **options)


def add_node(*inputs: str) -> NodeProto:
    return helper.make_node("Add", inputs, ["y"])


def initializer(name: str, values: Any = (1.0, 2.0)) -> TensorProto:
    return numpy_helper.from_array(np.asarray(values, np.float32), name)


@pytest.mark.parametrize("build", [models.residual_net, models.depthwise_net, models.qdq_net])
@pytest.mark.parametrize("as_path", [True, False])
def test_reads_every_weight_and_attribute(build: Any, as_path: bool, tmp_path: Path) -> None:
    proto = build()
    path = tmp_path / "net.onnx"
    path.write_bytes(proto.SerializeToString())
    model = sparing.load(path) if as_path else read_onnx(proto)
    assert [n.op_type for n in model.nodes] == [n.op_type for n in proto.graph.node]
    assert [n.outputs for n in model.nodes] == [tuple(n.output) for n in proto.graph.node]
    expected = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    assert model.weights.keys() == expected.keys()
    for name, array in expected.items():
        assert model.weights[name].dtype == array.dtype
        assert np.array_equal(model.weights[name].numpy(), array)
    attributes = {a.name: list(a.ints) for a in proto.graph.node[0].attribute if a.ints}
    assert {k: list(v) for k, v in model.nodes[0].attributes.items() if isinstance(v, tuple)} == (
        attributes
    )


def test_names_shapes_and_metadata() -> None:
    model = read_onnx(models.residual_net())
    assert str(model.inputs[0]) == "input: float32[N, 3, 8, 8]"
    assert model.outputs[0].shape == ("N", 4)
    assert model.metadata == {
        "preprocessing": models.PREPROCESSING,
        "labels": models.LABELS,
    }


def test_unknown_dimensions_and_ranks() -> None:
    info = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, -1, "N", 3, "?"])
    rankless = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    model = read_onnx(tiny([add_node("x", "x")], inputs=[info], outputs=[rankless]))
    assert model.inputs[0].shape == (None, None, "N", 3, None)
    assert model.outputs[0].shape is None


@pytest.mark.parametrize("opset", [OLDEST_OPSET, 13, defs.onnx_opset_version()])
def test_accepts_opsets(opset: int) -> None:
    assert read_onnx(tiny([add_node("x", "x")], opset=opset)).opset == opset


@pytest.mark.parametrize("opset", [1, OLDEST_OPSET - 1, defs.onnx_opset_version() + 1])
def test_refuses_other_opsets(opset: int) -> None:
    with pytest.raises(FormatError, match=f"opset {opset} is not supported"):
        read_onnx(tiny([add_node("x", "x")], opset=opset))


def test_initializers_among_inputs_are_constants() -> None:
    w = helper.make_tensor_value_info("w", TensorProto.FLOAT, [2])
    model = read_onnx(tiny([add_node("x", "w")], [initializer("w")], inputs=[X, w]))
    assert [info.name for info in model.inputs] == ["x"]
    assert list(model.weights) == ["w"]


def test_dead_initializers_are_dropped_even_when_unnamed() -> None:
    clip = helper.make_node("Clip", ["x", "", "top"], ["y"])
    unnamed = initializer("")
    model = read_onnx(tiny([clip], [initializer("top", 6.0), initializer("dead"), unnamed]))
    assert list(model.weights) == ["top"]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"value": initializer("any")}, np.array([1, 2], np.float32)),
        ({"value_float": 0.5}, np.array(0.5, np.float32)),
        ({"value_floats": [0.5, 2.0]}, np.array([0.5, 2.0], np.float32)),
        ({"value_int": -3}, np.array(-3, np.int64)),
        ({"value_ints": [1, 2, 3]}, np.array([1, 2, 3], np.int64)),
        ({"value_string": "é"}, np.array("é", object)),
        ({"value_strings": ["a", "b"]}, np.array(["a", "b"], object)),
    ],
)
def test_constant_nodes_become_weights(attributes: dict[str, Any], expected: Any) -> None:
    node = helper.make_node("Constant", [], ["y"], **attributes)
    model = read_onnx(tiny([node]))
    assert not model.nodes
    value = model.weights["y"].numpy()
    assert value.dtype == expected.dtype
    assert value.shape == expected.shape
    assert (value == expected).all()


def sparse_tensor(indices: Any, dims: list[int]) -> Any:
    return helper.make_sparse_tensor(
        initializer("w", [5.0, 7.0]),
        numpy_helper.from_array(np.array(indices, np.int64), "indices"),
        dims,
    )


@pytest.mark.parametrize("indices", [[1, 5], [[0, 1], [1, 2]]])
def test_sparse_initializers(indices: Any) -> None:
    proto = tiny([add_node("x", "w")])
    proto.graph.sparse_initializer.append(sparse_tensor(indices, [2, 3]))
    assert read_onnx(proto).weights["w"].numpy().tolist() == [[0, 5, 0], [0, 0, 7]]


@pytest.mark.parametrize(
    ("indices", "dims"),
    [([1, 6], [2, 3]), ([-1, 2], [2, 3]), ([[0, 1]], [2, 3]), ([1, 2], [1 << 40, 8])],
)
def test_refuses_bad_sparse_initializers(indices: Any, dims: list[int]) -> None:
    proto = tiny([add_node("x", "w")])
    proto.graph.sparse_initializer.append(sparse_tensor(indices, dims))
    with pytest.raises(FormatError, match="sparse tensor 'w'"):
        read_onnx(proto)


def test_small_types_keep_their_range() -> None:
    import ml_dtypes

    weights = {
        "a": np.array([-8, 7, 3], ml_dtypes.int4),
        "b": np.array([0, 15], ml_dtypes.uint4),
        "c": np.array([1.5, -0.0], ml_dtypes.bfloat16),
        "d": np.array([True, False]),
    }
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in weights]
    protos = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    model = read_onnx(tiny([add_node("x", "x"), *nodes], protos, opset=21))
    for name, array in weights.items():
        assert model.weights[name].dtype == array.dtype
        assert (model.weights[name].numpy() == array).all()


def test_nodes_are_sorted_and_keep_their_order_where_they_can() -> None:
    nodes = [
        helper.make_node("Relu", ["b"], ["y"]),
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Neg", ["a"], ["b"]),
        helper.make_node("Abs", ["x"], ["c"]),
    ]
    assert [n.outputs[0] for n in read_onnx(tiny(nodes)).nodes] == ["a", "b", "y", "c"]


def test_refuses_cycles() -> None:
    nodes = [helper.make_node("Add", ["x", "y"], ["a"]), helper.make_node("Relu", ["a"], ["y"])]
    with pytest.raises(FormatError, match=r"cycle among \['a', 'y'\]"):
        read_onnx(tiny(nodes))


@pytest.mark.parametrize(
    ("nodes", "initializers", "message"),
    [
        ([add_node("x", "missing")], [], "reads 'missing'"),
        ([add_node("x", "x"), add_node("x", "x")], [], "defines 'y' a second time"),
        ([add_node("x", "w")], [initializer("w"), initializer("w")], "'w' is defined twice"),
        ([helper.make_node("Relu", ["x"], ["z"])], [], "output 'y' is computed by no node"),
    ],
)
def test_refuses_inconsistent_graphs(
    nodes: list[NodeProto], initializers: list[TensorProto], message: str
) -> None:
    with pytest.raises((FormatError, ModelError), match=message):
        read_onnx(tiny(nodes, initializers))


def test_expands_local_functions() -> None:
    twice = helper.make_function(
        "local",
        "Twice",
        ["a"],
        ["b"],
        [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )
    proto = tiny([helper.make_node("Twice", ["x"], ["y"], domain="local")], functions=[twice])
    proto.opset_import.append(helper.make_opsetid("local", 1))
    assert [node.op_type for node in read_onnx(proto).nodes] == ["Add"]


def test_keeps_control_flow_and_foreign_domains_for_the_report_of_what_is_unsupported() -> None:
    branch = helper.make_graph([helper.make_node("Relu", ["x"], ["z"])], "branch", [], [Y])
    nodes = [
        helper.make_node("If", ["x"], ["a"], then_branch=branch, else_branch=branch),
        helper.make_node("FusedConv", ["a"], ["y"], domain="com.microsoft"),
    ]
    read = read_onnx(tiny(nodes)).nodes
    assert [(n.op_type, n.domain) for n in read] == [("If", ""), ("FusedConv", "com.microsoft")]


def external(location: str, **entries: int) -> ModelProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tiny([add_node("x", "w")], [tensor])


def written(folder: Path, proto: ModelProto) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def test_external_data_beside_the_model(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(np.array([9, 3, 4, 9], np.float32).tobytes())
    path = written(tmp_path, external("w.bin", offset=4, length=8))
    assert sparing.load(path).weights["w"].numpy().tolist() == [3, 4]


@pytest.mark.parametrize(
    ("location", "entries", "message"),
    [
        ("../w.bin", {}, "leads out of the model's folder"),
        ("/etc/hostname", {}, "leads out of the model's folder"),
        ("link", {}, "leads out of the model's folder"),
        ("absent.bin", {}, "does not exist"),
        ("w.bin", {"offset": 4}, "does not hold its values"),
        ("w.bin", {"offset": 0, "length": 1 << 40}, "which has 8"),
        ("w.bin", {"offset": -4, "length": 8}, "which has 8"),
    ],
)
def test_refuses_external_data_out_of_bounds(
    tmp_path: Path, location: str, entries: dict[str, int], message: str
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for place in (tmp_path, folder):
        (place / "w.bin").write_bytes(bytes(8))
    (folder / "link").symlink_to(tmp_path / "w.bin")
    with pytest.raises(FormatError, match=message):
        sparing.load(written(folder, external(location, **entries)))


def test_external_data_needs_a_path() -> None:
    with pytest.raises(FormatError, match="only a model read from a path"):
        read_onnx(external("w.bin"))


def test_refuses_what_is_no_tensor() -> None:
    sequence = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, [2])
    with pytest.raises(FormatError, match="'x' must be a tensor, got sequence_type"):
        read_onnx(tiny([add_node("x", "x")], inputs=[sequence]))


def test_refuses_metadata_that_is_not_json() -> None:
    proto = tiny([add_node("x", "x")])
    helper.set_model_props(proto, {"sparing.labels": "[1,", "other": "[1,"})
    with pytest.raises(FormatError, match=r"'sparing\.labels' is not JSON"):
        read_onnx(proto)


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, b"GIF89a", b"<html></html>"])
def test_refuses_other_files_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"net\.onnx: this is not an ONNX model"):
        sparing.load(path)


def test_refuses_missing_files_and_folders_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.onnx.*No such file"):
        sparing.load(tmp_path / "absent.onnx")
    with pytest.raises(InputError, match="Is a directory"):
        sparing.load(tmp_path)


def test_damaged_files_raise_only_errors_of_sparing() -> None:
    """Truncated anywhere, or with bits flipped: a model still, or an error of ours."""
    data = models.qdq_net().SerializeToString()
    rng = random.Random(0)
    damaged = [data[: rng.randrange(len(data))] for _ in range(150)]
    for _ in range(450):
        flipped = bytearray(data)
        for _ in range(rng.choice([1, 1, 8])):
            flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        damaged.append(bytes(flipped))
    refused = 0
    for variant in damaged:
        try:
            read_onnx(variant)
        except SparingError:
            refused += 1
    assert refused > 150  # the truncations, and some of the flips


def test_reads_a_real_model(shared: Path) -> None:
    model = sparing.load(shared / "models" / "efficientnet_lite0.onnx")
    assert model.inputs[0].shape == ("N", 3, 224, 224)
    assert model.outputs[0].shape == ("N", 1000)
    assert sum(node.op_type == "Conv" for node in model.nodes) == 49
