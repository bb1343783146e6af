"""What the tests of the search share: a small network, images, and scores that can be pickled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import models
import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from sparing.formats.onnx_reader import read_onnx
from sparing.model import Model
from sparing.session import Session

Feeds = dict[str, npt.NDArray[np.float32]]

FEW: dict[str, Any] = {"sparsities": (0.0, 0.8), "backend": "numpy", "threads": 1}


def network() -> Model:
    """Two convolutions and a Gemm; input f32 [N, 3, 8, 8], output f32 [N, 4]."""
    g = models.GraphBuilder(0)
    x = g.add("Relu", [g.conv("input", "stem", (16, 3, 3, 3), pads=[1, 1, 1, 1])], "stem_relu")
    y = g.conv(x, "conv", (16, 16, 3, 3), pads=[1, 1, 1, 1], strides=[2, 2])
    y = g.add("GlobalAveragePool", [g.add("Relu", [y], "conv_relu")], "pool")
    head = [g.add("Flatten", [y], "flat"), g.random("head.weight", (4, 16), 0.3)]
    g.add("Gemm", head, "logits", transB=1)
    return read_onnx(
        g.finish(
            {"input": (TensorProto.FLOAT, ["N", 3, 8, 8])},
            {"logits": (TensorProto.FLOAT, ["N", 4])},
        )
    )


def images(count: int, seed: int) -> list[Feeds]:
    rng = np.random.default_rng(seed)
    return [{"input": rng.normal(size=(8, 3, 8, 8)).astype(np.float32)} for _ in range(count // 8)]


@dataclass(frozen=True, eq=False)
class Agreement:
    """The share of images whose highest score is the one in `wanted`. calls: a file that gets a
    byte with each call, from whatever process."""

    feeds: list[Feeds]
    wanted: npt.NDArray[np.int64]
    calls: Path | None = None

    def __call__(self, session: Session) -> float:
        if self.calls is not None:
            with self.calls.open("ab") as file:
                file.write(b".")
        got = np.concatenate([session.run(None, feeds)[0].argmax(1) for feeds in self.feeds])
        return float((got == self.wanted).mean())


def agreement(model: Model, calls: Path | None = None) -> Agreement:
    feeds = images(104, seed=1)
    session = Session(model, "numpy")
    wanted = np.concatenate([session.run(None, feed)[0].argmax(1) for feed in feeds])
    return Agreement(feeds, wanted, calls)


@dataclass(frozen=True)
class Constant:
    """A score that does not depend on the session."""

    score: Any

    def __call__(self, session: Session) -> Any:
        return self.score
