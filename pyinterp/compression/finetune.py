"""Fine-tuning: train a compressed model on labelled data, so that it regains what it lost.

Pruned weights stay zero, and quantized layers compute with rounded weights and activations while
they learn (quantization-aware training, Jacob et al., 2018, arXiv:1712.05877). PyTorch does the
work; it comes with the extra `train`.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .. import console
from ..cpus import usable_cpus
from ..errors import InputError
from ..fold import simplify
from ..model import Model
from .layers import recorded
from .renormalize import normalized
from .training_data import Batch, Dataset, TrainingData, training_data
from .training_form import TrainingForm, training_form, with_trained

if TYPE_CHECKING:
    import torch

    from .torch_graph import TorchGraph

Progress: TypeAlias = Callable[[int, float], None]

WARM_UP = 0.05  # of all steps
WEIGHT_DECAY = 1e-4
LARGEST_GRADIENT = 1.0  # L2 norm over all parameters; longer ones are scaled down to it
TEMPERATURE = 3.0
TEACHER_SHARE = 0.7  # of the loss; the labels have the rest


def finetune(
    model: Model,
    dataset: Dataset,
    epochs: int = 1,
    *,
    learning_rate: float = 1e-3,
    batch_size: int = 128,
    teacher: Model | None = None,
    batch_norm: bool = True,
    keep_zeros: bool = True,
    seed: int = 0,
    threads: int | None = None,
    progress: Progress | bool = False,
) -> Model:
    """A new model of the same kind (float or QDQ) whose weights are trained to classify.

    dataset: arrays (images, labels), labelled `sparing.images`, or an iterable of (feeds, labels)
    that can be read once an epoch, e.g. with other augmentations each time. Images are float32 as
    the model takes them, labels integers [N]; the model's first output is logits (or Softmax of
    them) [N, classes]. batch_size: for arrays.
    teacher: a model with the same classes, usually the uncompressed one: the loss is then
    cross-entropy to the labels plus divergence from the teacher's softened answers (Hinton et al.,
    2015, arXiv:1503.02531). batch_norm: put BatchNorm behind the convolutions of a float model for
    the time of the training; with batches of a few images better not. keep_zeros: zero weights stay
    zero; only a quantized model that was never pruned gains from False.
    Weights and biases of Conv, Gemm and MatMul and all of BatchNorm learn. Integers are quantized
    again by the rules of `quantize`, with the width they have; scales of activations stay.
    The optimizer is AdamW with a cosine schedule (Loshchilov and Hutter, 2017, arXiv:1711.05101).
    The same seed, threads (None: all CPUs this process may use), version of torch and kind of CPU
    give the same bits. progress: True shows a bar on stderr; a function is called with epoch (from
    1) and loss after each batch.
    Raises InputError for arguments and data that do not fit and where torch is missing,
    UnsupportedOperatorError naming all operators that cannot be trained.
    """
    _check(epochs, learning_rate, batch_size, threads)
    if importlib.util.find_spec("torch") is None:
        raise InputError("fine-tuning needs PyTorch: pip install 'sparing[train]'")
    from .torch_graph import TorchGraph

    data = training_data(model, dataset, batch_size)
    form = training_form(model)
    if not form.weights:
        raise InputError("expected a layer to train (Conv, Gemm or MatMul), found none")
    normal = None
    if batch_norm and not form.integers:
        feeds, _ = next(data.epoch(np.random.default_rng(seed)))
        normal = normalized(form, feeds, teacher)
        form = normal.form
    with _reproducible(seed, usable_cpus() if threads is None else threads):
        student = _Classifier(TorchGraph(form, keep_zeros), form)
        expert = None
        if teacher is not None:
            teacher_form = training_form(simplify(teacher))  # a third faster without BatchNorm
            expert = _Classifier(TorchGraph(teacher_form), teacher_form)
        with _reported(progress, epochs * data.count) as report:
            _train(student, expert, data, epochs, learning_rate, seed, report)
        trained, scales = student.graph.trained(), student.graph.scales()
    if normal is not None:
        form, trained = normal.plain, normal.folded(trained)
    arguments = {
        "epochs": epochs,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "distilled": teacher is not None,
        "batch_norm": batch_norm,
        "keep_zeros": keep_zeros,
        "seed": seed,
    }
    return recorded(with_trained(form, trained, scales), model, "finetune", arguments)


def _check(epochs: object, learning_rate: object, batch_size: object, threads: object) -> None:
    whole = {"epochs": epochs, "batch_size": batch_size}
    if threads is not None:
        whole["threads"] = threads
    for name, value in whole.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{name}: expected a whole number from 1 on, got {value!r}")
    if not isinstance(learning_rate, (int, float)) or not 0 < learning_rate < math.inf:
        raise InputError(f"learning_rate: expected a positive number, got {learning_rate!r}")


@contextmanager
def _reproducible(seed: int, threads: int) -> Iterator[None]:
    """Settings of torch under which the same seed gives the same bits; restored at the end."""
    import torch

    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):  # datasets may draw from torch's generator
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.set_num_threads(before[0])
            torch.use_deterministic_algorithms(before[1])


@contextmanager
def _reported(progress: Progress | bool, steps: int) -> Iterator[Progress]:
    """What to call after each batch."""
    if not isinstance(progress, bool):
        yield progress
    elif progress:
        with console.progress("fine-tuning", steps) as advance:
            yield lambda epoch, loss: advance(1)
    else:
        yield lambda epoch, loss: None


class _Classifier:
    """A graph that gives logits: where the model ends in Softmax, what that is computed from."""

    def __init__(self, graph: TorchGraph, form: TrainingForm) -> None:
        self.graph = graph
        output = form.graph.outputs[0].name
        last = form.graph.producers().get(output)
        self.output = last.inputs[0] if last is not None and last.op_type == "Softmax" else output

    def logits(self, batch: Batch, training: bool) -> torch.Tensor:
        logits = self.graph.run(batch[0], self.output, training)
        if logits.ndim != 2 or len(logits) != len(batch[1]):
            raise InputError(
                f"{self.output!r}: expected logits [{len(batch[1])}, classes], got "
                f"{list(logits.shape)}"
            )
        return logits


def _train(
    student: _Classifier,
    teacher: _Classifier | None,
    data: TrainingData,
    epochs: int,
    learning_rate: float,
    seed: int,
    report: Progress,
) -> None:
    import torch

    parameters = student.graph.learned()
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate)
    rng = np.random.default_rng(seed)
    steps, step = epochs * data.count, 0
    for epoch in range(1, epochs + 1):
        for batch in data.epoch(rng):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * _rate(step, steps)
            loss = _loss(student, teacher, batch)
            value = float(loss.detach())
            if not math.isfinite(value):
                raise InputError(f"learning_rate: the loss became {value}, {learning_rate} is high")
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(parameters, LARGEST_GRADIENT)
            optimizer.step()
            step += 1
            report(epoch, value)


def _rate(step: int, steps: int) -> float:
    """Factor of the learning rate: linear warm-up, then half a cosine down to 0."""
    warm_up = max(1, round(WARM_UP * steps))
    if step < warm_up:
        return (step + 1) / (warm_up + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def _loss(student: _Classifier, teacher: _Classifier | None, batch: Batch) -> Any:
    import torch
    from torch.nn import functional

    logits = student.logits(batch, training=True)
    labels = torch.from_numpy(batch[1])
    if int(labels.min()) < 0 or int(labels.max()) >= logits.shape[1]:
        raise InputError(f"dataset: expected labels from 0 to {logits.shape[1] - 1}")
    loss = functional.cross_entropy(logits, labels)
    if teacher is None:
        return loss
    with torch.no_grad():
        wanted = teacher.logits(batch, training=False)
    if wanted.shape != logits.shape:
        raise InputError(f"teacher: expected {logits.shape[1]} classes, got {wanted.shape[1]}")
    divergence = functional.kl_div(
        functional.log_softmax(logits / TEMPERATURE, 1),
        functional.log_softmax(wanted / TEMPERATURE, 1),
        reduction="batchmean",
        log_target=True,
    )
    return (1 - TEACHER_SHARE) * loss + TEACHER_SHARE * TEMPERATURE**2 * divergence
