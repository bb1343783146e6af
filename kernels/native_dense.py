"""C kernels of the dense int8 products: convolution, depthwise convolution, matrix product.

Each function prepares a step for inputs of the given logical (NCHW) shapes, as the registry
describes. Weights are kept in packed form only; `-x_zero_point * sum(w)` is folded into the bias.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..ops import fused_spec as fs
from ..ops.fused_shapes import input_dtype, output_dtype, output_shape
from . import memory, native
from ._native import ffi, lib
from .grouped import join_groups, pack_grouped
from .native import CData, NativeStep, pointer
from .native_elementwise import check_size, fill_shape
from .native_products import largest_activation, pack_product
from .packing_depthwise import output_rows, pack_depthwise, pairs_fit
from .step import Array, ArraySpec, Layout, Shape, in_layout
from .sums import extremes, fold_zero_point, reach

EPILOGUE_SLACK = 64  # SP_EPILOGUE_SLACK in csrc/epilogue/epilogue.h


def range_of(output: fs.OutputRange) -> tuple[int, int, int]:
    return output.zero_point, output.lo, output.hi


def choose_depthwise(weight: Array) -> native.Ukernel:
    """The first runnable micro-kernel of the table that holds such weights."""
    found = native.ukernels("depthwise_s8")
    return next(k for k in found if k.weight_bytes >= weight.dtype.itemsize)


def _with_slack(values: Array) -> Array:
    """A copy with zeros behind the last one, which vectors may read."""
    size = len(values)
    copy = memory.empty((size + EPILOGUE_SLACK) * values.itemsize).view(values.dtype)
    copy[:size] = values
    copy[size:] = 0
    return copy


def folded_bias(weight: Array, bias: fs.I32, x_zero_point: int) -> fs.I32:
    """bias - x_zero_point * sum(w), modulo 2^32. weight: [O, ...]."""
    return _with_slack(fold_zero_point(bias, weight, x_zero_point))


def fits_int32(spec: fs.ConvS8) -> bool:
    """Whether the epilogue's values fit int32 when they are rounded, whatever the inputs are."""
    residual = spec.residual
    if residual is not None:
        factors = [residual.multiplier]
        if residual.conv_output is not None:
            factors.append(residual.conv_multiplier)
        if max(factors) >= 2**20:  # of values below 2^8
            return False
    return _scaled_sums_fit(spec)


def _scaled_sums_fit(spec: fs.ConvS8) -> bool:
    """Whether every `sum * multiplier` lies within 2^30."""
    if extremes(spec.multiplier)[1] <= 0.5:  # |sum| <= 2^31
        return True
    # A channel whose weights are all zero may have any scale: its sum is its bias.
    least, most = reach(
        spec.weight, -spec.x_zero_point, largest_activation(spec) - spec.x_zero_point
    )
    farthest = np.maximum(np.abs(spec.bias + least), np.abs(spec.bias + most))
    scaled = np.minimum(farthest, 2**31) * spec.multiplier.astype(np.float64)  # sums wrap
    return bool((scaled <= 2**30).all())


def fill_epilogue(epilogue: CData, spec: fs.ConvS8, bias: fs.I32) -> list[Array]:
    """Fill an sp_epilogue of zeros; the arrays that it points to."""
    multiplier = _with_slack(spec.multiplier)
    keep: list[Array] = [bias, multiplier]
    epilogue.bias = pointer(bias, "int32_t *")
    epilogue.multiplier = pointer(multiplier, "float *")
    epilogue.output = range_of(spec.output)
    epilogue.fits = fits_int32(spec)
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
    output: Shape,
    layout: Layout,
    threads: int,
    op: int,
    params: CData,
    detail: str | Callable[[], str],
    keep: Sequence[Array],
) -> NativeStep:
    """keep: what the params point to, the packed weights first."""
    return NativeStep(
        op,
        params,
        keep,
        [ArraySpec(in_layout(shape, layout), input_dtype(spec)) for shape in shapes],
        ArraySpec(in_layout(output, layout), output_dtype(spec)),
        weight_bytes=keep[0].nbytes,
        detail=detail,
        threads=threads,
    )


