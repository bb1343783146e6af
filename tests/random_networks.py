"""Random CNNs that mix what real ones mix: residuals, gates, concats, shuffles, pools, resizes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from models import GraphBuilder
from onnx import TensorProto

from sparing.formats.onnx_reader import read_onnx
from sparing.model import Model

Shape = tuple[int, int, int]  # channels, height, width


class RandomNetwork(GraphBuilder):
    """Grows by one random block after another; `shapes` knows every value's [C, H, W]."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, opset=17)
        self.count = 0
        channels, height, width = (int(n) for n in self.rng.integers((1, 7, 7), (5, 20, 20)))
        self.shapes: dict[str, Shape] = {"input": (channels, height, width)}

    def fresh(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def pick(self, *choices: int) -> int:
        return int(self.rng.choice(choices))

    def put(self, op: str, inputs: list[str], shape: Shape, **attributes: object) -> str:
        name = self.add(op, inputs, self.fresh(op.lower()), **attributes)
        self.shapes[name] = shape
        return name

    # ---- blocks: each takes a value and returns a new one ----

    def layer(self, x: str, outputs: int = 0, stride: int = 0, groups: int = 1) -> str:
        channels, height, width = self.shapes[x]
        kernel, dilation = self.pick(1, 1, 3, 3, 5), self.pick(1, 1, 1, 2)
        stride = stride or self.pick(1, 1, 2)
        outputs = outputs or self.pick(3, 8, 16, 20, 33)
        pad = (kernel - 1) * dilation // 2
        sizes = [(n + 2 * pad - (kernel - 1) * dilation - 1) // stride + 1 for n in (height, width)]
        name = self.fresh("conv")
        self.conv(
            x,
            name,
            (outputs, channels // groups, kernel, kernel),
            bias=bool(self.pick(0, 1)),
            strides=[stride, stride],
            pads=[pad] * 4,
            dilations=[dilation, dilation],
            group=groups,
        )
        self.shapes[name] = (outputs, sizes[0], sizes[1])
        if self.pick(0, 1):
            normal = self.batch_norm(name, self.fresh("bn"), outputs)
            self.shapes[normal] = self.shapes[name]
            name = normal
        return self.activation(name)

    def depthwise(self, x: str) -> str:
        channels = self.shapes[x][0]
        return self.layer(x, outputs=channels, groups=channels)

    def activation(self, x: str) -> str:
        shape = self.shapes[x]
        kind = self.pick(0, 0, 1, 2, 3, 4, 5)
        if kind == 0:
            return self.put("Relu", [x], shape)
        if kind == 1:
            low, high = (self.weight(self.fresh("bound"), np.float32(b)) for b in (0, 6))
            return self.put("Clip", [x, low, high], shape)
        if kind == 2:
            return self.put("HardSwish", [x], shape)
        if kind == 3:
            gate = self.put("Sigmoid", [x], shape)
            return self.put("Mul", [x, gate], shape)
        if kind == 4:
            return self.put("LeakyRelu", [x], shape, alpha=0.1)
        return x

    def residual(self, x: str) -> str:
        channels = self.shapes[x][0]
        branch = self.layer(self.layer(x, stride=1), outputs=channels, stride=1)
        return self.activation(self.put("Add", [branch, x], self.shapes[x]))

    def gate(self, x: str) -> str:
        """Squeeze and excite."""
        channels, _, _ = self.shapes[x]
        mean = self.put("GlobalAveragePool", [x], (channels, 1, 1))
        hidden = self.put("Relu", [self._pointwise(mean, 4)], (4, 1, 1))
        last = self.put("HardSigmoid", [self._pointwise(hidden, channels)], (channels, 1, 1))
        return self.put("Mul", [x, last], self.shapes[x])

    def _pointwise(self, x: str, outputs: int) -> str:
        name = self.fresh("conv")
        self.conv(x, name, (outputs, self.shapes[x][0], 1, 1), bias=True)
        self.shapes[name] = (outputs, *self.shapes[x][1:])
        return name

    def branches(self, x: str) -> str:
        parts = [self.layer(x, stride=1), self.layer(x, stride=1), x][: self.pick(2, 3)]
        channels = sum(self.shapes[part][0] for part in parts)
        return self.put("Concat", parts, (channels, *self.shapes[x][1:]), axis=1)

    def pool(self, x: str) -> str:
        channels, height, width = self.shapes[x]
        kind = "MaxPool" if self.pick(0, 1) else "AveragePool"
        size = ((height + 1) // 2, (width + 1) // 2)
        attributes = dict(kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        return self.put(kind, [x], (channels, *size), **attributes)

    def resize(self, x: str) -> str:
        channels, height, width = self.shapes[x]
        scales = self.weight(self.fresh("scales"), np.array([1, 1, 2, 2], np.float32))
        name = self.fresh("resize")
        self.add(
            "Resize",
            [x, "", scales],
            name,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
        self.shapes[name] = (channels, 2 * height, 2 * width)
        return name

    def shuffle(self, x: str) -> str:
        """Channel shuffle by two groups (ShuffleNet)."""
        channels, height, width = self.shapes[x]
        if channels % 2:
            return x
        split = self.weight(self.fresh("dims"), np.array([0, 2, channels // 2, height, width]))
        merged = self.weight(self.fresh("dims"), np.array([0, channels, height, width]))
        five = self.add("Reshape", [x, split], self.fresh("reshape"))
        swapped = self.add("Transpose", [five], self.fresh("transpose"), perm=[0, 2, 1, 3, 4])
        return self.put("Reshape", [swapped, merged], (channels, height, width))

    def head(self, x: str) -> str:
        channels = self.shapes[x][0]
        mean = self.put("GlobalAveragePool", [x], (channels, 1, 1))
        flat = self.add("Flatten", [mean], self.fresh("flat"))
        weight = self.random(self.fresh("weight"), (7, channels), 1 / np.sqrt(channels))
        return self.add("Gemm", [flat, weight, self.random("bias", (7,))], "logits", transB=1)


def random_network(seed: int) -> Model:
    """A model of input [n, C, H, W] and output "logits" [n, 7]."""
    net = RandomNetwork(seed)
    blocks: tuple[Callable[[str], str], ...] = (
        *(net.layer, net.layer, net.depthwise, net.residual, net.gate),
        *(net.branches, net.pool, net.resize, net.shuffle),
    )
    x = net.layer("input")
    for _ in range(int(net.rng.integers(3, 8))):
        big = np.prod(net.shapes[x]) > 20000
        block = net.pool if big else blocks[int(net.rng.integers(len(blocks)))]
        x = block(x)
    net.head(x)
    shape = ("n", *net.shapes["input"])
    return read_onnx(
        net.finish({"input": (TensorProto.FLOAT, shape)}, {"logits": (TensorProto.FLOAT, ("n", 7))})
    )
