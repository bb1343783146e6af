"""Static shapes and constants of a graph, for given input shapes.

Every session runs on fixed shapes, so symbolic dimensions are gone here: what a graph computes
from constants and from shapes alone (Shape, Gather, Concat, Reshape chains) is a constant too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import ops
from .errors import InputError, ModelError, SparingError
from .model import Array, Model, Node
from .ops.fused_spec import Window
from .ops.registry import TABLE

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of every value before anything runs."""

    shapes: dict[str, Shape]
    dtypes: dict[str, np.dtype[Any]]
    constants: dict[str, Array]
    _windows: dict[str, Window] = field(default_factory=dict)

    def conv_window(self, node: Node) -> Window:
        """The 2-D window of a Conv or ConvInteger, found once; a 1-D one gets a height of 1."""
        output = node.outputs[0]
        if output not in self._windows:
            x, weight = node.inputs[:2]
            spatial = self.shapes[x][2:]
            self._windows[output] = _window(node, self.shapes[weight][2:], spatial)
        return self._windows[output]


def input_shapes(model: Model, shapes: Mapping[str, Shape]) -> None:
    """Raise InputError unless `shapes` names every input and fits its declared dimensions.

    One symbol means one size, over all inputs.
    """
    expected = {info.name for info in model.inputs}
    if set(shapes) != expected:
        raise InputError(f"expected inputs {sorted(expected)}, got {sorted(shapes)}")
    symbols: dict[str, int] = {}
    for info in model.inputs:
        shape = shapes[info.name]
        if info.shape is None:
            continue
        fits = len(shape) == len(info.shape)
        for size, dim in zip(shape, info.shape, strict=False):
            wanted = symbols.setdefault(dim, size) if isinstance(dim, str) else dim
            fits = fits and (wanted is None or wanted == size)
        if not fits:
            raise InputError(f"input {info} does not take an array of shape {list(shape)}")


def pool_window(node: Node, spatial: Sequence[int]) -> Window:
    kernel = node.attributes["kernel_shape"]
    return _window(node, tuple(int(k) for k in kernel), spatial)  # type: ignore[union-attr]


def _window(node: Node, kernel: Sequence[int], spatial: Sequence[int]) -> Window:
    """auto_pad is resolved."""
    rank = len(kernel)
    if rank not in (1, 2) or len(spatial) != rank:
        raise ModelError(f"{node.op_type} {node.label!r}: {rank}-D windows have no kernel")
    strides = _numbers(node, "strides", (1,) * rank)
    dilations = _numbers(node, "dilations", (1,) * rank)
    pads = _numbers(node, "pads", (0,) * (2 * rank))
    auto = node.attributes.get("auto_pad", "NOTSET")
    if auto == "VALID":
        pads = (0,) * (2 * rank)
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        pads = _same_pads(str(auto), kernel, strides, dilations, spatial)
    if rank == 1:
        kernel, strides, dilations = (1, *kernel), (1, *strides), (1, *dilations)
        pads = (0, pads[0], 0, pads[1])
    return Window(
        (kernel[0], kernel[1]),
        (strides[0], strides[1]),
        (pads[0], pads[1], pads[2], pads[3]),
        (dilations[0], dilations[1]),
        bool(node.attributes.get("ceil_mode", 0)),
    )