def conv_s8(spec: fs.ConvS8, shapes: Sequence[Shape], layout: Layout, threads: int) -> NativeStep:
    output = output_shape(spec, shapes)
    check_size(output, *shapes)
    spec = join_groups(spec)
    packed = pack_product(spec, by_rows=fits_int32(spec))
    params = ffi.new("sp_conv_s8 *")
    fill_shape(params, spec.window, spec.groups, shapes[0], output)
    params.x_zero_point = spec.x_zero_point
    bias = folded_bias(spec.weight, spec.bias, spec.x_zero_point - packed.lowest)
    params.row_bytes = packed.row_bytes
    keep = [*packed.fill(params), *fill_epilogue(params.epilogue, spec, bias)]
    return _step(
        spec, shapes, output, layout, threads, lib.SP_CONV_S8, params, lambda: packed.detail, keep
    )


def _pack_depthwise(spec: fs.ConvS8) -> tuple[native.Ukernel, Array]:
    """AVX2 alone adds pairs of products in int16, where they fit and rows are enough for quads."""
    ukernel, taps = choose_depthwise(spec.weight), spec.weight[:, 0]
    stride_h = spec.window.strides[0]
    if ukernel.isa == "avx2" and taps.dtype == np.int8 and spec.window.kernel[0] > 2:
        quads = native.ukernels("depthwise_quads_s8")[0]
        rows = _output_rows(spec, quads)
        if pairs_fit(taps, rows, stride_h, largest_activation(spec)):
            ukernel = quads
    taps = taps.astype(f"i{ukernel.weight_bytes}", copy=False)
    rows = _output_rows(spec, ukernel)
    return ukernel, pack_depthwise(taps, rows, ukernel.nr, ukernel.k_group, stride_h)


def _output_rows(spec: fs.ConvS8, ukernel: native.Ukernel) -> int:
    window = spec.window
    return output_rows(window.kernel[0], window.strides[0], window.dilations[0], ukernel.k_group)


def depthwise_s8(
    spec: fs.ConvS8, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    output = output_shape(spec, shapes)
    check_size(output, *shapes)
    ukernel, weights = _pack_depthwise(spec)
    params = ffi.new("sp_depthwise_s8 *")
    fill_shape(params, spec.window, spec.groups, shapes[0], output)
    params.ukernel, params.x_zero_point = ukernel.index, spec.x_zero_point
    params.weights = pointer(weights)
    bias = folded_bias(spec.weight, spec.bias, spec.x_zero_point)
    keep = [weights, *fill_epilogue(params.epilogue, spec, bias)]
    return _step(
        spec, shapes, output, layout, threads, lib.SP_DEPTHWISE_S8, params, ukernel.name, keep
    )


def grouped_s8(
    spec: fs.ConvS8, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    output = output_shape(spec, shapes)
    check_size(output, *shapes)
    ukernel = native.ukernels("grouped_s8")[0]
    weights = native.aligned(pack_grouped(spec.weight))
    params = ffi.new("sp_grouped_s8 *")
    fill_shape(params, spec.window, spec.groups, shapes[0], output)
    params.ukernel, params.x_zero_point = ukernel.index, spec.x_zero_point
    params.width, params.weights = spec.weight.shape[1], pointer(weights)
    bias = folded_bias(spec.weight, spec.bias, spec.x_zero_point)
    keep = [weights, *fill_epilogue(params.epilogue, spec, bias)]
    return _step(
        spec, shapes, output, layout, threads, lib.SP_GROUPED_S8, params, ukernel.name, keep
    )


def gemm_s8(spec: fs.GemmS8, shapes: Sequence[Shape], layout: Layout, threads: int) -> NativeStep:
    output = output_shape(spec, shapes)
    check_size(output, *shapes)
    packed = pack_product(spec)
    params = ffi.new("sp_gemm_s8 *")
    params.m, params.k = shapes[0]
    params.n = spec.weight.shape[0]
    bias = folded_bias(spec.weight, spec.bias, spec.x_zero_point)
    params.bias = pointer(bias, "int32_t *")
    keep = [*packed.fill(params), bias]
    return _step(
        spec, shapes, output, layout, threads, lib.SP_GEMM_S8, params, lambda: packed.detail, keep
    )
