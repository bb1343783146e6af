"""C kernels of sparse convolutions, channels first (csrc/conv_csr)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import ModelError
from ..ops.fused_shapes import input_count, input_dtype, output_dtype, output_shape
from ..ops.fused_spec import ConvF32, ConvS8
from ._native import ffi, lib
from .csr_lanes import Lanes, plan_lanes, tap_offsets
from .native import CData, NativeStep, Ukernel, aligned, pointer, ukernels
from .packing_csr import PackedCsr, find_nonzeros, pack_csr, panels_for
from .step import Array, ArraySpec, Layout, Shape, in_layout

L1_BYTES = 24 * 1024  # of the input, beside weights and sums


def _source(lanes: Lanes) -> int:
    names = {
        "in place": lib.SP_CSR_IN_PLACE,
        "gathered": lib.SP_CSR_GATHERED,
        "planes": lib.SP_CSR_PLANES,
    }
    return int(names[lanes.source])


def _conv_shape(spec: ConvS8 | ConvF32, shape: Shape, output: Shape) -> tuple[int, ...]:
    w = spec.window
    return (
        *(shape[0], shape[2], shape[3], shape[1], output[2], output[3], output[1], spec.groups),
        *(*w.kernel, *w.strides, *w.dilations, w.pads[0], w.pads[1]),
    )


def _channel_block(lanes: Lanes, spec: ConvS8 | ConvF32, element_bytes: int) -> int:
    """Input channels whose part of a block fits L1."""
    reach = int(tap_offsets(lanes, spec.window).max()) if lanes.source == "planes" else 0
    touched = min(lanes.channel_lanes, 64 + reach)
    return max(16, L1_BYTES // (touched * element_bytes))


def _check_size(lanes: Lanes, channels: int, *shapes: Shape) -> None:
    sizes = [float(np.prod(shape, dtype=np.float64)) for shape in shapes]
    sizes.append(float(lanes.channel_lanes) * channels)
    if max(sizes) > 2**31 - 1:
        raise ModelError(
            f"sparse convolution: expected at most {2**31 - 1} elements in an activation, padding "
            f"included, got {int(max(sizes))} for shapes {[list(shape) for shape in shapes]}"
        )


def _prepare(
    spec: ConvS8 | ConvF32, shapes: Sequence[Shape], kernel: Ukernel, threads: int, x_max: int
) -> tuple[CData, PackedCsr, Lanes, list[object]]:
    """The struct's common part, and what it points to."""
    output = output_shape(spec, shapes)
    element_bytes = kernel.weight_bytes  # of weights and activations alike
    lanes = plan_lanes(spec.window, shapes[0], int(np.count_nonzero(spec.weight)), element_bytes)
    _check_size(lanes, shapes[0][1], output, *shapes)
    taps = tap_offsets(lanes, spec.window)
    nonzeros = find_nonzeros(spec.weight, spec.groups, lanes.channel_lanes, taps)
    channel_block = _channel_block(lanes, spec, 4) if element_bytes == 4 else 1 << 30
    panels = panels_for(lanes.total, output[1], threads)
    packed = pack_csr(nonzeros, kernel.k_group, panels, channel_block, x_max)

    params = ffi.new(
        "sp_conv_csr_f32 *" if isinstance(spec, ConvF32) else "sp_conv_csr_s8 *",
    )
    params.shape = _conv_shape(spec, shapes[0], output)
    params.lanes = (
        *(_source(lanes), lanes.images, lanes.row_width, lanes.image_lanes),
        *(*lanes.phases, lanes.phase_lanes, lanes.channel_lanes),
    )
    arrays: list[Array] = [
        packed.panel_segment,
        packed.panel_byte,
        packed.segments,
        aligned(packed.entries),
    ]
    types = ("int32_t *", "int64_t *", "sp_csr_segment *", "void *")
    pointers = map(pointer, arrays, types)
    params.matrix = (panels, packed.split_rows, *pointers)
    params.ukernel = kernel.index
    return params, packed, lanes, list(arrays)


def _step(
    spec: ConvS8 | ConvF32,
    shapes: Sequence[Shape],
    layout: Layout,
    threads: int,
    op: int,
    params: CData,
    keep: list[object],
    packed: PackedCsr,
    detail: str,
) -> NativeStep:
    output = output_shape(spec, shapes)
    assert len(shapes) == input_count(spec)
    return NativeStep(
        op,
        params,
        keep,
        [ArraySpec(in_layout(shape, layout), input_dtype(spec)) for shape in shapes],
        ArraySpec(in_layout(output, layout), output_dtype(spec)),
        weight_bytes=packed.nbytes,
        detail=detail,
        threads=threads,
    )


def _folded_bias(spec: ConvS8) -> Array:
    """bias - x_zp * sum(w), modulo 2^32: padded taps hold x_zp, so it is one constant a channel."""
    sums = spec.weight.sum(axis=(1, 2, 3), dtype=np.int64)
    folded = spec.bias.astype(np.int64) - spec.x_zero_point * sums
    return folded.astype(np.uint32).view(np.int32)


def conv_csr_s8(spec: ConvS8, shapes: Sequence[Shape], layout: Layout, threads: int) -> NativeStep:
    kernel = ukernels("conv_csr_s8")[0]
    # padded taps hold the zero point, which may lie above x_max
    x_max = max(spec.x_max, spec.x_zero_point)
    params, packed, lanes, keep = _prepare(spec, shapes, kernel, threads, x_max)
    params.x_zero_point, params.window = spec.x_zero_point, packed.window
    epilogue = params.epilogue
    bias, multiplier = _folded_bias(spec), np.array(spec.multiplier, np.float32)
    keep += [bias, multiplier]
    epilogue.bias, epilogue.multiplier = pointer(bias, "int32_t *"), pointer(multiplier, "float *")
    epilogue.output = (spec.output.zero_point, spec.output.lo, spec.output.hi)
    residual = spec.residual
    if residual is not None:
        epilogue.residual_zero_point = residual.zero_point
        epilogue.residual_multiplier = residual.multiplier
        epilogue.residual_mode = lib.SP_RESIDUAL_ACCUMULATOR
        middle = residual.conv_output
        if middle is not None:
            epilogue.residual_mode = lib.SP_RESIDUAL_QUANTIZED
            epilogue.conv_output = (middle.zero_point, middle.lo, middle.hi)
            epilogue.conv_multiplier = residual.conv_multiplier
    if spec.table is not None:
        table = np.array(spec.table, np.uint8)
        keep.append(table)
        epilogue.table = pointer(table, "uint8_t *")
    detail = f"{kernel.name}, {lanes.source}" + (
        f", windows of {packed.window} pairs" if kernel.k_group == 2 else ""
    )
    return _step(spec, shapes, layout, threads, lib.SP_CONV_CSR_S8, params, keep, packed, detail)


def conv_csr_f32(
    spec: ConvF32, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    kernel = ukernels("conv_csr_f32")[0]
    params, packed, lanes, keep = _prepare(spec, shapes, kernel, threads, 0)
    bias = np.array(spec.bias, np.float32)
    keep.append(bias)
    params.bias, params.lo, params.hi = pointer(bias, "float *"), spec.lo, spec.hi
    params.has_residual = spec.has_residual
    detail = f"{kernel.name}, {lanes.source}"
    return _step(spec, shapes, layout, threads, lib.SP_CONV_CSR_F32, params, keep, packed, detail)
