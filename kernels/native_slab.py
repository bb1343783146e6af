"""C kernel of sparse float32 convolutions, whose activations are slabs (csrc/conv_slab)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..ops.fused_shapes import output_shape
from ..ops.fused_spec import ConvF32
from ._native import ffi, lib
from .csr_lanes import slab_channels
from .native import NativeStep, pointer, ukernels
from .native_elementwise import check_size, fill_shape
from .packing_csr import find_nonzeros, pack_csr, panels_for
from .step import SLAB, Array, ArraySpec, Layout, Shape, in_layout
from .sums import count_nonzeros


def conv_csr_f32(
    spec: ConvF32, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    """layout: slab, the only one."""
    output = output_shape(spec, shapes)
    lanes = shapes[0][1], math.prod(spec.window.kernel), SLAB
    check_size(lanes, *(in_layout(shape, "slab") for shape in (output, *shapes)))
    kernel, window = ukernels("conv_csr_f32")[0], spec.window
    in_place = (window.kernel, window.strides) == ((1, 1), (1, 1)) and not any(window.pads)
    taps = np.arange(math.prod(window.kernel), dtype=np.int64).reshape(window.kernel) * SLAB
    channel_block = slab_channels(spec.weight.shape, spec.groups, count_nonzeros(spec.weight))
    nonzeros = find_nonzeros(spec.weight, spec.groups, taps.size * SLAB, taps, channel_block)
    panels = panels_for(output[0] * math.prod(output[2:]), output[1], threads)
    packed = pack_csr(nonzeros, kernel.k_group, panels, 0)
    bias = np.array(spec.bias, np.float32)
    params = ffi.new("sp_conv_csr_f32 *")
    fill_shape(params, window, spec.groups, shapes[0], output)
    keep: list[Array] = [packed.part_segment, packed.part_byte, packed.segments, packed.entries]
    types = ("int32_t *", "int64_t *", "sp_csr_segment *", "void *")
    sizes = (packed.panels, packed.split_rows, packed.parts, channel_block)
    params.matrix = (*sizes, *map(pointer, keep, types))
    params.ukernel, params.in_place = kernel.index, in_place
    params.bias, params.lo, params.hi = pointer(bias, "float *"), spec.lo, spec.hi
    params.has_residual = spec.has_residual
    return NativeStep(
        lib.SP_CONV_CSR_F32,
        params,
        [*keep, bias],
        [ArraySpec(in_layout(shape, "slab"), np.dtype(np.float32)) for shape in shapes],
        ArraySpec(in_layout(output, "slab"), np.dtype(np.float32)),
        weight_bytes=packed.nbytes,
        detail=f"{kernel.name}, {'in place' if in_place else 'gathered'}",
        threads=threads,
    )
