"""ONNX operators in PyTorch, with gradients: what fine-tuning runs a graph with.

They mean what `ops/` says, for opset 13 and newer; `ops/window.py` places their windows, too.
BatchNorm and the quantizers behave differently while training: `torch_graph.py` has them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch.nn import functional

from ..errors import ModelError
from ..model import Node
from ..ops.window import Window, make_window

Attributes: TypeAlias = Mapping[str, Any]
Operation: TypeAlias = Callable[..., torch.Tensor]  # (attributes, *inputs); None for absent inputs

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_MAXIMA = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_MEANS = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def _window(x: torch.Tensor, kernel: tuple[int, ...], a: Attributes) -> Window:
    if x.ndim - 2 not in _CONVOLUTIONS:
        raise ModelError(f"expected 1 to 3 spatial axes, got a shape of {tuple(x.shape)}")
    return make_window(
        tuple(x.shape[2:]),
        kernel,
        strides=a.get("strides"),
        dilations=a.get("dilations"),
        pads=a.get("pads"),
        auto_pad=a.get("auto_pad", "NOTSET"),
        ceil_mode=a.get("ceil_mode", 0),
    )


def _padded(x: torch.Tensor, window: Window, value: float) -> torch.Tensor:
    if not any(window.before) and not any(window.after):
        return x
    ends = zip(reversed(window.before), reversed(window.after), strict=True)
    return functional.pad(x, [width for pair in ends for width in pair], value=value)


def _conv(
    a: Attributes, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    window = _window(x, tuple(weight.shape[2:]), a)
    padding: tuple[int, ...] | int = window.before
    if window.before != window.after:
        x, padding = _padded(x, window, 0.0), 0
    convolve = _CONVOLUTIONS[x.ndim - 2]
    group = a.get("group", 1)
    return convolve(x, weight, bias, window.strides, padding, window.dilations, group)


def _gemm(
    a: Attributes, x: torch.Tensor, matrix: torch.Tensor, addend: torch.Tensor | None = None
) -> torch.Tensor:
    left = x.T if a.get("transA", 0) else x
    right = matrix.T if a.get("transB", 0) else matrix
    y = a.get("alpha", 1.0) * (left @ right)
    return y if addend is None else y + a.get("beta", 1.0) * addend


def _max_pool(a: Attributes, x: torch.Tensor) -> torch.Tensor:
    window = _window(x, a["kernel_shape"], a)
    padded = _padded(x, window, -math.inf)
    pool = _MAXIMA[x.ndim - 2]
    return pool(padded, window.kernel, window.strides, 0, window.dilations)


def _average_pool(a: Attributes, x: torch.Tensor) -> torch.Tensor:
    window = _window(x, a["kernel_shape"], a)
    if any(dilation != 1 for dilation in window.dilations):
        raise ModelError(f"dilations: expected 1, got {window.dilations}")
    spatial = tuple(x.shape[2:])
    low, high = (0,) * len(spatial), spatial
    if a.get("count_include_pad", 0):
        declared = a.get("pads", window.before + window.after)[len(spatial) :]
        low = tuple(-width for width in window.before)
        high = tuple(n + width for n, width in zip(spatial, declared, strict=True))
    counts = torch.from_numpy(window.counts(low, high)).to(x.dtype)
    pool = _MEANS[len(spatial)]
    means = pool(_padded(x, window, 0.0), window.kernel, window.strides)
    return means * (math.prod(window.kernel) / counts)


def _spatial(x: torch.Tensor) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


def _pad(
    a: Attributes,
    x: torch.Tensor,
    pads: torch.Tensor,
    value: torch.Tensor | None = None,
    axes: torch.Tensor | None = None,
) -> torch.Tensor:
    if a.get("mode", "constant") != "constant":
        raise ModelError(f"mode: expected constant, got {a['mode']}")
    over = list(range(x.ndim)) if axes is None else [n % x.ndim for n in axes.tolist()]
    widths = [0] * (2 * x.ndim)
    for axis, begin, end in zip(over, pads[: len(over)], pads[len(over) :], strict=True):
        place = 2 * (x.ndim - 1 - axis)  # torch starts with the last axis
        widths[place : place + 2] = int(begin), int(end)
    return functional.pad(x, widths, value=0.0 if value is None else float(value))


def _clip(
    a: Attributes,
    x: torch.Tensor,
    low: torch.Tensor | None = None,
    high: torch.Tensor | None = None,
) -> torch.Tensor:
    return x if low is None and high is None else torch.clamp(x, low, high)


def _reshape(a: Attributes, x: torch.Tensor, shape: torch.Tensor) -> torch.Tensor:
    wanted = shape.tolist()
    if not a.get("allowzero", 0):
        wanted = [x.shape[i] if n == 0 else n for i, n in enumerate(wanted)]
    return x.reshape(wanted)


def _flatten(a: Attributes, x: torch.Tensor) -> torch.Tensor:
    axis = a.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), -1)


def _squeeze(a: Attributes, x: torch.Tensor, axes: torch.Tensor | None = None) -> torch.Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(axes.tolist()))


def _unsqueeze(a: Attributes, x: torch.Tensor, axes: torch.Tensor) -> torch.Tensor:
    rank = x.ndim + axes.numel()
    for axis in sorted(n % rank for n in axes.tolist()):
        x = x.unsqueeze(axis)
    return x


def _reduce_mean(a: Attributes, x: torch.Tensor, axes: torch.Tensor | None = None) -> torch.Tensor:
    over = list(a.get("axes", ())) if axes is None else axes.tolist()
    if not over and a.get("noop_with_empty_axes", 0):
        return x
    return x.mean(over or tuple(range(x.ndim)), keepdim=bool(a.get("keepdims", 1)))


def _hard_sigmoid(a: Attributes, x: torch.Tensor) -> torch.Tensor:
    return torch.clamp(a.get("alpha", 0.2) * x + a.get("beta", 0.5), 0, 1)


OPERATIONS: Mapping[str, Operation] = {
    "Add": lambda a, x, y: x + y,
    "AveragePool": _average_pool,
    "Clip": _clip,
    "Concat": lambda a, *parts: torch.cat(parts, a["axis"]),
    "Conv": _conv,
    "Div": lambda a, x, y: x / y,
    "Elu": lambda a, x: functional.elu(x, a.get("alpha", 1.0)),
    "Flatten": _flatten,
    "Gelu": lambda a, x: functional.gelu(x, approximate=a.get("approximate", "none")),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda a, x: x.mean(_spatial(x), keepdim=True),
    "GlobalMaxPool": lambda a, x: x.amax(_spatial(x), keepdim=True),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda a, x: functional.hardswish(x),
    "Identity": lambda a, x: x,
    "LeakyRelu": lambda a, x: functional.leaky_relu(x, a.get("alpha", 0.01)),
    "LogSoftmax": lambda a, x: functional.log_softmax(x, a.get("axis", -1)),
    "MatMul": lambda a, x, y: x @ y,
    "MaxPool": _max_pool,
    "Mul": lambda a, x, y: x * y,
    "PRelu": lambda a, x, slope: torch.where(x < 0, x * slope, x),
    "Pad": _pad,
    "ReduceMean": _reduce_mean,
    "Relu": lambda a, x: torch.relu(x),
    "Reshape": _reshape,
    "Shape": lambda a, x: torch.tensor(x.shape[a.get("start", 0) : a.get("end")]),
    "Sigmoid": lambda a, x: torch.sigmoid(x),
    "Softmax": lambda a, x: functional.softmax(x, a.get("axis", -1)),
    "Squeeze": _squeeze,
    "Sub": lambda a, x, y: x - y,
    "Tanh": lambda a, x: torch.tanh(x),
    "Transpose": lambda a, x: x.permute(a.get("perm", tuple(reversed(range(x.ndim))))),
    "Unsqueeze": _unsqueeze,
}


def run(node: Node, arguments: list[torch.Tensor | None]) -> torch.Tensor:
    """The node's only output. Raises ModelError, naming the node, for what does not fit."""
    while arguments and arguments[-1] is None:
        arguments.pop()
    try:
        return OPERATIONS[node.op_type](node.attributes, *arguments)
    except (IndexError, ModelError, RuntimeError, TypeError, ValueError) as error:
        shapes = ", ".join("none" if x is None else str(tuple(x.shape)) for x in arguments)
        raise ModelError(
            f"{node.op_type} {node.label!r}: inputs {shapes} do not fit: {error}"
        ) from error
