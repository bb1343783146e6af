"""BatchNorm while training: float models learn faster and further with it, most of all sparse ones.

Compressed models come with BatchNorm folded away. Each convolution gets one for the time of the
training, set so that it changes nothing, or so that the means and variances are again those of the
uncompressed model (Jordan et al., 2022, arXiv:2211.08403). At the end it is folded again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..fold_linear import fresh_name
from ..interpreter import run_graph
from ..model import Array, Model, Node, Tensor
from .training_form import TrainingForm

F64 = npt.NDArray[np.float64]
EPSILON = 1e-5


@dataclass(frozen=True, slots=True)
class Normalization:
    """A BatchNorm put in behind a convolution: names of its values, and of the layer's."""

    weight: str
    bias: str
    scale: str
    shift: str
    mean: str
    variance: str


@dataclass(frozen=True, slots=True)
class NormalizedForm:
    """plain: where the trained values go to, with a bias in every normalized layer. form: what is
    trained.
    """

    plain: TrainingForm
    form: TrainingForm
    normalizations: tuple[Normalization, ...]

    def folded(self, trained: Mapping[str, Array]) -> dict[str, Array]:
        """Values of `plain` from those of `form`; products are formed in float64."""
        values = dict(trained)
        for n in self.normalizations:
            scale, shift, mean, variance = (
                values.pop(name).astype(np.float64)
                for name in (n.scale, n.shift, n.mean, n.variance)
            )
            factor = scale / np.sqrt(variance + EPSILON)
            weight = values[n.weight]
            folded = weight * factor.reshape(-1, *(1,) * (weight.ndim - 1))
            values[n.weight] = np.where(weight == 0, 0, folded).astype(np.float32)  # no -0.0
            values[n.bias] = (shift - mean * factor).astype(np.float32)
        return values


def normalized(
    form: TrainingForm, feeds: Mapping[str, Array], original: Model | None = None
) -> NormalizedForm:
    """Put BatchNorm behind every convolution that has none and hides its output from the user.

    feeds: one batch, from which means and variances are taken. original: the uncompressed model;
    where it computes a value of the same name, its statistics are restored.
    """
    layers = _layers(form)
    own = _statistics(form.graph, feeds, layers)
    wanted = dict(own)
    if original is not None:
        there = {name for node in original.nodes for name in node.outputs}
        restored = _statistics(original, feeds, there & layers.keys())
        wanted |= {n: s for n, s in restored.items() if s[0].shape == own[n][0].shape}
    writer = _Writer(form)
    for node in form.graph.nodes:
        if node.outputs[0] in layers:
            writer.normalize(node, own[node.outputs[0]], wanted[node.outputs[0]])
        else:
            writer.nodes.append(node)
    return writer.result()


def _layers(form: TrainingForm) -> dict[str, Node]:
    """By output: convolutions whose weights and biases are their own and learn."""
    readers = form.graph.consumers()
    kept = {info.name for info in form.graph.outputs}
    found = {}
    for node in form.graph.nodes:
        following = readers.get(node.outputs[0], [])
        constants = [name for name in node.inputs[1:] if name]
        if (
            node.op_type == "Conv"
            and node.outputs[0] not in kept
            and all(name in (*form.weights, *form.others) for name in constants)
            and all(len(readers[name]) == 1 for name in constants)
            and not any(n.op_type == "BatchNormalization" for n in following)
        ):
            found[node.outputs[0]] = node
    return found


def _statistics(
    model: Model, feeds: Mapping[str, Array], names: Iterable[str]
) -> dict[str, tuple[F64, F64]]:
    """Mean and variance of each channel (axis 1) of the named values, over one batch."""
    wanted, found = set(names), {}

    def observe(name: str, array: Array) -> None:
        if name in wanted:
            axes = (0, *range(2, array.ndim))
            wide = array.astype(np.float64)
            found[name] = wide.mean(axes), wide.var(axes)

    run_graph(model, feeds, outputs=(), observe=observe)
    return found


class _Writer:
    def __init__(self, form: TrainingForm) -> None:
        self.form = form
        self.nodes: list[Node] = []
        self.weights = dict(form.graph.weights)
        self.biases: dict[str, str] = {}  # output of a layer -> name of the bias it gets
        self.normalizations: list[Normalization] = []
        self.taken = {*self.weights, *form.graph.producers(), *(i.name for i in form.graph.inputs)}

    def _name(self, wanted: str) -> str:
        name = fresh_name(wanted, self.taken)
        self.taken.add(name)
        return name

    def _constant(self, wanted: str, values: F64) -> str:
        name = self._name(wanted)
        self.weights[name] = Tensor(values.astype(np.float32))
        return name

    def normalize(self, node: Node, own: tuple[F64, F64], wanted: tuple[F64, F64]) -> None:
        """The layer without bias and with rows of length 1, and BatchNorm behind it."""
        output = node.outputs[0]
        weight = self.weights[node.inputs[1]].numpy().astype(np.float64)
        rows = weight.reshape(len(weight), -1)
        lengths = np.linalg.norm(rows, axis=1)
        lengths[lengths == 0] = 1
        bias_name = node.inputs[2] if len(node.inputs) > 2 else ""
        bias = self.weights[bias_name].numpy().astype(np.float64) if bias_name else 0.0
        if not bias_name:
            bias_name = self.biases[output] = self._name(f"{node.label}/bias")
        unit = (rows / lengths[:, None]).reshape(weight.shape).astype(np.float32)
        self.weights[node.inputs[1]] = Tensor(unit)
        mean, variance = (own[0] - bias) / lengths, own[1] / lengths**2
        scale = np.sqrt(wanted[1] + EPSILON * lengths**2)  # exact where nothing is to change
        values = (scale, wanted[0], mean, variance)
        parts = ("scale", "shift", "mean", "variance")
        names = [
            self._constant(f"{node.label}/{part}", value)
            for part, value in zip(parts, values, strict=True)
        ]
        raw = self._name(f"{output}/raw")
        self.nodes.append(replace(node, inputs=node.inputs[:2], outputs=(raw,)))
        self.nodes.append(
            Node("BatchNormalization", (raw, *names), (output,), {"epsilon": EPSILON}, raw)
        )
        self.normalizations.append(Normalization(node.inputs[1], bias_name, *names))

    def result(self) -> NormalizedForm:
        form, added = self.form, tuple(self.normalizations)
        graph = form.graph.replace(nodes=tuple(self.nodes), weights=self.weights)
        biases = {n.bias for n in added}
        learned = [name for n in added for name in (n.scale, n.shift)]
        moving = [name for n in added for name in (n.mean, n.variance)]
        trained = replace(
            form,
            graph=graph,
            others=(*(name for name in form.others if name not in biases), *learned),
            statistics=(*form.statistics, *moving),
        )
        nodes = [
            replace(n, inputs=(*n.inputs[:2], self.biases[n.outputs[0]]))
            if n.outputs[0] in self.biases
            else n
            for n in form.source.nodes
        ]
        zeros = {
            self.biases[n.outputs[0]]: Tensor(
                np.zeros(form.source.weights[n.inputs[1]].shape[0], np.float32)
            )
            for n in form.source.nodes
            if n.outputs[0] in self.biases
        }
        source = form.source.replace(nodes=tuple(nodes), weights={**form.source.weights, **zeros})
        plain = replace(form, source=source, others=(*form.others, *zeros))
        return NormalizedForm(plain, trained, added)
