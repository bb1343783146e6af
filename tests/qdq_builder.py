"""Build QDQ models by hand: every value has a scale, and layers stand between DQ and Q nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from models import GraphBuilder
from onnx import ModelProto, TensorProto

from sparing.formats.onnx_reader import read_onnx
from sparing.model import Model

SCALE = 0.03


class QdqBuilder(GraphBuilder):
    """`quantize` returns a dequantized value: what quantized layers read and hand on."""

    def __init__(self, seed: int = 0, dtype: Any = np.uint8) -> None:
        super().__init__(seed, opset=17)
        self.dtype = np.dtype(dtype)

    def quantize(
        self, x: str, name: str, *, scale: float = SCALE, zero_point: int | None = None
    ) -> str:
        default = 0 if self.dtype == np.int8 else 120
        zero = self.dtype.type(default if zero_point is None else zero_point)
        parameters = [
            self.weight(f"{name}.scale", np.float32(scale)),
            self.weight(f"{name}.zero", np.asarray(zero)),
        ]
        q = self.add("QuantizeLinear", [x, *parameters], f"{name}.q")
        return self.add("DequantizeLinear", [q, *parameters], name)

    def q_weight(self, name: str, shape: tuple[int, ...], scale: float = 0.01) -> str:
        values = self.rng.integers(-127, 128, shape).astype(np.int8)
        scales = (scale * self.rng.uniform(0.5, 1.5, shape[0])).astype(np.float32)
        inputs = [
            self.weight(f"{name}.q", values),
            self.weight(f"{name}.scale", scales),
            self.weight(f"{name}.zero", np.zeros(shape[0], np.int8)),
        ]
        return self.add("DequantizeLinear", inputs, name, axis=0)

    def q_conv(
        self, x: str, name: str, shape: tuple[int, ...], *, bias: bool = True, **attributes: Any
    ) -> str:
        """A convolution of quantized weights; its bias is a float constant."""
        inputs = [x, self.q_weight(f"{name}.weight", shape)]
        if bias:
            inputs.append(self.random(f"{name}.bias", shape[:1], 0.2))
        return self.add("Conv", inputs, name, **attributes)

    def model(self, shape: tuple[int | str, ...], output: str, rank: int = 4) -> Model:
        return read_onnx(self.proto(shape, output, rank))

    def proto(self, shape: tuple[int | str, ...], output: str, rank: int = 4) -> ModelProto:
        dims = tuple(f"d{i}" for i in range(rank))
        return self.finish(
            {"input": (TensorProto.FLOAT, shape)}, {output: (TensorProto.FLOAT, dims)}
        )


def feeds_for(model: Model, batch: int = 2, seed: int = 0) -> dict[str, npt.NDArray[Any]]:
    """Normal random inputs; symbolic dimensions get `batch`."""
    rng = np.random.default_rng(seed)
    return {
        info.name: rng.standard_normal(
            tuple(d if isinstance(d, int) else batch for d in info.shape or ())
        ).astype(info.dtype)
        for info in model.inputs
    }
