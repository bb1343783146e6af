"""The C kernel of the exact integer Winograd convolution: 3x3, stride 1.

Its packed weights take eight times the bytes of the int8 ones, so it is meant for layers whose
images are large beside their weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ops import fused_spec as fs
from ..ops.fused_shapes import input_dtype, output_dtype, output_shape
from . import native, packing
from ._native import ffi, lib
from .grouped import COLUMN_GROUP
from .native import NativeStep, pointer
from .native_dense import fill_epilogue, folded_bias
from .native_elementwise import check_size, fill_shape
from .packing_winograd import POSITIONS
from .step import ArraySpec, Layout, Shape, in_layout


def winograd_s8(
    spec: fs.ConvS8, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    """Prepare a step for inputs of the given logical (NCHW) shapes. Raises ModelError."""
    output = output_shape(spec, shapes)
    check_size(output, *shapes)
    ukernel = native.ukernels("winograd_s8")[0]
    outputs, channels = spec.weight.shape[:2]
    k_padded = packing.padded_k(channels, ukernel.k_group)
    values = POSITIONS * packing.round_up(outputs, COLUMN_GROUP) * k_padded
    weights = native.aligned_empty(2 * values)
    lib.sp_pack_winograd(
        pointer(np.ascontiguousarray(spec.weight), "int8_t *"),
        *(outputs, channels, ukernel.nr, ukernel.k_group),
        pointer(weights, "int16_t *"),
    )
    params = ffi.new("sp_winograd_s8 *")
    fill_shape(params.shape, spec.window, spec.groups, shapes[0], output)
    params.ukernel, params.x_zero_point = ukernel.index, spec.x_zero_point
    params.k_padded = k_padded
    params.weights = pointer(weights)
    bias = folded_bias(spec.weight, spec.bias, spec.x_zero_point)
    keep = fill_epilogue(params.epilogue, spec, bias)
    return NativeStep(
        lib.SP_WINOGRAD_S8,
        params,
        [weights, *keep],
        [ArraySpec(in_layout(shape, layout), input_dtype(spec)) for shape in shapes],
        ArraySpec(in_layout(output, layout), output_dtype(spec)),
        weight_bytes=weights.nbytes,
        detail=ukernel.name,
        threads=threads,
    )
