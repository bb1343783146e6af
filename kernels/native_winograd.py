"""The C kernel of the exact integer Winograd convolution: 3x3, stride 1.

Transformed weights take eight times the bytes of the int8 ones; `transforms_in_runs` tells which
layers keep the latter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ops import fused_spec as fs
from ..ops.fused_shapes import output_shape
from . import memory, native, packing
from ._native import ffi, lib
from .grouped import COLUMN_GROUP, round_up
from .native import CData, NativeStep, Ukernel, pointer
from .native_dense import fill_epilogue, folded_bias
from .native_dynamic import fill_real
from .native_elementwise import check_size, fill_shape, plain_step
from .packing_winograd import POSITIONS, TAPS, count_tiles, transforms_in_runs
from .step import Array, Layout, Shape


def winograd_s8(
    spec: fs.ConvS8, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    """Prepare a step for inputs of the given logical (NCHW) shapes. Raises ModelError."""
    params = ffi.new("sp_winograd_s8 *")
    weights, detail = _fill_product(params, spec, shapes)
    params.x_zero_point = spec.x_zero_point
    bias = folded_bias(spec.weight, spec.bias, spec.x_zero_point)
    keep = fill_epilogue(params.epilogue, spec, bias)
    return plain_step(
        *(spec, shapes, layout, threads, lib.SP_WINOGRAD_S8, params, [weights, *keep]),
        weight_bytes=weights.nbytes,
        detail=detail,
    )


def dynamic_winograd(
    spec: fs.DynamicConv, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    """The same of what was quantized by its own range, to floats."""
    params = ffi.new("sp_dynamic_winograd *")
    weights, detail = _fill_product(params.product, fs.sums_of(spec), shapes[:1])
    keep = fill_real(params.real, spec)
    return plain_step(
        *(spec, shapes, layout, threads, lib.SP_DYNAMIC_WINOGRAD, params, [weights, *keep]),
        weight_bytes=weights.nbytes,
        detail=detail,
    )


def _fill_product(params: CData, spec: fs.ConvS8, shapes: Sequence[Shape]) -> tuple[Array, str]:
    """Fill what makes the sums, but for the zero point. The packed weights; what is to say."""
    output = output_shape(spec, shapes)
    check_size(output, *shapes)
    ukernel = native.ukernels("winograd_s8")[0]
    batch, _, height, width = output
    tiles = count_tiles(batch, height, width)
    transformed = not transforms_in_runs(ukernel.isa, tiles, spec.weight)
    weights = _pack(spec.weight, ukernel, transformed)
    fill_shape(params, spec.window, spec.groups, shapes[0], output)
    params.ukernel = ukernel.index
    params.k_padded = packing.padded_k(spec.weight.shape[1], ukernel.k_group)
    params.transformed = transformed
    params.weights = pointer(weights)
    return weights, ukernel.name + ("" if transformed else ", weights transformed in each run")


def _pack(weight: Array, ukernel: Ukernel, transformed: bool) -> Array:
    """int8 [O, C, 3, 3] in one of the two forms of sp_winograd_s8."""
    outputs, channels = weight.shape[:2]
    columns = round_up(outputs, COLUMN_GROUP)
    kernels = columns * packing.padded_k(channels, ukernel.k_group)
    given = pointer(np.ascontiguousarray(weight), "int8_t *")
    if transformed:
        packed = memory.empty(2 * POSITIONS * kernels)
        lib.sp_pack_winograd(given, outputs, channels, ukernel.nr, pointer(packed, "int16_t *"))
    else:
        packed = memory.empty(TAPS * kernels)
        lib.sp_pack_winograd_taps(given, outputs, channels, pointer(packed, "int8_t *"))
    return packed
