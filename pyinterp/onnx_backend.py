"""The reference runtime as an ONNX backend, the interface of `onnx.backend.test`.

Use: `sparing.onnx_backend.prepare(model_proto).run([array, ...])`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onnx import ModelProto
from onnx.backend.base import Backend, BackendRep

from .errors import InputError
from .formats.onnx_reader import read_onnx
from .interpreter import run_graph
from .model import Array, Model
from .ops import check_supported


class PreparedModel(BackendRep):  # type: ignore[misc]
    """A model that has been read and checked."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def run(self, inputs: Sequence[Array], **kwargs: Any) -> tuple[Array, ...]:
        """One array for each input of the model, in order -> its outputs, in order.

        Raises InputError for a wrong number of inputs, otherwise what `run_graph` raises.
        """
        names = [info.name for info in self.model.inputs]
        if len(inputs) != len(names):
            raise InputError(f"expected {len(names)} inputs {names}, got {len(inputs)}")
        results = run_graph(self.model, dict(zip(names, inputs, strict=True)))
        return tuple(results[info.name] for info in self.model.outputs)


class SparingBackend(Backend):  # type: ignore[misc]
    """Reads ONNX models and runs their graph with the NumPy operators."""

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> PreparedModel:
        """Raises FormatError, ModelError or UnsupportedOperatorError, before anything runs."""
        prepared = read_onnx(model)
        check_supported(prepared)
        return PreparedModel(prepared)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return device == "CPU"


prepare = SparingBackend.prepare
run_model = SparingBackend.run_model
supports_device = SparingBackend.supports_device
