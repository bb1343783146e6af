"""Whole models on every backend, for pytest-benchmark: `pytest bench/bench_models.py`.

    SPARING_BENCH_MODELS=resnet50:w8a8,resnet50:w7a8:s90 pytest ...   # names of the zoo
    SPARING_BENCH_THREADS=2 pytest ... --benchmark-json=out.json

`extra_info` in the JSON holds multiply-accumulates and the dense-equivalent rate. To compare models
and engines in one table use `sparing bench`, where they take turns.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

import pytest

from sparing.bench import zoo
from sparing.kernels.registry import Backend, available_backends
from sparing.model import Model
from sparing.noise import noise_feeds
from sparing.session import Session
from sparing.summary import default_shapes, summarize

MODELS = os.environ.get("SPARING_BENCH_MODELS", "resnet8,resnet8:w8a8,resnet18:w8a8").split(",")
THREADS = int(os.environ.get("SPARING_BENCH_THREADS", "1"))


@lru_cache(maxsize=1)
def _model(name: str) -> Model:
    return zoo.build(name)


@pytest.mark.parametrize("backend", [name for name in available_backends() if name != "numpy"])
@pytest.mark.parametrize("name", MODELS)
def bench_model(name: str, backend: Backend, benchmark: Any) -> None:
    model = _model(name)
    session = Session(model, backend, THREADS)
    feeds = noise_feeds(model.inputs, default_shapes(model))
    session.run(None, feeds)  # warm-up: Numba compiles
    benchmark(session.run, None, feeds)
    macs = summarize(model).macs
    benchmark.extra_info["macs"] = macs
    benchmark.extra_info["threads"] = THREADS
    if benchmark.stats is not None:  # None with --benchmark-disable
        benchmark.extra_info["dense_gmacs"] = macs / benchmark.stats.stats.median / 1e9