def _numbers(node: Node, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    given = node.attributes.get(name)
    return default if given is None else tuple(map(int, given))  # type: ignore[arg-type]


def _same_pads(
    auto: str,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    spatial: Sequence[int],
) -> tuple[int, ...]:
    begin, end = [], []
    for k, s, d, size in zip(kernel, strides, dilations, spatial, strict=True):
        total = max(0, (-(-size // s) - 1) * s + (k - 1) * d + 1 - size)
        small, large = total // 2, total - total // 2
        begin.append(small if auto == "SAME_UPPER" else large)
        end.append(large if auto == "SAME_UPPER" else small)
    return (*begin, *end)


# element-wise and quantization operators: the output has the first input's shape
_SAME_SHAPE = frozenset(
    (
        *("Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Selu", "Sigmoid", "HardSigmoid"),
        *("HardSwish", "Tanh", "Erf", "Exp", "Sqrt", "Neg", "Abs", "Softmax", "Identity"),
        *("BatchNormalization", "QuantizeLinear"),
    )
)
_UINT8 = np.dtype(np.uint8)
_BROADCAST = frozenset(["Add", "Sub", "Mul", "Div", "Min", "Max", "Pow"])


def _known(node: Node, shapes: Sequence[Shape], facts: Facts) -> Shape | None:
    """Output shape by formula, for the operators that are expensive to run; None for others."""
    if node.op_type in _SAME_SHAPE:
        return shapes[0]
    if node.op_type in _BROADCAST:
        same = len(shapes) == 2 and shapes[0] == shapes[1]
        return shapes[0] if same else np.broadcast_shapes(*shapes)
    if node.op_type == "Conv" and len(shapes[0]) in (3, 4):
        if shapes[0][1] != shapes[1][1] * _groups(node):
            raise ModelError(f"input {list(shapes[0])} does not fit weight {list(shapes[1])}")
        return _windowed(facts.conv_window(node), shapes[0], shapes[1][0])
    if node.op_type == "MaxPool" and len(shapes[0]) in (3, 4) and len(node.outputs) == 1:
        _check_attributes(node)
        return _windowed(pool_window(node, shapes[0][2:]), shapes[0], shapes[0][1])
    if node.op_type == "GlobalAveragePool" and len(shapes[0]) >= 2:
        _check_attributes(node)
        return (*shapes[0][:2], *(1,) * (len(shapes[0]) - 2))
    if node.op_type == "Gemm" and len(shapes[0]) == len(shapes[1]) == 2:
        _check_attributes(node)
        return _gemm(node, shapes)
    return None


def _check_attributes(node: Node) -> None:
    """What the reference says about the number of inputs, and about attributes."""
    TABLE[node.op_type].bind([np.zeros(()) for _ in node.inputs], node.attributes)


def _windowed(window: Window, shape: Shape, channels: int) -> Shape:
    height, width = window.output_size(*((1, *shape[2:])[-2:]))
    if height < 1 or width < 1:
        raise ModelError(f"window {window.kernel} does not fit an input of shape {list(shape)}")
    return shape[0], channels, *(height, width)[4 - len(shape) :]


def _gemm(node: Node, shapes: Sequence[Shape]) -> Shape:
    rows, inner = shapes[0][::-1] if node.attributes.get("transA") else shapes[0]
    depth, columns = shapes[1][::-1] if node.attributes.get("transB") else shapes[1]
    bias = shapes[2] if len(shapes) > 2 else ()
    fits = all(b in (1, n) for b, n in zip(bias[::-1], (columns, rows), strict=False))
    if inner != depth or len(bias) > 2 or not fits:
        raise ModelError(f"shapes do not fit: {', '.join(map(str, shapes))}")
    return rows, columns


def _groups(node: Node) -> int:
    return int(node.attributes.get("group", 1))  # type: ignore[arg-type]


def _output_dtype(node: Node, dtypes: Mapping[str, np.dtype[Any]]) -> np.dtype[Any]:
    """dtypes: of the values known so far."""
    if node.op_type == "QuantizeLinear":
        zero_point = node.inputs[2] if len(node.inputs) > 2 else ""
        return dtypes[zero_point] if zero_point else _UINT8
    return dtypes[next(filter(None, node.inputs))]


def infer(model: Model, shapes: Mapping[str, Shape]) -> Facts:
    """Shape and dtype of every value, and the values that are constant.

    Raises InputError for input shapes that do not fit, ModelError where an operator's inputs do
    not, naming it.
    """
    input_shapes(model, shapes)
    facts = Facts({}, {}, {})
    for name, tensor in model.weights.items():
        facts.shapes[name], facts.dtypes[name] = tensor.shape, tensor.dtype
    for info in model.inputs:
        facts.shapes[info.name], facts.dtypes[info.name] = tuple(shapes[info.name]), info.dtype
    constant = set(model.weights)  # names of what does not depend on the model's inputs
    for node in model.nodes:
        if node.op_type == "DequantizeLinear":
            # of weights, too: they stay quantized until somebody asks for them as floats
            output, (values, scale) = node.outputs[0], node.inputs[:2]
            facts.shapes[output], facts.dtypes[output] = facts.shapes[values], facts.dtypes[scale]
            continue
        try:
            _infer_node(model, node, facts, constant)
        except SparingError as error:
            raise ModelError(f"{node.op_type} {node.label!r}: {error}") from error
    return facts


def _infer_node(model: Model, node: Node, facts: Facts, constant: set[str]) -> None:
    shapes, dtypes = facts.shapes, facts.dtypes
    names = [*filter(None, node.inputs)]
    is_constant = node.op_type in ("Shape", "Size") or constant.issuperset(names)
    known = None
    if not is_constant:
        known = _known(node, [*map(shapes.__getitem__, names)], facts)
    if known is not None:
        output = node.outputs[0]
        shapes[output], dtypes[output] = known, _output_dtype(node, dtypes)
        return
    results = ops.run(node, [_sample(model, n, facts) for n in node.inputs], model.opset)
    for name, array in zip(node.outputs, results, strict=False):
        if name:
            shapes[name], dtypes[name] = array.shape, array.dtype
            if is_constant:
                facts.constants[name] = array
                constant.add(name)


def _sample(model: Model, name: str, facts: Facts) -> Array | None:
    """The value where it is constant, else zeros of its shape (one element, broadcast)."""
    if not name:
        return None
    if name in facts.constants:
        return facts.constants[name]
    if name in model.weights:
        return model.weights[name].numpy()
    return np.broadcast_to(np.zeros((), facts.dtypes[name]), facts.shapes[name])
