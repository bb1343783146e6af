"""ConvInteger and MatMulInteger by kernels, as dynamically quantized models need them.

The zero point of the input is known at run time only. It is taken off the sums afterwards,
`sum (x - zp) w = sum x w - zp sum w`, modulo 2^32 like every sum of the numeric contract, so that
results equal the references'. Convolutions are unfolded into rows, padded with the zero point.
Those of groups, depthwise ones among them, have few products an output, and run in float32: every
partial sum is an integer that float32 holds exactly, in whatever order products are added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .kernels.reference import from_nchw, to_nchw
from .kernels.registry import Backend, candidates
from .kernels.step import Array, ArraySpec
from .lowered import ReferenceOp
from .ops.conv import conv_window
from .ops.fused_spec import ConvF32, GemmS8
from .ops.fused_spec import Window as FusedWindow

EXACT_PRODUCTS = 2**24 // (255 * 128)  # whose sums float32 holds

_CONV: Mapping[str, Any] = {
    "auto_pad": "NOTSET",
    "dilations": None,
    "kernel_shape": None,
    "pads": None,
    "strides": None,
}


class IntegerProductStep:
    """x uint8 (and its zero point) times constant int8 weights -> int32, image by image."""

    note = "unfolded into rows for the integer product"

    def __init__(self, work: ReferenceOp, x: ArraySpec, backend: Backend, threads: int) -> None:
        self._node, self._zero_point = work.node, work.constants.get(2, np.zeros((), np.uint8))
        weight = work.constants[1]
        self._conv = work.node.op_type == "ConvInteger"
        self._shape = weight.shape
        matrix = weight.reshape(len(weight), -1) if self._conv else np.ascontiguousarray(weight.T)
        spec = GemmS8(matrix, np.zeros(len(matrix), np.int32), 0)
        kernel = next(candidates(spec, backend))
        first = np.zeros(x.shape[1:] if self._conv else x.shape, np.uint8)
        self._product = kernel.prepare(spec, [self._rows(first, 0).shape], "nchw", threads)
        self._sums = matrix.sum(axis=1, dtype=np.int64).astype(np.int32)
        self.weight_bytes = self._product.weight_bytes + self._sums.nbytes
        self.detail = "zero point at run time"
        self.kernel = kernel.name

    def execute(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
        x, (y,) = inputs[0], outputs
        zero_point = int((inputs[1] if len(inputs) > 1 else self._zero_point).reshape(()))
        if not self._conv:
            y[...] = self._multiplied(self._rows(x, zero_point), zero_point).reshape(y.shape)
            return
        for image, result in zip(x, y, strict=True):
            sums = self._multiplied(self._rows(image, zero_point), zero_point)
            result[...] = sums.T.reshape(result.shape)

    def _rows(self, x: Array, zero_point: int) -> Array:
        """What the weights multiply, uint8 [M, K]. x: of a convolution, one image [C, ...]."""
        if not self._conv:
            return x.reshape(-1, x.shape[-1])
        attributes = {k: self._node.attributes.get(k, value) for k, value in _CONV.items()}
        weight = np.broadcast_to(np.zeros((), np.int8), self._shape)
        window = conv_window(x[None], weight, group=1, **attributes)
        (view,) = window.view(window.pad(x[None], zero_point))
        axes = len(window.output)
        order = (*range(1, 1 + axes), 0, *range(1 + axes, 1 + 2 * axes))
        rows = view.transpose(order).reshape(int(np.prod(window.output)), -1)
        return np.ascontiguousarray(rows)

    def _multiplied(self, rows: Array, zero_point: int) -> Array:
        sums = np.empty((len(rows), len(self._sums)), np.int32)
        self._product.execute([rows], sums)
        return sums - np.int32(zero_point) * self._sums  # wraps, as the products do


class GroupedProductStep:
    """A ConvInteger of groups in float32, of at most EXACT_PRODUCTS products an output."""

    note = "in float32, which holds the sums exactly"

    def __init__(self, work: ReferenceOp, x: ArraySpec, backend: Backend, threads: int) -> None:
        self._zero_point = work.constants.get(2, np.zeros((), np.uint8))
        weight = work.constants[1]
        spec = ConvF32(
            _window(work.node.attributes, x, weight),
            int(work.node.attributes["group"]),  # type: ignore[arg-type]
            weight.reshape(*weight.shape[:2], *_plane(weight.shape[2:])).astype(np.float32),
            np.zeros(len(weight), np.float32),
        )
        kernel = next(k for k in candidates(spec, backend) if k.weight_format == "dense_f32")
        self._layout = kernel.layouts[0]
        self._shape = (*x.shape[:2], *_plane(x.shape[2:]))
        self._product = kernel.prepare(spec, [self._shape], self._layout, threads)
        self.weight_bytes = self._product.weight_bytes
        self.detail = "zero point at run time"
        self.kernel = kernel.name

    def execute(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
        x, (y,) = inputs[0], outputs
        zero_point = (inputs[1] if len(inputs) > 1 else self._zero_point).reshape(())
        given = np.empty(self._product.inputs[0].shape, np.float32)
        np.subtract(
            from_nchw(x.reshape(self._shape), self._layout), zero_point, out=given, dtype=np.float32
        )
        sums = np.empty(self._product.output.shape, np.float32)
        self._product.execute([given], sums)
        shape = (*y.shape[:2], *_plane(y.shape[2:]))
        y.reshape(shape)[...] = to_nchw(sums, self._layout, shape)


def _plane(spatial: Sequence[int]) -> tuple[int, ...]:
    """Two axes, of which a 1-D convolution lacks the first."""
    return (1,) * (2 - len(spatial)) + tuple(spatial)


def _window(given: Mapping[str, Any], x: ArraySpec, weight: Array) -> FusedWindow:
    attributes = {k: given.get(k, value) for k, value in _CONV.items()}
    image = np.broadcast_to(np.zeros((), np.uint8), x.shape)
    found = conv_window(image, weight, group=int(given.get("group", 1)), **attributes)
    missing = 2 - len(found.kernel)
    one, zero = (1,) * missing, (0,) * missing
    return FusedWindow(
        (*one, *found.kernel),  # type: ignore[arg-type]
        (*one, *found.strides),  # type: ignore[arg-type]
        (*zero, *found.before, *zero, *found.after),  # type: ignore[arg-type]
        (*one, *found.dilations),  # type: ignore[arg-type]
    )


def integer_product(
    work: ReferenceOp,
    values: Mapping[str, ArraySpec],
    names: Sequence[str],
    backend: Backend,
    threads: int,
) -> IntegerProductStep | GroupedProductStep | None:
    """The step of an operator that kernels can compute; None for all others.

    names: of the operator's inputs that are no constants.
    """
    node, constants = work.node, work.constants
    if backend == "numpy" or node.op_type not in ("ConvInteger", "MatMulInteger") or node.domain:
        return None
    weight, x = constants.get(1), values[names[0]] if names else None
    if x is None or x.dtype != np.uint8 or weight is None or weight.dtype != np.int8:
        return None
    if len(node.inputs) > 3 and node.inputs[3]:
        zero = constants.get(3)
        if zero is None or zero.any():
            return None
    if any(int(np.prod(values[name].shape)) != 1 for name in names[1:]):
        return None  # not one zero point
    if node.op_type == "ConvInteger" and node.attributes.get("group", 1) != 1:
        exact = weight[0].size <= EXACT_PRODUCTS and weight.ndim in (3, 4)
        return GroupedProductStep(work, x, backend, threads) if exact else None
    fits = node.op_type == "ConvInteger" or (weight.ndim == 2 and len(x.shape) >= 2)
    return IntegerProductStep(work, x, backend, threads) if fits else None
