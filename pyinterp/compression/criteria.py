"""What each weight is worth: by its size, by what it multiplies, or by its part in the loss.

Arrays are [O, I, kernel...] (`Target.shape`), at least 0, and compare between layers.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

import numpy as np

from ..errors import InputError
from ..model import Array, Model, Node
from .allocation import Target
from .granularity import F64
from .layers import is_layer
from .layerwise import as_matrix
from .moments import Patches
from .spool import Spool
from .submodel import Runner


def magnitudes(model: Model, targets: Iterable[Target]) -> dict[str, F64]:
    """|w| (Han et al., 2015, arXiv:1506.02626) of a model with layers of the same labels, whose
    BatchNorm may not be folded.
    """
    layers = {node.label: node for node in model.nodes if is_layer(model, node)}
    found = {}
    for t in targets:
        node = layers[t.node.label]
        found[t.name] = np.abs(as_matrix(node, model.weights[node.inputs[1]].numpy()))
    return {t.name: found[t.name].reshape(t.shape) for t in targets}


def activation_shares(model: Model, targets: Iterable[Target], images: Spool) -> dict[str, F64]:
    """w^2 E[x^2], as a share of the layer's sum.

    Wanda (Sun et al., 2023, arXiv:2306.11695) ranks |w| ||x|| within rows; shares compare between
    layers too. images: feeds of the model, unlabelled.
    """
    listed = list(targets)
    squares = _mean_squares(model, [t.node for t in listed], images)
    shares = {}
    for t in listed:
        matrix = as_matrix(t.node, model.weights[t.name].numpy()).astype(np.float64)
        grouped = matrix.reshape(t.groups, -1, matrix.shape[1])
        energy = (grouped**2 * squares[t.node.label][:, None, :]).reshape(t.shape)
        total = energy.sum()
        shares[t.name] = energy / (total if total > 0 else 1.0)
    return shares


def _mean_squares(model: Model, nodes: list[Node], images: Spool) -> dict[str, F64]:
    """Label of a layer -> E[x^2] of what each weight of a row multiplies, [groups, K]."""
    sources = dict.fromkeys(node.inputs[0] for node in nodes)
    runner = Runner(model, (info.name for info in model.inputs), sources)
    patches = {n.label: Patches(n, model.weights[n.inputs[1]].numpy()) for n in nodes}
    sums: dict[str, F64] = {}
    counts = dict.fromkeys(patches, 0)
    for feeds in images:
        values = runner.run(feeds)
        for node in nodes:
            x = patches[node.label].take(values[node.inputs[0]])
            total = np.square(x, dtype=np.float64).sum(axis=2)
            sums[node.label] = sums.get(node.label, 0.0) + total
            counts[node.label] += x.shape[2]
    return {label: total / counts[label] for label, total in sums.items()}


def taylor(
    model: Model, targets: Iterable[Target], images: Spool, labels: Array, rows: bool = False
) -> dict[str, F64]:
    """E[(w dL/dw)^2] over labelled images, L being the cross-entropy: how much the loss moves when
    the weight goes, to first order (Molchanov et al., 2019, arXiv:1906.10771, equation 8).

    images: feeds of single images, as many as labels. rows: sum w dL/dw over each row before it is
    squared: the worth of output channels, [O]. Gradients come from PyTorch (extra `train`).
    Raises InputError where torch is missing or labels do not fit.
    """
    if importlib.util.find_spec("torch") is None:
        raise InputError("criterion 'taylor' needs PyTorch: pip install 'sparing[train]'")
    import torch

    from .torch_graph import TorchGraph
    from .training_form import training_form

    form = training_form(model)
    graph = TorchGraph(form, keep_zeros=False)
    parameters = dict(zip((*form.weights, *form.others), graph.learned(), strict=True))
    output = model.outputs[0].name
    last = form.graph.producers().get(output)
    if last is not None and last.op_type == "Softmax":
        output = last.inputs[0]
    listed = list(targets)
    if len(labels) != len(images):
        raise InputError(f"labels: expected one for each of {len(images)} images of calibration")
    sums: dict[str, F64] = {t.name: np.zeros(t.shape[:1] if rows else t.shape) for t in listed}
    for feeds, label in zip(images, labels, strict=True):
        logits = graph.run(feeds, output, training=False)
        if logits.ndim != 2 or not 0 <= int(label) < logits.shape[1]:
            raise InputError(f"labels: expected 0 to {logits.shape[-1] - 1}, got {label}")
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor([int(label)]))
        gradients = torch.autograd.grad(loss, [parameters[t.name] for t in listed])
        for t, gradient in zip(listed, gradients, strict=True):
            product = (gradient * parameters[t.name]).detach().numpy().astype(np.float64)
            moved = as_matrix(t.node, product)
            sums[t.name] += moved.sum(axis=1) ** 2 if rows else moved.reshape(t.shape) ** 2
    return {name: total / len(images) for name, total in sums.items()}
