"""C kernels of the dense int8 products: convolution, depthwise convolution, matrix product.

Each function prepares a step for inputs of the given logical (NCHW) shapes, as the registry
describes. Weights are kept in packed form only; `-x_zero_point * sum(w)` is folded into the bias.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ops import fused_spec as fs
from ..ops.fused_shapes import input_dtype, output_dtype, output_shape
from . import native, packing
from ._native import ffi, lib
from .native import CData, NativeStep, pointer
from .native_elementwise import check_size, fill_shape
from .step import Array, ArraySpec, Layout, Shape, in_layout
from .sums import channel_sums

EPILOGUE_SLACK = 64  # SP_EPILOGUE_SLACK in csrc/epilogue/epilogue.h


def range_of(output: fs.OutputRange) -> tuple[int, int, int]:
    return output.zero_point, output.lo, output.hi


def choose_gemm(weight: Array) -> native.Ukernel:
    """The first runnable micro-kernel of the table that holds such weights in the fewest bytes."""
    found = native.ukernels("gemm_s8")
    return next(k for k in found if k.weight_bytes == weight.dtype.itemsize)


def choose_depthwise(weight: Array) -> native.Ukernel:
    """The first runnable micro-kernel that holds such weights and needs no more channels."""
    found = [
        kernel
        for kernel in native.ukernels("depthwise_s8")
        if kernel.weight_bytes >= weight.dtype.itemsize
    ]
    return next((kernel for kernel in found if kernel.nr <= len(weight)), found[-1])


def _with_slack(values: Array) -> Array:
    """A copy with values behind the last one that vectors may read."""
    return native.aligned(np.pad(values, (0, EPILOGUE_SLACK)))


def folded_bias(weight: Array, bias: fs.I32, x_zero_point: int) -> fs.I32:
    """bias - x_zero_point * sum(w), modulo 2^32. weight: [O, ...]."""
    folded = bias.astype(np.int64) - x_zero_point * channel_sums(weight)
    return _with_slack(folded.astype(np.uint32).view(np.int32))


def fill_epilogue(epilogue: CData, spec: fs.ConvS8, bias: fs.I32) -> list[Array]:
    """Fill an sp_epilogue; the arrays that it points to."""
    multiplier = _with_slack(spec.multiplier)
    keep: list[Array] = [bias, multiplier]
    epilogue.bias = pointer(bias, "int32_t *")
    epilogue.multiplier = pointer(multiplier, "float *")
    epilogue.output = range_of(spec.output)
    epilogue.residual_mode = lib.SP_RESIDUAL_NONE
    if spec.residual is not None:
        residual = spec.residual
        epilogue.residual_mode = lib.SP_RESIDUAL_ACCUMULATOR
        epilogue.residual_zero_point = residual.zero_point
        epilogue.residual_multiplier = residual.multiplier
        if residual.conv_output is not None:
            epilogue.residual_mode = lib.SP_RESIDUAL_QUANTIZED
            epilogue.conv_output = range_of(residual.conv_output)
            epilogue.conv_multiplier = residual.conv_multiplier
    if spec.table is not None:
        table = native.aligned(spec.table)
        keep.append(table)
        epilogue.table = pointer(table, "uint8_t *")
    return keep


def _step(
    spec: fs.ConvS8 | fs.GemmS8,
    shapes: Sequence[Shape],
    layout: Layout,
    threads: int,
    op: int,
    params: CData,
    ukernel: native.Ukernel,
    weights: Array,
    keep: Sequence[object],
) -> NativeStep:
    return NativeStep(
        op,
        params,
        [weights, *keep],
        [ArraySpec(in_layout(shape, layout), input_dtype(spec)) for shape in shapes],
        ArraySpec(in_layout(output_shape(spec, shapes), layout), output_dtype(spec)),
        weight_bytes=weights.nbytes,
        detail=ukernel.name,
        threads=threads,
    )


def conv_s8(spec: fs.ConvS8, shapes: Sequence[Shape], layout: Layout, threads: int) -> NativeStep:
    output = output_shape(spec, shapes)
    check_size(output, *shapes)
    ukernel = choose_gemm(spec.weight)
    outputs = spec.weight.shape[0]
    rows = spec.weight.transpose(0, 2, 3, 1).reshape(spec.groups, outputs // spec.groups, -1)
    weights = packing.pack_panels(rows, ukernel.nr, ukernel.k_group)
    params = ffi.new("sp_conv_s8 *")
    fill_shape(params.shape, spec.window, spec.groups, shapes[0], output)
    params.ukernel, params.x_zero_point = ukernel.index, spec.x_zero_point
    params.k_padded = packing.padded_k(rows.shape[2], ukernel.k_group)
    params.weights = pointer(weights)
    bias = folded_bias(spec.weight, spec.bias, spec.x_zero_point)
    keep = fill_epilogue(params.epilogue, spec, bias)
    return _step(spec, shapes, layout, threads, lib.SP_CONV_S8, params, ukernel, weights, keep)


def depthwise_s8(
    spec: fs.ConvS8, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    output = output_shape(spec, shapes)
    check_size(output, *shapes)
    ukernel = choose_depthwise(spec.weight)
    taps = spec.weight.reshape(len(spec.weight), -1).astype(f"i{ukernel.weight_bytes}")
    weights = packing.pack_depthwise(taps, ukernel.nr, ukernel.k_group)
    params = ffi.new("sp_depthwise_s8 *")
    fill_shape(params.shape, spec.window, spec.groups, shapes[0], output)
    params.ukernel, params.x_zero_point = ukernel.index, spec.x_zero_point
    params.weights = pointer(weights)
    bias = folded_bias(spec.weight, spec.bias, spec.x_zero_point)
    keep = fill_epilogue(params.epilogue, spec, bias)
    return _step(spec, shapes, layout, threads, lib.SP_DEPTHWISE_S8, params, ukernel, weights, keep)


def gemm_s8(spec: fs.GemmS8, shapes: Sequence[Shape], layout: Layout, threads: int) -> NativeStep:
    check_size(output_shape(spec, shapes), *shapes)
    ukernel = choose_gemm(spec.weight)
    weights = packing.pack_panels(spec.weight[None], ukernel.nr, ukernel.k_group)
    params = ffi.new("sp_gemm_s8 *")
    params.m, params.k = shapes[0]
    params.n = spec.weight.shape[0]
    params.k_padded = packing.padded_k(params.k, ukernel.k_group)
    params.ukernel, params.weights = ukernel.index, pointer(weights)
    bias = folded_bias(spec.weight, spec.bias, spec.x_zero_point)
    params.bias = pointer(bias, "int32_t *")
    return _step(spec, shapes, layout, threads, lib.SP_GEMM_S8, params, ukernel, weights, [bias])
