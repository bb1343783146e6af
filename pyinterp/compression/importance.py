"""How much the network's answers suffer from errors of each output channel of a layer."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..evaluation import log_probabilities
from ..model import Array, Model, Node
from .gradients import Adjoints, backward
from .moments import F64
from .sensitivity import sampled
from .spool import Spool
from .submodel import Runner

IMAGES = 128  # that are looked at, at most
DIRECTIONS = 2  # an image: the last layers have few places to average over
LEAST = 0.1  # of the mean: what images did not show may matter for others


def row_importance(model: Model, layers: Iterable[Node], images: Spool) -> dict[str, F64]:
    """Label of a layer -> [O], with mean 1 + LEAST: the mean square of the answers' derivative by
    the channel's output, plus LEAST. images: feeds of the model, unlabelled.

    That is the diagonal of the Gauss-Newton matrix of the divergence of answers (Kullback-Leibler
    for class scores, squared error otherwise), estimated with random directions (Martens and
    Grosse, 2015, arXiv:1503.05671, section 2.2). Layers that deliver answers themselves are left
    out: every class is wanted, also those that no image shows.
    """
    ends = {_scores(model, info.name) for info in model.outputs}
    listed = [node for node in layers if node.outputs[0] not in ends]
    names = [name for node in model.nodes for name in node.outputs if name]
    runner = Runner(model, (info.name for info in model.inputs), names)
    rng, adjoints = np.random.default_rng(0), Adjoints()
    sums = {node.label: np.zeros(_channels(model, node)) for node in listed}
    with sampled(images, IMAGES) as rows:
        for feeds in rows:
            values = {**feeds, **runner.run(feeds)}
            for _ in range(DIRECTIONS):
                seeds = {name: _direction(values[name], rng) for name in ends}
                found = backward(model, values, seeds, adjoint=adjoints)
                for node in listed:
                    if node.outputs[0] in found:
                        sums[node.label] += _mean_squares(node, found[node.outputs[0]])
    return {label: _relative(total) for label, total in sums.items()}


def _mean_squares(node: Node, gradient: Array) -> F64:
    """[O], over all axes but the channels'."""
    channels = 1 if node.op_type == "Conv" else gradient.ndim - 1
    others = tuple(axis for axis in range(gradient.ndim) if axis != channels)
    squares: F64 = np.square(gradient, dtype=np.float64).mean(axis=others)
    return squares


def _relative(squares: F64) -> F64:
    mean = squares.mean()
    return squares / mean + LEAST if mean > 0 else np.ones(squares.shape)


def _channels(model: Model, node: Node) -> int:
    shape = model.weights[node.inputs[1]].shape
    if node.op_type == "MatMul" or (node.op_type == "Gemm" and not node.attributes.get("transB")):
        return shape[-1]
    return shape[0]


def _scores(model: Model, output: str) -> str:
    """What a Softmax at the end reads: its derivative by scores is known without rounding."""
    last = model.producers().get(output)
    return last.inputs[0] if last is not None and last.op_type == "Softmax" else output


def _direction(answers: Array, rng: np.random.Generator) -> Array:
    """A random vector whose covariance is the Hessian of the divergence at these answers."""
    noise = rng.standard_normal(answers.shape)
    if answers.ndim == 2 and answers.shape[1] > 1:
        p = np.exp(log_probabilities(answers))
        root = np.sqrt(p)
        direction = root * noise - p * (root * noise).sum(axis=1, keepdims=True)
    else:
        direction = noise / max(1e-30, float(np.linalg.norm(answers.astype(np.float64))))
    return direction.astype(answers.dtype)
