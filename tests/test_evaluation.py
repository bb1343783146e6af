"""Measures of quality, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from models import residual_net
from qdq_builder import feeds_for

import sparing
from sparing.errors import InputError
from sparing.evaluation import SignalToNoise, class_scores, log_probabilities
from sparing.formats.onnx_reader import read_onnx


def test_log_probabilities_of_scores_and_of_probabilities() -> None:
    scores = np.log(np.array([[1.0, 3.0], [2.0, 2.0]])).astype(np.float32) + np.float32(5)
    want = np.log([[0.25, 0.75], [0.5, 0.5]])
    assert np.abs(log_probabilities(scores) - want).max() < 1e-6  # float32 input
    assert np.array_equal(log_probabilities(np.exp(want)), np.log(np.exp(want)))
    assert log_probabilities(np.array([[1.0, 0.0]]))[0, 1] == -np.inf
    assert np.array_equal(log_probabilities(np.array([[1e4, 0.0]])), [[0.0, -1e4]])


def test_signal_to_noise_in_decibels() -> None:
    ratio = SignalToNoise()
    assert ratio.decibels() == np.inf
    ratio.add(np.array([9.0]), np.array([10.0]))  # signal 100, noise 1
    assert ratio.decibels() == 20
    nothing = SignalToNoise()
    nothing.add(np.array([1.0]), np.array([0.0]))
    assert nothing.decibels() == -np.inf


def test_class_scores_of_other_shapes() -> None:
    assert class_scores(np.zeros((2, 5, 1, 1))).shape == (2, 5)
    for shape in ((2, 5, 3), (4,), (2, 0)):
        with pytest.raises(InputError, match="expected class scores"):
            class_scores(np.zeros(shape))


def test_evaluate_counts_hits_agreement_and_divergence() -> None:
    model = read_onnx(residual_net())
    other = read_onnx(residual_net(seed=1))
    feeds = [feeds_for(model, batch=n, seed=n) for n in (3, 2)]
    scores, others = (
        np.concatenate([sparing.Session(m, backend="numpy").run(None, f)[0] for f in feeds])
        for m in (model, other)
    )
    labels = scores.argmax(1).copy()
    labels[0] = (labels[0] + 1) % 4
    seen: list[int] = []
    found = sparing.evaluate(model, feeds, labels, other, backend="numpy", progress=seen.append)
    assert (found.images, seen) == (5, [3, 2])
    assert found.top1 == 0.8
    assert found.other_top1 == np.mean(others.argmax(1) == labels)
    assert found.agreement == np.mean(scores.argmax(1) == others.argmax(1))
    p, q = (np.exp(s.astype(np.float64)) for s in (others, scores))
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    # the same float64 arithmetic in another order
    assert found.kl_divergence == pytest.approx((p * np.log(p / q)).sum(1).mean(), rel=1e-9)
    noise = np.square(others.astype(np.float64) - scores).sum()
    want = 10 * np.log10(np.square(others.astype(np.float64)).sum() / noise)
    assert found.sqnr_db == pytest.approx(want, rel=1e-12)


def test_evaluate_refuses_what_cannot_be_compared() -> None:
    model = read_onnx(residual_net())
    feeds = [feeds_for(model, batch=2)]
    with pytest.raises(InputError, match="labels or another model"):
        sparing.evaluate(model, feeds)
    with pytest.raises(InputError, match="a label for every image"):
        sparing.evaluate(model, feeds, [1])
    with pytest.raises(InputError, match="at least one image"):
        sparing.evaluate(model, [], [1])
