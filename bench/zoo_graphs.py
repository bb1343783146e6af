"""The graphs of the zoo's untrained networks and layers, with He-normal weights of seed 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import InputError
from ..formats.onnx_reader import read_onnx
from ..model import Model
from .shapes import Layer

CLASSES = 1000
BRANCH_GAIN = 0.25  # of the last layer of a residual branch: keeps the sum's variance bounded


class _Graph:
    """Collects ONNX nodes; methods take and give names of values."""

    def __init__(self) -> None:
        try:
            import onnx
        except ImportError as error:
            raise InputError("the zoo needs the package onnx: pip install onnx") from error
        self._onnx = onnx
        self._rng = np.random.default_rng(0)
        self._nodes: list[Any] = []
        self._weights: list[Any] = []
        self._channels = {"input": 3}

    def add(self, op_type: str, inputs: list[str], name: str, **attributes: Any) -> str:
        node = self._onnx.helper.make_node(op_type, inputs, [name], name=name, **attributes)
        self._nodes.append(node)
        self._channels[name] = self._channels[inputs[0]]
        return name

    def weight(self, name: str, shape: tuple[int, ...], scale: float) -> str:
        values = self._rng.standard_normal(shape, np.float32) * np.float32(scale)
        self._weights.append(self._onnx.numpy_helper.from_array(values, name))
        return name

    def conv(
        self,
        x: str,
        name: str,
        outputs: int,
        kernel: int,
        stride: int = 1,
        *,
        depthwise: bool = False,
        gain: float = 1.0,
    ) -> str:
        """Conv with bias, padded to keep the size. Weights He-normal: variance 2 / inputs."""
        per_group = 1 if depthwise else self._channels[x]
        scale = gain * float(np.sqrt(2 / (per_group * kernel**2)))
        weight = self.weight(f"{name}/weight", (outputs, per_group, kernel, kernel), scale)
        inputs = [x, weight, self.weight(f"{name}/bias", (outputs,), 0.05)]
        self.add(
            "Conv",
            inputs,
            name,
            strides=[stride] * 2,
            pads=[kernel // 2] * 4,
            group=outputs if depthwise else 1,
        )
        self._channels[name] = outputs
        return name

    def relu(self, x: str) -> str:
        return self.add("Relu", [x], f"{x}/relu")

    def relu6(self, x: str) -> str:
        if not any(tensor.name == "six" for tensor in self._weights):
            for name, value in (("zero", 0), ("six", 6)):
                tensor = self._onnx.numpy_helper.from_array(np.float32(value), name)
                self._weights.append(tensor)
        return self.add("Clip", [x, "zero", "six"], f"{x}/relu6")

    def max_pool(self, x: str, kernel: int, pad: int) -> str:
        shape = {"kernel_shape": [kernel] * 2, "strides": [2, 2], "pads": [pad] * 4}
        return self.add("MaxPool", [x], f"{x}/pool", **shape)

    def channels(self, x: str) -> int:
        return self._channels[x]

    def classifier(self, x: str, size: int) -> Model:
        """Global average pooling and one dense layer; the finished model of square images."""
        pooled = self.add("GlobalAveragePool", [x], "pool")
        flat = self.add("Flatten", [pooled], "flat")
        inputs = self._channels[x]
        weight = self.weight("fc/weight", (CLASSES, inputs), float(np.sqrt(1 / inputs)))
        self.add(
            "Gemm", [flat, weight, self.weight("fc/bias", (CLASSES,), 0.05)], "logits", transB=1
        )
        return self.finish("logits", ["batch", 3, size, size], ["batch", CLASSES])

    def finish(self, output: str, input_shape: list[Any], output_shape: list[Any]) -> Model:
        helper, float32 = self._onnx.helper, self._onnx.TensorProto.FLOAT
        graph = helper.make_graph(
            self._nodes,
            "zoo",
            [helper.make_tensor_value_info("input", float32, input_shape)],
            [helper.make_tensor_value_info(output, float32, output_shape)],
            self._weights,
        )
        imports = [helper.make_opsetid("", 17)]
        return read_onnx(helper.make_model(graph, opset_imports=imports, ir_version=8))


def _resnet(
    size: int, blocks: tuple[int, ...], block: Callable[[_Graph, str, str, int, int], str]
) -> Model:
    g = _Graph()
    x = g.max_pool(g.relu(g.conv("input", "conv1", 64, 7, 2)), 3, 1)
    for stage, count in enumerate(blocks):
        for i in range(count):
            stride = 2 if stage and not i else 1
            x = block(g, x, f"stage{stage + 1}/block{i + 1}", 64 * 2**stage, stride)
    return g.classifier(x, size)


def _shortcut(g: _Graph, x: str, name: str, outputs: int, stride: int) -> str:
    if g.channels(x) == outputs and stride == 1:
        return x
    return g.conv(x, f"{name}/shortcut", outputs, 1, stride)


def _basic_block(g: _Graph, x: str, name: str, width: int, stride: int) -> str:
    y = g.relu(g.conv(x, f"{name}/conv1", width, 3, stride))
    y = g.conv(y, f"{name}/conv2", width, 3, gain=BRANCH_GAIN)
    return g.relu(g.add("Add", [y, _shortcut(g, x, name, width, stride)], f"{name}/add"))


def _bottleneck(g: _Graph, x: str, name: str, width: int, stride: int) -> str:
    y = g.relu(g.conv(x, f"{name}/conv1", width, 1))
    y = g.relu(g.conv(y, f"{name}/conv2", width, 3, stride))
    y = g.conv(y, f"{name}/conv3", 4 * width, 1, gain=BRANCH_GAIN)
    return g.relu(g.add("Add", [y, _shortcut(g, x, name, 4 * width, stride)], f"{name}/add"))


def resnet18(size: int = 224) -> Model:
    return _resnet(size, (2, 2, 2, 2), _basic_block)


def resnet50(size: int = 224) -> Model:
    return _resnet(size, (3, 4, 6, 3), _bottleneck)


# expansion, output channels, repetitions, stride of the first: table 2 of the paper
_MOBILENET_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2(size: int = 224) -> Model:
    g = _Graph()
    x = g.relu6(g.conv("input", "conv1", 32, 3, 2))
    number = 0
    for expansion, outputs, count, first_stride in _MOBILENET_V2:
        for i in range(count):
            number += 1
            x = _inverted_residual(
                g, x, f"block{number}", expansion, outputs, 1 if i else first_stride
            )
    return g.classifier(g.relu6(g.conv(x, "conv_last", 1280, 1)), size)


def _inverted_residual(
    g: _Graph, x: str, name: str, expansion: int, outputs: int, stride: int
) -> str:
    wide = g.channels(x) * expansion
    y = x if expansion == 1 else g.relu6(g.conv(x, f"{name}/expand", wide, 1))
    y = g.relu6(g.conv(y, f"{name}/depthwise", wide, 3, stride, depthwise=True))
    residual = stride == 1 and g.channels(x) == outputs
    y = g.conv(y, f"{name}/project", outputs, 1, gain=BRANCH_GAIN if residual else 1.0)
    return g.add("Add", [y, x], f"{name}/add") if residual else y


def vgg11(size: int = 224) -> Model:
    g = _Graph()
    x, number = "input", 0
    for outputs, count in ((64, 1), (128, 1), (256, 2), (512, 2), (512, 2)):
        for _ in range(count):
            number += 1
            x = g.relu(g.conv(x, f"conv{number}", outputs, 3))
        x = g.max_pool(x, 2, 0)
    return g.classifier(x, size)


def single_layer(layer: Layer) -> Model:
    """One convolution alone, of the shape of a layer of bench/shapes."""
    g = _Graph()
    per_group = layer.channels // layer.groups
    scale = float(np.sqrt(2 / (per_group * layer.kernel[0] * layer.kernel[1])))
    inputs = ["input", g.weight("weight", (layer.outputs, per_group, *layer.kernel), scale)]
    inputs.append(g.weight("bias", (layer.outputs,), 0.05))
    y = g.add(
        "Conv",
        inputs,
        layer.name,
        strides=[layer.stride] * 2,
        pads=list(layer.pads),
        group=layer.groups,
    )
    shape = [1, layer.channels, layer.height, layer.width]
    return g.finish(y, shape, [1, layer.outputs, None, None])
