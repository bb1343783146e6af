"""Run a model's graph as it stands, one reference operator after the other.

This is the meaning of a model before lowering: calibration, constant folding and the ONNX backend
tests use it. Sessions run a lowered plan instead (`plan.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from . import ops
from .errors import InputError, ModelError, SparingError
from .expand_qlinear import expand_contrib
from .model import Array, Model

Observer = Callable[[str, Array], None]


def run_graph(
    model: Model,
    feeds: Mapping[str, Array],
    outputs: Iterable[str] | None = None,
    observe: Observer | None = None,
) -> dict[str, Array]:
    """Compute the values named in `outputs` (default: the model's outputs) from `feeds`.

    Values are dropped after their last use, so memory holds the live ones only. `observe(name,
    array)` sees each feed and each computed value once, as soon as it exists.
    Raises UnsupportedOperatorError before anything runs, InputError for a missing or unknown feed,
    ModelError (naming the node) where an operator rejects what it is given.
    """
    model = expand_contrib(model)
    ops.check_supported(model)
    wanted = [info.name for info in model.outputs] if outputs is None else list(outputs)
    known = {info.name for info in model.inputs}
    if feeds.keys() != known:
        raise InputError(f"expected feeds {sorted(known)}, got {sorted(feeds)}")
    remaining = {name: len(nodes) for name, nodes in model.consumers().items()}
    for name in wanted:
        remaining[name] = remaining.get(name, 0) + 1  # never drops to zero: kept to the end

    values: dict[str, Array] = {}

    def keep(name: str, array: Array) -> None:
        if observe is not None:
            observe(name, array)
        if remaining.get(name):
            values[name] = array

    for name, array in feeds.items():
        keep(name, array)
    for node in model.nodes:
        arguments = [
            None if not n else values[n] if n in values else model.weights[n].numpy()
            for n in node.inputs
        ]
        try:
            results = ops.run(node, arguments, model.opset)
        except SparingError as error:
            raise ModelError(f"{node.op_type} {node.label!r}: {error}") from error
        for name, array in zip(node.outputs, results, strict=False):
            if name:
                keep(name, array)
        for name in dict.fromkeys(node.inputs):
            if name in values:
                remaining[name] -= 1
                if not remaining[name]:
                    del values[name]
    missing = [name for name in wanted if name not in values and name not in model.weights]
    if missing:
        raise ModelError(f"no node computes {missing}")
    return {
        name: values[name] if name in values else model.weights[name].numpy() for name in wanted
    }
