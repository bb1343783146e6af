"""How a float graph's outputs answer to values inside it: reverse accumulation in NumPy.

Each operator's rule gives J' g: J is the derivative of the output by one input, g what came to
the output from behind. The operators that CNNs are made of have a rule; the part of a gradient
whose way leads through another operator is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from .. import ops
from ..model import Array, Model, Node, Tensor, TensorInfo
from ..ops.conv import conv_window
from ..ops.conv_transpose import conv_transpose
from ..ops.window import Window, make_window
from ..session import Session
from .submodel import FORMATS

STEP = 1e-3  # of the numeric derivative of a function of one element, relative to 1 + |x|
FLAT = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout")
ELEMENTWISE = (
    *("LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Softplus", "Sigmoid", "Tanh"),
    *("HardSigmoid", "HardSwish", "Mish", "Swish", "Gelu", "Erf", "Exp", "Sqrt", "Neg", "Abs"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Applied:
    """An operator in one run: what it read, what it gave, and the gradient g that came to that."""

    node: Node
    arguments: tuple[Array, ...]  # empty arrays where an input is absent
    y: Array
    g: Array
    opset: int
    adjoint: Adjoint

    def options(self, **defaults: Any) -> dict[str, Any]:
        """The node's attributes of these names, or the defaults."""
        return {name: self.node.attributes.get(name, value) for name, value in defaults.items()}


# g and weights of a node's convolution, options of ConvTranspose -> gradient by the input
Adjoint: TypeAlias = Callable[[Node, Array, Array, Mapping[str, Any]], Array]
Rule: TypeAlias = Callable[[Applied], Iterator[Array]]  # of the first inputs, in their order


def _in_numpy(node: Node, g: Array, weight: Array, options: Mapping[str, Any]) -> Array:
    return conv_transpose(g, weight, **options)


class Adjoints:
    """Gradients of convolutions whose weights stay the same, by the fastest backend there is."""

    def __init__(self) -> None:
        self._sessions: dict[tuple[str, tuple[int, ...]], Session] = {}

    def __call__(self, node: Node, g: Array, weight: Array, options: Mapping[str, Any]) -> Array:
        key = (node.label, g.shape)
        if key not in self._sessions:
            transposed = Node("ConvTranspose", ("g", "weight"), ("x",), options)
            part = Model(
                nodes=(transposed,),
                inputs=(TensorInfo("g", g.dtype, g.shape),),
                outputs=(TensorInfo("x", g.dtype, None),),
                weights={"weight": Tensor(weight)},
            )
            self._sessions[key] = Session(part, formats=FORMATS)
        return self._sessions[key].run(None, {"g": np.ascontiguousarray(g)})[0]


def backward(
    model: Model,
    values: Mapping[str, Array],
    seeds: Mapping[str, Array],
    adjoint: Adjoint = _in_numpy,
) -> dict[str, Array]:
    """Value name -> gradient of `sum <seed, value>` by it, of what the seeded values depend on.

    values: all values of one run of the model. seeds: value name -> array of its shape. adjoint:
    how gradients go back through convolutions.
    """
    found: dict[str, Array] = dict(seeds)
    for node in reversed(model.nodes):
        rule, arrived = _RULES.get(node.op_type), found.get(node.outputs[0])
        if rule is None or arrived is None:
            continue
        arguments = tuple(
            values[n] if n in values else model.weights[n].numpy() if n else np.zeros(0)
            for n in node.inputs
        )
        applied = Applied(node, arguments, values[node.outputs[0]], arrived, model.opset, adjoint)
        for name, part in zip(node.inputs, rule(applied), strict=False):
            if name not in model.weights:
                found[name] = found[name] + part if name in found else part
    return found


def _conv(at: Applied) -> Iterator[Array]:
    x, w = at.arguments[:2]
    names = ("dilations", "kernel_shape", "pads", "strides")
    options = at.options(auto_pad="NOTSET", group=1, **dict.fromkeys(names))
    window = conv_window(x, w, **options)
    # Of the padded input, what stands behind the last window was never read.
    sizes = zip(
        x.shape[2:],
        window.before,
        window.strides,
        window.output,
        window.kernel,
        window.dilations,
        strict=True,
    )
    unread = [n + b - (s * (o - 1) + (k - 1) * d + 1) for n, b, s, o, k, d in sizes]
    transposed = {
        "group": options["group"],
        "strides": window.strides,
        "dilations": window.dilations,
        "pads": (*window.before, *(max(0, -n) for n in unread)),
        "output_padding": tuple(max(0, n) for n in unread),
    }
    yield at.adjoint(at.node, at.g, w, transposed)


def _gemm(at: Applied) -> Iterator[Array]:
    options = at.options(alpha=1.0, transA=0, transB=0)
    b = at.arguments[1]
    product = at.g @ (b if options["transB"] else b.T) * at.g.dtype.type(options["alpha"])
    yield product.T if options["transA"] else product


