"""A model's graph as a PyTorch computation with gradients, quantizers included.

Rounding has no useful gradient; it is taken to be the identity (the straight-through estimator,
Bengio et al., 2013, arXiv:1308.3432), and 0 where a quantizer saturates (Jacob et al., 2018,
arXiv:1712.05877). The scales of weights learn, too (Esser et al., 2020, arXiv:1902.08153).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import torch

from ..errors import UnsupportedOperatorError
from ..model import Array, Model, Node
from . import torch_ops
from .parameters import Quantizer
from .training_form import IntegerLayer, TrainingForm

_OWN = frozenset({"BatchNormalization", "DequantizeLinear", "QuantizeLinear"})
_IMAGES = 4  # axes of [N, C, H, W]


class TorchGraph:
    """Runs batches of a training form and holds its values as tensors.

    Zeros of a layer's weights stay zero if `keep_zeros` is set. Raises one
    UnsupportedOperatorError that lists every operator it cannot run.
    """

    def __init__(self, form: TrainingForm, keep_zeros: bool = True) -> None:
        _check_supported(form.graph)
        self._form = form
        read = {name for node in form.graph.nodes for name in node.inputs}
        self._constants = {
            name: _tensor(tensor.numpy())
            for name, tensor in form.graph.weights.items()
            if name in read
        }
        names = (*form.weights, *form.others)
        self._parameters = {name: self._constants[name].requires_grad_() for name in names}
        self._masks = {
            name: self._parameters[name].detach() != 0 for name in form.weights if keep_zeros
        }
        # Scales learn as logarithms of factors: positive, and all at the same relative speed.
        self._stretches = {
            name: torch.zeros(layer.scale.shape, requires_grad=True)
            for name, layer in form.integers.items()
        }
        self._released = _last_uses(form.graph)

    def learned(self) -> list[torch.Tensor]:
        """What an optimizer changes."""
        return [*self._parameters.values(), *self._stretches.values()]

    def run(self, feeds: Mapping[str, Array], output: str, training: bool) -> torch.Tensor:
        """The value `output` for one batch. In training, BatchNorm takes the batch's statistics
        and moves its running ones.
        """
        values = {name: _tensor(array) for name, array in feeds.items()}
        values |= self._constants
        for name, mask in self._masks.items():
            values[name] = self._parameters[name] * mask
        for name, layer in self._form.integers.items():
            values[name] = _rounded(values[name], layer, self._scale(name))
        for node, released in zip(self._form.graph.nodes, self._released, strict=True):
            if output in values:
                break
            arguments = [values[name] if name else None for name in node.inputs]
            values[node.outputs[0]] = self._node(node, arguments, training)
            for name in released - {output}:
                del values[name]
        return values[output]

    def _node(
        self, node: Node, arguments: list[torch.Tensor | None], training: bool
    ) -> torch.Tensor:
        if node.op_type == "QuantizeLinear":
            return _quantized(arguments[0], self._form.quantizers[node.outputs[0]])
        if node.op_type == "DequantizeLinear":
            return arguments[0]  # what _quantized gives is real already
        if node.op_type == "BatchNormalization":
            x, scale, shift, mean, variance = arguments
            keep, epsilon = (
                node.attributes.get(key, default)
                for key, default in (("momentum", 0.9), ("epsilon", 1e-5))
            )
            assert isinstance(keep, float)
            return torch.nn.functional.batch_norm(
                x, mean, variance, scale, shift, training, 1 - keep, epsilon
            )
        return torch_ops.run(node, arguments)

    def _scale(self, name: str) -> torch.Tensor:
        return torch.tensor(self._form.integers[name].scale) * self._stretches[name].exp()

    def scales(self) -> dict[str, Array]:
        """Of the weights of integer layers, by name."""
        return {name: self._scale(name).detach().numpy() for name in self._stretches}

    def trained(self) -> dict[str, Array]:
        """The values by name, as NumPy arrays."""
        arrays = {}
        for name in (*self._parameters, *self._form.statistics):
            tensor = self._constants[name].detach()
            if name in self._masks:
                tensor = torch.where(self._masks[name], tensor, torch.zeros(()))  # no -0.0
            arrays[name] = np.ascontiguousarray(tensor.numpy())
        return arrays


def _tensor(array: Array) -> torch.Tensor:
    tensor = torch.tensor(array)
    if tensor.ndim == _IMAGES:  # channels last: convolutions train nearly twice as fast on CPUs
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor


def _quantized(x: torch.Tensor, q: Quantizer) -> torch.Tensor:
    """Rounded to the quantizer's real values."""
    scale = float(q.scale)
    return torch.fake_quantize_per_tensor_affine(x, scale, q.zero_point, q.lo, q.hi)


def _rounded(weight: torch.Tensor, layer: IntegerLayer, scale: torch.Tensor) -> torch.Tensor:
    """Rounded to what `quantize_layer` makes of it.

    The coarser scale that very large biases ask for is left out: next to such a bias weights do not
    count.
    """
    largest = 2 ** (layer.bits - 1) - 1
    if scale.ndim:
        scale = scale.reshape(-1, *(1,) * (weight.ndim - layer.axis - 1))
    steps = torch.clamp(weight / scale, -largest, largest)
    # The sum adds an exact 0, and the gradient.
    return (torch.round(steps.detach()) + (steps - steps.detach())) * scale


def _last_uses(graph: Model) -> list[set[str]]:
    """For each node, the computed values and feeds that no later one reads."""
    released: list[set[str]] = []
    later: set[str] = set()
    for node in reversed(graph.nodes):
        names = {name for name in node.inputs if name and name not in graph.weights}
        released.append(names - later)
        later |= names
    return released[::-1]


def _check_supported(graph: Model) -> None:
    def refused(node: Node) -> bool:
        known = node.op_type in torch_ops.OPERATIONS or node.op_type in _OWN
        return bool(node.domain) or not known or any(node.outputs[1:])

    unknown = Counter(node.op_type for node in graph.nodes if refused(node))
    if unknown:
        names = ", ".join(f"{name} (x{count})" for name, count in sorted(unknown.items()))
        raise UnsupportedOperatorError(f"{len(unknown)} operators that cannot be trained: {names}")
