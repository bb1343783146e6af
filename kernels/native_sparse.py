"""C kernels of sparse int8 convolutions, channels first: of single weights (csrc/conv_csr), and of
blocks of four input channels (csrc/conv_block)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..errors import ModelError
from ..ops.fused_shapes import input_dtype, output_dtype, output_shape
from ..ops.fused_spec import ConvS8, GemmS8, conv_of
from ..records import record
from ._native import ffi, lib
from .csr_lanes import WIDTH, Lanes, plan_lanes, tap_offsets
from .native import CData, NativeStep, Ukernel, pointer, ukernels
from .native_dense import fill_epilogue, folded_bias
from .native_elementwise import check_size, fill_shape
from .packing_csr import PackedCsr, find_blocks, find_nonzeros, pack_csr, panels_for
from .step import WORD, Array, ArraySpec, Layout, Shape, in_layout
from .sums import count_nonzeros, count_weights

L1_BYTES = 24 * 1024  # of the input
# Non-zeros of a segment, below which loading and storing its sums costs more.
MIN_STEPS = 100
TOGETHER = 16  # SP_CSR_TOGETHER in csrc/conv_csr/csr.h
SOURCES = {
    "in place": lib.SP_CSR_IN_PLACE,
    "gathered": lib.SP_CSR_GATHERED,
    "planes": lib.SP_CSR_PLANES,
}


@record(frozen=True, slots=True)
class _Prepared:
    kernel: Ukernel
    output: Shape
    lanes: Lanes
    packed: PackedCsr
    keep: list[Array]  # what the struct's matrix points to


def _channel_block(lanes: Lanes, spec: ConvS8, taps: Array) -> int:
    """Input channels of a segment: their part of a block fits L1, unless segments get too short.

    taps: tap_offsets(...)
    """
    # within a slab of a block all lanes are read, of planes those that its taps reach
    touched = min(lanes.channel_lanes, WIDTH + int(taps.max()))
    per_channel = count_nonzeros(spec.weight) / math.prod(spec.weight.shape[:2])
    fits_l1 = max(1, L1_BYTES // touched)
    channels = spec.weight.shape[1]
    most = max(1, int(channels * per_channel / MIN_STEPS))
    return math.ceil(channels / min(math.ceil(channels / fits_l1), most))


def _pack(
    spec: ConvS8,
    kernel: Ukernel,
    lanes: Lanes,
    channels: int,
    panels: int,
    together: int,
) -> PackedCsr:
    """channels: of the input, in the unit of lanes. together: rows that stay in one panel."""
    taps = tap_offsets(lanes, spec.window)
    # padded taps hold the zero point, which may lie above x_max
    x_max = max(spec.x_max, spec.x_zero_point)
    channel_block = channels
    if kernel.op == "conv_block_s8":
        x_max = x_max if kernel.isa == "avx2" else 0  # the others do not add in int16
        nonzeros = find_blocks(spec.weight, spec.groups, lanes.channel_lanes, taps, x_max)
    else:
        if spec.groups == 1:  # groups read few channels
            channel_block = _channel_block(lanes, spec, taps)
        given = spec.weight, spec.groups, lanes.channel_lanes, taps, channel_block
        nonzeros = find_nonzeros(*given)
    return pack_csr(nonzeros, kernel.k_group, panels, x_max, together)


def _prepare(
    spec: ConvS8,
    shapes: Sequence[Shape],
    op: str,
    threads: int,
    params: CData,
    together: int = 1,
    nhwc: bool = False,
) -> _Prepared:
    """Pack the weights, and fill the struct's common part. together: rows that stay in a panel."""
    output = output_shape(spec, shapes)
    check_size(output, *shapes)
    kernel = ukernels(op)[0]
    x, entries, lane_bytes = shapes[0], count_nonzeros(spec.weight), kernel.weight_bytes
    if op == "conv_block_s8":  # words of channels stand for channels
        x = (x[0], x[1] // WORD, *x[2:])
        entries, lane_bytes, together = count_weights(spec.weight).blocks, WORD, WORD
    lanes = plan_lanes(spec.window, x, entries, lane_bytes, nhwc)
    if lanes.source == "planes" and lanes.channel_lanes * x[1] > 2**31 - 1:
        raise ModelError(
            f"sparse convolution: an input of shape {list(shapes[0])} padded by "
            f"{spec.window.pads} has more than {2**31 - 1} elements"
        )
    panels = panels_for(lanes.total, output[1], threads)
    packed = _pack(spec, kernel, lanes, x[1], panels, together)
    fill_shape(params, spec.window, spec.groups, x, output)
    params.lanes = (
        *(SOURCES[lanes.source], lanes.images, lanes.row_width, lanes.image_lanes),
        *(*lanes.phases, lanes.phase_lanes, lanes.channel_lanes),
    )
    keep: list[Array] = [packed.part_segment, packed.part_byte, packed.segments, packed.entries]
    types = ("int32_t *", "int64_t *", "sp_csr_segment *", "void *")
    pointers = map(pointer, keep, types)
    part_channels = packed.channel_block if packed.parts > 1 else x[1]
    sizes = (packed.panels, packed.split_rows, packed.parts, part_channels)
    params.matrix = (*sizes, *pointers)
    params.ukernel = kernel.index
    return _Prepared(kernel, output, lanes, packed, keep)


def _step(
    spec: ConvS8,
    shapes: Sequence[Shape],
    layout: Layout,
    threads: int,
    op: int,
    params: CData,
    prepared: _Prepared,
) -> NativeStep:
    source = "transposed" if layout == "nhwc" else prepared.lanes.source
    detail = f"{prepared.kernel.name}, {source}"
    if prepared.kernel.isa == "avx2":
        detail += f", windows of {prepared.packed.window}"
    return NativeStep(
        op,
        params,
        prepared.keep,
        [ArraySpec(in_layout(shape, layout), input_dtype(spec)) for shape in shapes],
        ArraySpec(in_layout(prepared.output, layout), output_dtype(spec)),
        weight_bytes=prepared.packed.nbytes,
        detail=detail,
        threads=threads,
    )


def conv_csr_s8(spec: ConvS8, shapes: Sequence[Shape], layout: Layout, threads: int) -> NativeStep:
    return _conv_s8(spec, shapes, layout, threads, "conv_csr_s8", lib.SP_CONV_CSR_S8)


def pointwise_csr_s8(
    spec: ConvS8, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    """A 1x1 convolution, channels last: blocks of pixels become lanes and back within a cache."""
    return _conv_s8(spec, shapes, layout, threads, "conv_csr_s8", lib.SP_CONV_CSR_S8)


def conv_block_s8(
    spec: ConvS8, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    return _conv_s8(spec, shapes, layout, threads, "conv_block_s8", lib.SP_CONV_BLOCK_S8)


def _conv_s8(
    spec: ConvS8,
    shapes: Sequence[Shape],
    layout: Layout,
    threads: int,
    name: str,
    op: int,
) -> NativeStep:
    params = ffi.new("sp_conv_csr_s8 *")
    params.nhwc = layout == "nhwc"
    together = TOGETHER if params.nhwc else 1
    prepared = _prepare(spec, shapes, name, threads, params, together, bool(params.nhwc))
    params.x_zero_point, params.window = spec.x_zero_point, prepared.packed.window
    bias = folded_bias(spec.weight, spec.bias, spec.x_zero_point)
    prepared.keep.extend(fill_epilogue(params.epilogue, spec, bias))
    return _step(spec, shapes, layout, threads, op, params, prepared)


def gemm_csr_s8(spec: GemmS8, shapes: Sequence[Shape], layout: Layout, threads: int) -> NativeStep:
    """A convolution of images of one pixel, but for its end."""
    output = output_shape(spec, shapes)
    conv = conv_of(spec)
    params = ffi.new("sp_conv_csr_s8 *")
    image = (*shapes[0], 1, 1)
    prepared = _prepare(conv, [image], "conv_csr_s8", threads, params, TOGETHER)
    params.window = prepared.packed.window
    bias = folded_bias(spec.weight, spec.bias, spec.x_zero_point)
    params.epilogue.bias = pointer(bias, "int32_t *")
    prepared.keep.append(bias)
    step = _step(conv, [image], layout, threads, lib.SP_GEMM_CSR_S8, params, prepared)
    step.inputs = (ArraySpec(shapes[0], input_dtype(spec)),)
    step.output = ArraySpec(output, output_dtype(spec))
    return step
