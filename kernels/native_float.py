"""The C kernel of the dense float32 convolution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ops import fused_spec as fs
from ..ops.fused_shapes import output_shape
from . import native
from ._native import ffi, lib
from .native_elementwise import check_size, fill_shape
from .step import Array, ArraySpec, Layout, Shape, in_layout

F32 = np.dtype(np.float32)


def _is_depthwise(spec: fs.ConvF32) -> bool:
    """As csrc/conv_f32/driver.c sees it."""
    outputs, per_group = spec.weight.shape[:2]
    return spec.groups > 1 and spec.groups == outputs and per_group == 1


def _pack(spec: fs.ConvF32, nr: int) -> tuple[Array, Array]:
    """Weights [groups, panels, K, nr] and bias [groups, panels, nr], zero-filled to whole panels.

    K runs over (kernel_h, kernel_w, channels of a group).
    """
    columns = spec.weight.shape[0] // spec.groups
    panels = -(-columns // nr)
    rows = spec.weight.transpose(0, 2, 3, 1).reshape(spec.groups, columns, -1)
    fill = panels * nr - columns
    weight = np.pad(rows, ((0, 0), (0, fill), (0, 0)))
    weight = weight.reshape(spec.groups, panels, nr, -1).transpose(0, 1, 3, 2)
    bias = np.pad(spec.bias.reshape(spec.groups, columns), ((0, 0), (0, fill)))
    return native.aligned(weight), native.aligned(bias)


def choose_gemm(columns: int) -> native.Ukernel:
    """A micro-kernel of the best instruction set: the first, unless it computes too many columns in
    vain. The narrowest loads more for each product; a tenth is about what that costs.
    """
    found = native.ukernels("gemm_f32")
    usable = [kernel for kernel in found if kernel.isa == found[0].isa]
    narrowest = min(kernel.nr for kernel in usable)

    def cost(kernel: native.Ukernel) -> float:
        return -(-columns // kernel.nr) * kernel.nr * (1.1 if kernel.nr == narrowest else 1.0)

    return min(usable, key=cost)


def choose_depthwise(channels: int) -> native.Ukernel:
    """The first micro-kernel whose vectors the channels fill; they run one by one where none is."""
    found = native.ukernels("depthwise_f32")
    return next((kernel for kernel in found if kernel.nr <= channels), found[0])


def conv_f32(
    spec: fs.ConvF32, shapes: Sequence[Shape], layout: Layout, threads: int
) -> native.NativeStep:
    output = output_shape(spec, shapes)
    check_size(output, *shapes)
    if _is_depthwise(spec):
        ukernel = choose_depthwise(len(spec.weight))
        weight = native.aligned(spec.weight[:, 0].transpose(1, 2, 0))
        bias = native.aligned(spec.bias)
    else:
        ukernel = choose_gemm(spec.weight.shape[0] // spec.groups)
        weight, bias = _pack(spec, ukernel.nr)
    params = ffi.new("sp_conv_f32 *")
    fill_shape(params, spec.window, spec.groups, shapes[0], output)
    params.ukernel = ukernel.index
    params.weights = native.pointer(weight, "float *")
    params.bias = native.pointer(bias, "float *")
    params.lo, params.hi, params.has_residual = spec.lo, spec.hi, spec.has_residual
    return native.NativeStep(
        lib.SP_CONV_F32,
        params,
        [weight, bias],
        [ArraySpec(in_layout(shape, layout), F32) for shape in shapes],
        ArraySpec(in_layout(output, layout), F32),
        weight_bytes=weight.nbytes,
        detail=ukernel.name,
        threads=threads,
    )
