"""The C kernel of the float32 Winograd convolution: 3x3, stride 1. csrc/conv_f32/winograd.h has the
arithmetic. Transformed weights take four times the bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ops import fused_spec as fs
from ..ops.fused_shapes import output_shape
from ..ops.winograd_bound import WEIGHT_TRANSFORM
from . import native
from ._native import ffi, lib
from .native_elementwise import check_size, fill_shape
from .native_float import F32, choose_gemm
from .step import Array, ArraySpec, Layout, Shape, in_layout

POSITIONS, TAPS = 36, 9


def winograd_f32(
    spec: fs.ConvF32, shapes: Sequence[Shape], layout: Layout, threads: int
) -> native.NativeStep:
    """Prepare a step for inputs of the given logical (NCHW) shapes. Raises ModelError."""
    output = output_shape(spec, shapes)
    check_size(output, *shapes)
    products = choose_gemm(len(spec.weight))
    ukernel = next(k for k in native.ukernels("winograd_f32") if k.isa == products.isa)
    weight = _pack(spec.weight, products.nr)
    bias = native.aligned(np.pad(spec.bias, (0, -len(spec.bias) % products.nr)))
    params = ffi.new("sp_winograd_f32 *")
    fill_shape(params, spec.window, spec.groups, shapes[0], output)
    params.ukernel, params.products = ukernel.index, products.index
    params.weights = native.pointer(weight, "float *")
    params.bias = native.pointer(bias, "float *")
    params.lo, params.hi, params.has_residual = spec.lo, spec.hi, spec.has_residual
    return native.NativeStep(
        lib.SP_WINOGRAD_F32,
        params,
        [weight, bias],
        [ArraySpec(in_layout(shape, layout), F32) for shape in shapes],
        ArraySpec(in_layout(output, layout), F32),
        weight_bytes=weight.nbytes,
        detail=f"{ukernel.name}, {products.name}",
        threads=threads,
    )


def _pack(weight: Array, nr: int) -> Array:
    """float32 [O, C, 3, 3] to [panels, 36, C, nr], in float64 but for the last rounding."""
    outputs, channels = weight.shape[:2]
    panels = -(-outputs // nr)
    both = np.kron(WEIGHT_TRANSFORM, WEIGHT_TRANSFORM)
    packed = native.aligned(np.zeros((panels, POSITIONS, channels, nr), np.float32))
    for panel in range(panels):
        part = weight[panel * nr : (panel + 1) * nr].reshape(-1, TAPS).T
        transformed = (both @ part.astype(np.float64)).reshape(POSITIONS, -1, channels)
        packed[panel, :, :, : transformed.shape[1]] = transformed.transpose(0, 2, 1)
    return packed
