"""Fine-tuning: what is promised of training: zeros held, seeds obeyed, teachers followed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from finetune_subject import (
    CLASSES,
    accuracy,
    dense_net,
    feeds,
    labelled,
    logits,
    needs_torch,
    pruned_net,
    tuned,
    zero_masks,
)
from models import residual_net
from same_model import assert_same_model

import sparing
from sparing import Node, TensorInfo
from sparing.errors import InputError
from sparing.fold import simplify
from sparing.formats.onnx_reader import read_onnx
from sparing.image_data import Images
from sparing.preprocessing import Preprocessing


@needs_torch
def test_the_model_that_is_trained_classifies_better() -> None:
    untrained = read_onnx(residual_net())
    assert accuracy(untrained, labelled()) < 0.5  # chance is 0.25
    assert accuracy(dense_net(), labelled()) > 0.9
    before, after = untrained.weights, dense_net().weights
    for part in ("scale", "shift", "mean", "var"):  # BatchNorm learns, and its statistics move
        assert not np.array_equal(
            before[f"stem_bn.{part}"].numpy(), after[f"stem_bn.{part}"].numpy()
        )


@needs_torch
def test_pruned_weights_stay_zero() -> None:
    once = sparing.prune(dense_net(), 0.7, scope="layer")
    before, after = zero_masks(once), zero_masks(pruned_net())
    assert before.keys() == after.keys()
    for name, mask in before.items():
        assert mask.any()
        assert after[name][mask].all(), name
        zeros = pruned_net().weights[name].numpy()[mask]
        assert not np.signbit(zeros).any(), name  # not -0.0
    assert accuracy(pruned_net(), labelled()) > accuracy(once, labelled()) + 0.1
    assert accuracy(pruned_net(), labelled()) > 0.85


@needs_torch
def test_same_seed_same_weights() -> None:
    model = sparing.prune(dense_net(), 0.5)
    first, second = (tuned(model, labelled(), seed=3, teacher=dense_net()) for _ in range(2))
    assert_same_model(first, second)
    other = tuned(model, labelled(), seed=4, teacher=dense_net())
    name = next(n for n, t in first.weights.items() if len(t.shape) == 4)
    assert not np.array_equal(first.weights[name].numpy(), other.weights[name].numpy())


@needs_torch
def test_torch_is_left_as_it_was() -> None:
    import torch

    def state() -> tuple[int, bool, bytes]:
        deterministic = torch.are_deterministic_algorithms_enabled()
        return torch.get_num_threads(), deterministic, torch.get_rng_state().numpy().tobytes()

    before = state()
    tuned(dense_net(), labelled())
    with pytest.raises(InputError):
        tuned(dense_net(), (labelled()[0], labelled()[1] + 7))
    assert state() == before


@needs_torch
def test_a_teacher_is_followed_beyond_the_labels() -> None:
    """Its answers count although every label is wrong."""
    images = labelled()[0]
    taught = logits(dense_net(), images).argmax(1)
    wrong = (images, (taught + 1) % CLASSES)
    student = sparing.prune(dense_net(), 0.5, scope="layer")
    alone = tuned(student, wrong, 2, learning_rate=1e-2)
    helped = tuned(student, wrong, 2, learning_rate=1e-2, teacher=dense_net())
    agreement = [(logits(m, images).argmax(1) == taught).mean() for m in (alone, helped)]
    assert agreement[1] > agreement[0] + 0.3


@needs_torch
def test_softmax_at_the_end_does_not_change_training() -> None:
    """The loss is taken from the logits before it: the same weights come out."""
    last = Node("Softmax", ("logits",), ("probabilities",), {"axis": -1}, "softmax")
    outputs = (TensorInfo("probabilities", np.dtype(np.float32), ("N", CLASSES)),)
    longer = dense_net().replace(nodes=(*dense_net().nodes, last), outputs=outputs)
    with_softmax = tuned(longer, labelled())
    plain = tuned(dense_net(), labelled())
    assert_same_model(
        with_softmax.replace(nodes=plain.nodes, outputs=plain.outputs, metadata=plain.metadata),
        plain,
    )


@needs_torch
def test_every_form_of_dataset_gives_its_batches() -> None:
    images, labels = labelled()[0][:50], labelled()[1][:50]

    class Stream:
        def __iter__(self) -> Iterator[Any]:
            yield feeds(images[:30]), labels[:30]
            yield feeds(images[30:]), labels[30:].astype(np.uint8)

    as_images = Images("input", images, labels, Preprocessing(size=(8, 8)), batch=20)
    wanted = {"arrays": 3, "stream": 2, "list": 2, "images": 3}
    forms: dict[str, Any] = {"arrays": (images, labels), "stream": Stream()}
    forms |= {"list": list(Stream()), "images": as_images}
    for form, dataset in forms.items():
        seen: list[tuple[int, float]] = []
        tuned(dense_net(), dataset, 2, batch_size=16, progress=lambda *now, s=seen: s.append(now))
        assert [epoch for epoch, _ in seen] == [1] * wanted[form] + [2] * wanted[form]
        assert all(np.isfinite(loss) for _, loss in seen)


@needs_torch
@pytest.mark.parametrize(("progress", "printed"), [(True, "fine-tuning ...\n"), (False, "")])
def test_progress_is_shown_where_it_is_wanted(
    capsys: pytest.CaptureFixture[str], progress: bool, printed: str
) -> None:
    """On stderr, which is no terminal here: one line instead of a bar."""
    images, labels = labelled()
    tuned(dense_net(), (images[:64], labels[:64]), progress=progress)
    assert capsys.readouterr() == ("", printed)


@needs_torch
def test_a_teacher_teaches_the_same_with_its_batch_norm_folded() -> None:
    """To the bit, because finetune folds it itself: a frozen teacher needs none."""
    images, labels = labelled()
    lesson = images[:64], labels[:64]
    student = sparing.prune(dense_net(), 0.5, scope="layer")
    teachers = dense_net(), simplify(dense_net())
    assert len(teachers[0].nodes) > len(teachers[1].nodes)
    results = [tuned(student, lesson, teacher=m, batch_norm=False) for m in teachers]
    for name, tensor in results[0].weights.items():
        assert np.array_equal(tensor.numpy(), results[1].weights[name].numpy()), name


@needs_torch
def test_the_recipe_says_what_was_done() -> None:
    recipe = pruned_net().metadata["recipe"]
    assert recipe["prune"]["sparsity"] == 0.7
    assert recipe["finetune"]["epochs"] == 3
    assert recipe["finetune"]["learning_rate"] == 1e-2
    assert pruned_net().metadata["provenance"].keys() == {"sparing", "source"}
