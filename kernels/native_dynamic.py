"""C kernels of dynamic quantization: ranges, and convolutions of what was quantized by them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ops import fused_spec as fs
from ..ops.fused_shapes import output_shape
from ._native import ffi, lib
from .native import CData, NativeStep, aligned, aligned_zeros, pointer
from .native_elementwise import check_size, elements, fill_shape, plain_step
from .native_float import choose_depthwise
from .native_products import in_rows, pack_product
from .step import Array, Layout, Shape
from .sums import count_weights


def dynamic_range(
    spec: fs.DynamicRange, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    params = ffi.new("sp_dynamic_range *", [elements(shapes[0])])
    return plain_step(spec, shapes, layout, threads, lib.SP_DYNAMIC_RANGE, params)


def dynamic_quantize(
    spec: fs.DynamicQuantize, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    params = ffi.new("sp_dynamic_quantize *", [elements(shapes[0])])
    return plain_step(spec, shapes, layout, threads, lib.SP_DYNAMIC_QUANTIZE, params)


def fill_real(real: CData, spec: fs.DynamicConv) -> list[Array]:
    """Fill an sp_dynamic_real; the arrays that it points to."""
    sums = aligned(count_weights(spec.weight).sums.astype(np.int32))
    scale, bias = aligned(spec.weight_scale), aligned(spec.bias)
    real.weight_sum = pointer(sums, "int32_t *")
    real.weight_scale, real.bias = pointer(scale, "float *"), pointer(bias, "float *")
    real.lo, real.hi = spec.lo, spec.hi
    return [sums, scale, bias]


def dynamic_conv(
    spec: fs.DynamicConv, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    output = output_shape(spec, shapes)
    check_size(output, *shapes)
    (rows,) = in_rows(fs.sums_of(spec))
    packed = pack_product(fs.GemmS8(rows, np.zeros(len(rows), np.int32), 0))
    params = ffi.new("sp_dynamic_conv *")
    fill_shape(params.product, spec.window, spec.groups, shapes[0], output)
    keep = [*packed.fill(params.product), *fill_real(params.real, spec)]
    return plain_step(
        *(spec, shapes, layout, threads, lib.SP_DYNAMIC_CONV, params, keep),
        weight_bytes=packed.weights.nbytes,
        detail=lambda: packed.detail,
    )


def dynamic_depthwise(
    spec: fs.DynamicConv, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    output = output_shape(spec, shapes)
    check_size(output, *shapes)
    ukernel = choose_depthwise(len(spec.weight))
    weight = aligned(spec.weight[:, 0].transpose(1, 2, 0).astype(np.float32))
    bias = aligned_zeros(spec.bias.shape, np.float32)
    params = ffi.new("sp_dynamic_depthwise *")
    product = params.product
    fill_shape(product, spec.window, spec.groups, shapes[0], output)
    product.ukernel, product.weights = ukernel.index, pointer(weight, "float *")
    product.bias = pointer(bias, "float *")
    keep = [weight, bias, *fill_real(params.real, spec)]
    return plain_step(
        *(spec, shapes, layout, threads, lib.SP_DYNAMIC_DEPTHWISE, params, keep),
        weight_bytes=weight.nbytes,
        detail=ukernel.name,
    )
