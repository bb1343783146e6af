"""Small ONNX models for the tests, built by hand with seeded weights.

They use `onnx.helper` alone, so that what a test reads was not written by the code under test.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

Dims = Sequence[int | str]

PREPROCESSING = {"size": 8, "crop": "center", "mean": [127.0], "std": [128.0], "layout": "NCHW"}
LABELS = ["bag", "boot", "shirt", "Mantel, größer"]


class GraphBuilder:
    """Collects nodes and initializers; every method returns the name of the value it adds."""

    def __init__(self, seed: int = 0, opset: int = 17) -> None:
        self.rng = np.random.default_rng(seed)
        self.opset = opset
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []

    def weight(self, name: str, array: npt.NDArray[Any]) -> str:
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def random(self, name: str, shape: Sequence[int], scale: float = 1.0) -> str:
        values = self.rng.normal(0.0, scale, shape)
        return self.weight(name, values.astype(np.float32))

    def add(self, op_type: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(
            helper.make_node(op_type, inputs, [output], name=f"{output}/node", **attributes)
        )
        return output

    def conv(
        self,
        x: str,
        name: str,
        shape: tuple[int, int, int, int],
        *,
        bias: bool = False,
        **attributes: Any,
    ) -> str:
        """Conv with He-normal weights of [O, I / groups, KH, KW]."""
        scale = float(np.sqrt(2.0 / np.prod(shape[1:])))
        inputs = [x, self.random(f"{name}.weight", shape, scale)]
        if bias:
            inputs.append(self.random(f"{name}.bias", shape[:1], 0.1))
        return self.add("Conv", inputs, name, **attributes)

    def batch_norm(self, x: str, name: str, channels: int) -> str:
        uniform = self.rng.uniform(0.5, 1.5, (2, channels)).astype(np.float32)
        inputs = [
            x,
            self.weight(f"{name}.scale", uniform[0]),
            self.random(f"{name}.shift", (channels,), 0.1),
            self.random(f"{name}.mean", (channels,), 0.1),
            self.weight(f"{name}.var", uniform[1]),
        ]
        return self.add("BatchNormalization", inputs, name, epsilon=1e-5)

    def finish(
        self,
        inputs: Mapping[str, tuple[int, Dims]],
        outputs: Mapping[str, tuple[int, Dims]],
        metadata: dict[str, Any] | None = None,
    ) -> ModelProto:
        """The checked model; inputs and outputs as {name: (TensorProto type, shape)}."""
        graph = helper.make_graph(
            self.nodes,
            "test",
            [helper.make_tensor_value_info(n, t, d) for n, (t, d) in inputs.items()],
            [helper.make_tensor_value_info(n, t, d) for n, (t, d) in outputs.items()],
            self.initializers,
        )
        imports = [helper.make_opsetid("", self.opset)]
        proto = helper.make_model(
            graph,
            opset_imports=imports,
            ir_version=max(4, helper.find_min_ir_version_for(imports)),
        )
        helper.set_model_props(
            proto, {f"sparing.{k}": json.dumps(v) for k, v in (metadata or {}).items()}
        )
        checker.check_model(proto, full_check=True)
        return proto


def residual_net(seed: int = 0, opset: int = 17) -> ModelProto:
    """Float: conv, BatchNorm and Relu, a residual block with a strided shortcut, Gemm on top.

    Input "input" f32 [N, 3, 8, 8], output "logits" f32 [N, 4]; with preprocessing and labels.
    """
    g = GraphBuilder(seed, opset)
    x = g.conv("input", "stem", (8, 3, 3, 3), pads=[1, 1, 1, 1])
    x = g.add("Relu", [g.batch_norm(x, "stem_bn", 8)], "stem_relu")
    y = g.conv(x, "conv1", (12, 8, 3, 3), pads=[1, 1, 1, 1], strides=[2, 2])
    y = g.add("Relu", [g.batch_norm(y, "conv1_bn", 12)], "conv1_relu")
    y = g.conv(y, "conv2", (12, 12, 3, 3), pads=[1, 1, 1, 1])
    y = g.batch_norm(y, "conv2_bn", 12)
    shortcut = g.conv(x, "shortcut", (12, 8, 1, 1), strides=[2, 2], bias=True)
    x = g.add("Relu", [g.add("Add", [y, shortcut], "sum")], "sum_relu")
    x = g.add("Flatten", [g.add("GlobalAveragePool", [x], "pool")], "flat")
    head = [x, g.random("head.weight", (4, 12), 0.3), g.random("head.bias", (4,), 0.1)]
    g.add("Gemm", head, "logits", transB=1)
    return g.finish(
        {"input": (TensorProto.FLOAT, ["N", 3, 8, 8])},
        {"logits": (TensorProto.FLOAT, ["N", 4])},
        {"preprocessing": PREPROCESSING, "labels": LABELS},
    )


def depthwise_net(seed: int = 0, opset: int = 17) -> ModelProto:
    """Float, MobileNetV2's block: 1x1 up, depthwise 3x3 stride 2, 1x1 down, twice, with Relu6.

    Input "input" f32 [N, 3, 9, 9] (odd, so that the strided edge is uneven), output "logits"
    f32 [N, 4].
    """
    g = GraphBuilder(seed, opset)
    low, high = g.weight("zero", np.float32(0)), g.weight("six", np.float32(6))
    x, channels = "input", 3
    for block, (wide, out) in enumerate([(16, 8), (24, 10)]):
        x = g.conv(x, f"up{block}", (wide, channels, 1, 1), bias=True)
        x = g.add("Clip", [x, low, high], f"up{block}_relu6")
        x = g.conv(
            x,
            f"depthwise{block}",
            (wide, 1, 3, 3),
            bias=True,
            group=wide,
            pads=[1, 1, 1, 1],
            strides=[2, 2],
        )
        x = g.add("Clip", [x, low, high], f"depthwise{block}_relu6")
        x = g.conv(x, f"down{block}", (out, wide, 1, 1), bias=True)
        channels = out
    x = g.add("Flatten", [g.add("GlobalAveragePool", [x], "pool")], "flat")
    head = [x, g.random("head.weight", (4, channels), 0.3), g.random("head.bias", (4,), 0.1)]
    g.add("Gemm", head, "logits", transB=1)
    return g.finish(
        {"input": (TensorProto.FLOAT, ["N", 3, 9, 9])},
        {"logits": (TensorProto.FLOAT, ["N", 4])},
    )


def qdq_net(seed: int = 0, opset: int = 17) -> ModelProto:
    """Quantized as QDQ: two convs with a residual Add, pooling and a Gemm.

    Activations are asymmetric u8, weights s8 per output channel, biases int32 with scale
    sx * sw. Input "input" f32 [N, 3, 8, 8], output "logits" f32 [N, 4].
    """
    g = GraphBuilder(seed, opset)

    def quantized(x: str, scale: float, zero_point: int) -> str:
        pair = [
            g.weight(f"{x}.scale", np.float32(scale)),
            g.weight(f"{x}.zero_point", np.uint8(zero_point)),
        ]
        q = g.add("QuantizeLinear", [x, *pair], f"{x}_q")
        return g.add("DequantizeLinear", [q, *pair], f"{x}_dq")

    def parameters(name: str, shape: tuple[int, ...], x_scale: float) -> list[str]:
        weight = g.rng.integers(-127, 128, shape).astype(np.int8)
        bias = g.rng.integers(-2000, 2000, shape[0]).astype(np.int32)
        scale = g.rng.uniform(0.001, 0.004, shape[0]).astype(np.float32)
        scales = g.weight(f"{name}.weight_scale", scale)
        bias_scale = np.float32(x_scale) * scale
        inputs = {
            "weight": [g.weight(f"{name}.weight", weight), scales],
            "bias": [
                g.weight(f"{name}.bias", bias),
                g.weight(f"{name}.bias_scale", bias_scale),
            ],
        }
        return [
            g.add("DequantizeLinear", values, f"{name}.{key}_dq", axis=0)
            for key, values in inputs.items()
        ]

    x = quantized("input", 0.02, 121)
    x = g.add("Conv", [x, *parameters("conv1", (8, 3, 3, 3), 0.02)], "conv1", pads=[1, 1, 1, 1])
    x = quantized(g.add("Relu", [x], "conv1_relu"), 0.03, 0)
    y = g.add("Conv", [x, *parameters("conv2", (8, 8, 3, 3), 0.03)], "conv2", pads=[1, 1, 1, 1])
    y = quantized(y, 0.05, 133)
    x = quantized(g.add("Add", [y, x], "sum"), 0.06, 101)
    x = quantized(g.add("GlobalAveragePool", [x], "pool"), 0.04, 110)
    x = g.add("Flatten", [x], "flat")
    g.add("Gemm", [x, *parameters("head", (4, 8), 0.04)], "logits", transB=1)
    return g.finish(
        {"input": (TensorProto.FLOAT, ["N", 3, 8, 8])},
        {"logits": (TensorProto.FLOAT, ["N", 4])},
        {"preprocessing": PREPROCESSING, "labels": LABELS, "recipe": {"quantize": {"bits": 8}}},
    )
