"""Random networks end to end: float, quantized, pruned, on every backend."""

from __future__ import annotations

import numpy as np
import pytest
from qdq_builder import feeds_for
from random_networks import random_network

import sparing
from sparing.interpreter import run_graph
from sparing.kernels.registry import available_backends
from sparing.model import Model
from sparing.session import Session

SEEDS = range(16)
FAST = [backend for backend in available_backends() if backend != "numpy"]


def compressed(seed: int) -> Model:
    """Quantized to 7 or 8 bits; every third one is pruned first."""
    model = random_network(seed)
    bits = 7 + seed % 2
    source = sparing.prune(model, sparsity=0.6) if seed % 3 == 0 else model
    calibration = [feeds_for(model, 4, seed) for seed in range(3)]
    return sparing.quantize(source, calibration, weight_bits=bits, activation_bits=bits)


@pytest.mark.parametrize("seed", SEEDS)
def test_float_sessions_follow_the_graph(seed: int) -> None:
    model = random_network(seed)
    feeds = feeds_for(model, 2, seed)
    want = run_graph(model, feeds)["logits"]
    for backend in available_backends():
        (got,) = Session(model, backend=backend).run(None, feeds)
        # some twenty layers of sums below 1000 terms: float32 errors stay far below 1e-4
        assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()


@pytest.mark.parametrize("seed", SEEDS)
def test_integer_sessions_are_equal_and_follow_the_graph(seed: int) -> None:
    model = compressed(seed)
    feeds = feeds_for(model, 2, seed)
    reference = Session(model, backend="numpy")
    assert not any(step.operator == "ConvF32" for step in reference.explain().steps)
    (want,) = reference.run(None, feeds)
    for backend in FAST:
        for threads in (1, 2):
            (got,) = Session(model, backend=backend, threads=threads).run(None, feeds)
            assert np.array_equal(got, want), backend
    graph = run_graph(model, feeds)["logits"]
    # The graph sums floats: a value on a rounding tie may fall to the other side, one quantum off,
    # and pass on. A wrong operator is off by much more than a fiftieth of the range.
    assert np.abs(want - graph).max() <= 0.02 * np.ptp(graph) + 1e-6