def _matmul(at: Applied) -> Iterator[Array]:
    a, b = at.arguments
    yield _summed(at.g @ np.swapaxes(b, -1, -2), a)
    yield _summed(np.swapaxes(a, -1, -2) @ at.g, b)


def _add(at: Applied) -> Iterator[Array]:
    for argument in at.arguments:
        yield _summed(at.g, argument)


def _sub(at: Applied) -> Iterator[Array]:
    a, b = at.arguments
    yield _summed(at.g, a)
    yield _summed(-at.g, b)


def _mul(at: Applied) -> Iterator[Array]:
    a, b = at.arguments
    yield _summed(at.g * b, a)
    yield _summed(at.g * a, b)


def _div(at: Applied) -> Iterator[Array]:
    a, b = at.arguments
    yield _summed(at.g / b, a)
    yield _summed(-at.g * at.y / b, b)


def _summed(g: Array, like: Array) -> Array:
    """The sum over the axes along which an argument was repeated."""
    g = g.sum(axis=tuple(range(g.ndim - like.ndim)))
    repeated = tuple(i for i, n in enumerate(like.shape) if n == 1 and g.shape[i] != 1)
    return g.sum(axis=repeated, keepdims=True)


def _elementwise(at: Applied) -> Iterator[Array]:
    """A function of each element, by differences."""
    x, *rest = at.arguments
    step = (STEP * (1 + np.abs(x))).astype(x.dtype)
    others = [argument if argument.size else None for argument in rest]
    above, below = (ops.run(at.node, [x + d, *others], at.opset)[0] for d in (step, -step))
    yield at.g * (above - below) / (2 * step)


def _clamped(at: Applied) -> Iterator[Array]:
    """Relu and Clip, by what came out: nothing passes at the bounds."""
    bounds = {"min": 0.0, "max": np.inf}
    if at.node.op_type == "Clip":
        bounds = at.options(min=-np.inf, max=np.inf)
        given = zip(bounds, at.arguments[1:], strict=False)
        bounds |= {name: float(bound) for name, bound in given if bound.size}
    yield at.g * ((at.y > bounds["min"]) & (at.y < bounds["max"]))


def _reshaped(at: Applied) -> Iterator[Array]:
    yield at.g.reshape(at.arguments[0].shape)


def _transposed(at: Applied) -> Iterator[Array]:
    order = at.options(perm=tuple(reversed(range(at.g.ndim))))["perm"]
    yield at.g.transpose(np.argsort(order))


def _joined(at: Applied) -> Iterator[Array]:
    axis = at.options(axis=1)["axis"]
    sizes = [argument.shape[axis] for argument in at.arguments]
    yield from np.split(at.g, np.cumsum(sizes)[:-1], axis=axis)


def _global_average(at: Applied) -> Iterator[Array]:
    x = at.arguments[0]
    yield np.broadcast_to(at.g * x.dtype.type(at.y.size / x.size), x.shape)


def _pool_window(at: Applied) -> Window:
    names = ("dilations", "pads", "strides")
    options = at.options(auto_pad="NOTSET", ceil_mode=0, **dict.fromkeys(names))
    kernel = at.options(kernel_shape=())["kernel_shape"]
    return make_window(at.arguments[0].shape[2:], kernel, **options)


def _max_pool(at: Applied) -> Iterator[Array]:
    window = _pool_window(at)
    padded, left = window.pad(at.arguments[0], -np.inf), at.g.copy()
    result = np.zeros_like(padded)
    for tap in window.taps():
        largest = window.at(padded, tap) == at.y
        window.at(result, tap)[largest] += left[largest]
        left[largest] = 0  # the first of equal values has it all
    yield _inside(at, window, result)


def _average_pool(at: Applied) -> Iterator[Array]:
    window, size = _pool_window(at), at.arguments[0].shape[2:]
    low, high = tuple(0 for _ in size), tuple(size)
    if at.options(count_include_pad=0)["count_include_pad"]:
        low = tuple(-b for b in window.before)
        high = tuple(n + a for n, a in zip(size, window.after, strict=True))
    share = (at.g / window.counts(low, high)).astype(at.g.dtype)
    result = np.zeros_like(window.pad(at.arguments[0], 0))
    for tap in window.taps():
        window.at(result, tap)[...] += share
    yield _inside(at, window, result)


def _inside(at: Applied, window: Window, padded: Array) -> Array:
    spatial = at.arguments[0].shape[2:]
    inner = (slice(b, b + n) for b, n in zip(window.before, spatial, strict=True))
    index: tuple[Any, ...] = (..., *inner)
    return padded[index]


_RULES: Mapping[str, Rule] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Add": _add,
    "Sub": _sub,
    "Mul": _mul,
    "Div": _div,
    "Concat": _joined,
    "Transpose": _transposed,
    "GlobalAveragePool": _global_average,
    "AveragePool": _average_pool,
    "MaxPool": _max_pool,
    "Relu": _clamped,
    "Clip": _clamped,
    **dict.fromkeys(FLAT, _reshaped),
    **dict.fromkeys(ELEMENTWISE, _elementwise),
}
