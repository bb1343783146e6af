"""The small networks and images that the tests of fine-tuning share."""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from models import residual_net

import sparing
from sparing import Model, Node, TensorInfo
from sparing.compression.training_form import training_form
from sparing.formats.onnx_reader import read_onnx
from sparing.model import Tensor

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="the extra `train` (PyTorch) is missing"
)

F32 = npt.NDArray[np.float32]
CLASSES = 4
IMAGES = 256


@cache
def labelled() -> tuple[F32, npt.NDArray[np.int64]]:
    """Images [256, 3, 8, 8] of four classes: a pattern each, under noise."""
    rng = np.random.default_rng(5)
    patterns = rng.normal(0, 0.7, (CLASSES, 3, 8, 8))
    labels = rng.integers(0, CLASSES, IMAGES)
    return (patterns[labels] + rng.normal(0, 1, (IMAGES, 3, 8, 8))).astype(np.float32), labels


@cache
def dense_net() -> Model:
    """The residual net, trained with BatchNorm."""
    return tuned(read_onnx(residual_net()), labelled(), epochs=4, learning_rate=1e-2)


@cache
def pruned_net() -> Model:
    """The same with 70 % zeros in each layer, trained again."""
    once = sparing.prune(dense_net(), 0.7, scope="layer")
    return tuned(once, labelled(), epochs=3, learning_rate=1e-2)


def tuned(model: Model, data: Any, epochs: int = 1, **options: Any) -> Model:
    settings: dict[str, Any] = {"batch_size": 32, "threads": 1, **options}
    return sparing.finetune(model, data, epochs, **settings)


def feeds(x: F32) -> dict[str, F32]:
    return {"input": x}


def logits(model: Model, x: F32) -> F32:
    return sparing.Session(model, threads=1).run(None, feeds(x))[0]


def accuracy(model: Model, data: tuple[F32, npt.NDArray[np.int64]]) -> float:
    return float((logits(model, data[0]).argmax(1) == data[1]).mean())


def torch_output(model: Model, inputs: dict[str, Any]) -> npt.NDArray[Any]:
    from sparing.compression.torch_graph import TorchGraph

    result = TorchGraph(training_form(model)).run(inputs, model.outputs[0].name, training=False)
    return np.asarray(result.detach())


def zero_masks(model: Model) -> dict[str, npt.NDArray[np.bool_]]:
    """Where the weights (not biases, scales and zero points) are zero."""
    arrays = {name: tensor.numpy() for name, tensor in model.weights.items()}
    return {n: a == 0 for n, a in arrays.items() if a.ndim > 1 and a.dtype in (np.float32, np.int8)}


def one_node(op_type: str, shapes: list[Any], opset: int = 17, **attributes: Any) -> Model:
    """A model of one operator; shapes: of the input, then of random weights, or constants."""
    rng = np.random.default_rng(1)
    weights = {
        f"w{i}": Tensor(
            np.asarray(s) if isinstance(s, np.ndarray) else rng.normal(0, 1, s).astype(np.float32)
        )
        for i, s in enumerate(shapes[1:])
    }
    f32 = np.dtype(np.float32)
    node = Node(op_type, ("x", *weights), ("y",), attributes)
    info = TensorInfo("x", f32, shapes[0])
    return Model((node,), (info,), (TensorInfo("y", f32, None),), weights, opset)


def scalar(value: float) -> F32:
    return np.asarray(value, np.float32)
