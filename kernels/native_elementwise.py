"""C kernels without weights: quantization, elementwise operators, poolings, data movement.

Each function prepares a step for inputs of the given logical (NCHW) shapes, as the registry
describes; the structs are documented in csrc/sparing.h.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import ModelError
from ..ops import fused_spec as fs
from ..ops.fused import average_pool_multipliers
from ..ops.fused_shapes import input_dtype, output_dtype, output_shape
from ._native import ffi, lib
from .native import CData, NativeStep, aligned, pointer
from .step import WORD, ArraySpec, Layout, Shape, in_layout

MAX_ELEMENTS = 2**31 - 1  # the structs count rows, pixels and channels in 32 bits
MAX_INPUTS = 1024  # SP_MAX_INPUTS in csrc/operators.h


def elements(shape: Shape) -> int:
    return math.prod(shape)


def check_size(*shapes: Shape) -> None:
    """Raise ModelError for arrays with more elements than the C kernels can count."""
    for shape in shapes:
        if math.prod(shape) > MAX_ELEMENTS:
            raise ModelError(
                f"expected at most {MAX_ELEMENTS} elements in an activation, got shape "
                f"{list(shape)}"
            )


def plain_step(
    spec: fs.Spec,
    shapes: Sequence[Shape],
    layout: Layout,
    threads: int,
    op: int,
    params: CData,
    keep: Sequence[object] = (),
    *,
    weight_bytes: int = 0,
    detail: str | Callable[[], str] = "",
) -> NativeStep:
    """The step of any operator. keep: what params points to."""
    output = output_shape(spec, shapes)
    check_size(*(in_layout(shape, layout) for shape in (output, *shapes)))
    return NativeStep(
        op,
        params,
        keep,
        [
            ArraySpec(in_layout(shape, layout), input_dtype(spec, i))
            for i, shape in enumerate(shapes)
        ],
        ArraySpec(in_layout(output, layout), output_dtype(spec)),
        weight_bytes=weight_bytes,
        detail=detail,
        threads=threads,
    )


def _range(output: fs.OutputRange) -> tuple[int, int, int]:
    return output.zero_point, output.lo, output.hi


def quantize(
    spec: fs.Quantize, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    params = ffi.new("sp_quantize *", [elements(shapes[0]), spec.scale, _range(spec.output)])
    return plain_step(spec, shapes, layout, threads, lib.SP_QUANTIZE, params)


def dequantize(
    spec: fs.Dequantize, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    params = ffi.new("sp_dequantize *", [elements(shapes[0]), spec.scale, spec.zero_point])
    return plain_step(spec, shapes, layout, threads, lib.SP_DEQUANTIZE, params)


def add_s8(spec: fs.AddS8, shapes: Sequence[Shape], layout: Layout, threads: int) -> NativeStep:
    params = ffi.new("sp_add_s8 *")
    params.count = elements(in_layout(shapes[0], layout))
    params.a_zero_point, params.b_zero_point = spec.a_zero_point, spec.b_zero_point
    params.a_multiplier, params.b_multiplier = spec.a_multiplier, spec.b_multiplier
    params.output = _range(spec.output)
    return plain_step(spec, shapes, layout, threads, lib.SP_ADD_S8, params)


def mul_s8(spec: fs.MulS8, shapes: Sequence[Shape], layout: Layout, threads: int) -> NativeStep:
    output_shape(spec, shapes)
    first = shapes[0]
    params = ffi.new("sp_mul_s8 *")
    # [N, C, spatial...]: without a broadcast only the product of the three counts
    params.batch = first[0] if first else 1
    params.channels = first[1] if len(first) > 1 else 1
    params.pixels = elements(first[2:])
    params.nhwc, params.b_broadcast = layout == "nhwc", shapes[1] != first
    params.a_zero_point, params.b_zero_point = spec.a_zero_point, spec.b_zero_point
    params.multiplier, params.output = spec.multiplier, _range(spec.output)
    return plain_step(spec, shapes, layout, threads, lib.SP_MUL_S8, params)


def rescale_s8(
    spec: fs.RescaleS8, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    params = ffi.new("sp_rescale_s8 *")
    params.count, params.x_zero_point = elements(in_layout(shapes[0], layout)), spec.x_zero_point
    params.multiplier, params.output = spec.multiplier, _range(spec.output)
    return plain_step(spec, shapes, layout, threads, lib.SP_RESCALE_S8, params)


def concat_s8(
    spec: fs.ConcatS8, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    """Raises ModelError for more than MAX_INPUTS parts."""
    if len(shapes) > MAX_INPUTS:
        raise ModelError(f"expected at most {MAX_INPUTS} inputs of a Concat, got {len(shapes)}")
    batch, channels, height, width = output_shape(spec, shapes)
    # rows of one image (nchw) or of one pixel (nhwc)
    outer, unit = (batch * height * width, 1) if layout == "nhwc" else (batch, height * width)
    parts = ffi.new("sp_concat_part[]", len(shapes))
    offset = 0
    for part, rescale, shape in zip(parts, spec.parts, shapes, strict=True):
        part.outer, part.inner = outer, shape[1] * unit
        part.out_stride, part.out_offset = channels * unit, offset
        part.copy = rescale is None
        if rescale is not None:
            part.x_zero_point, part.multiplier = rescale.x_zero_point, rescale.multiplier
            part.output = _range(rescale.output)
        offset += shape[1] * unit
    params = ffi.new("sp_concat_s8 *", [len(shapes), parts])
    return plain_step(spec, shapes, layout, threads, lib.SP_CONCAT_S8, params, [parts])


def table_s8(spec: fs.TableS8, shapes: Sequence[Shape], layout: Layout, threads: int) -> NativeStep:
    table = aligned(spec.table)
    count = elements(in_layout(shapes[0], layout))
    params = ffi.new("sp_table_s8 *", [count, pointer(table, "uint8_t *")])
    return plain_step(spec, shapes, layout, threads, lib.SP_TABLE_S8, params, [table])


def fill_shape(params: CData, window: fs.Window, groups: int, x: Shape, y: Shape) -> None:
    """Fill the sp_conv_shape of a window that turns logical shape x into y."""
    batch, in_c, in_h, in_w = x
    _, out_c, out_h, out_w = y
    images = (batch, in_h, in_w, in_c, out_h, out_w, out_c, groups)
    sizes = (*window.kernel, *window.strides, *window.dilations, *window.pads[:2])
    params.shape = (*images, *sizes)


def max_pool_s8(
    spec: fs.MaxPoolS8, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    params = ffi.new("sp_max_pool_s8 *")
    fill_shape(params, spec.window, 1, shapes[0], output_shape(spec, shapes))
    return plain_step(spec, shapes, layout, threads, lib.SP_MAX_POOL_S8, params)


def average_pool_s8(
    spec: fs.AveragePoolS8, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    params = ffi.new("sp_average_pool_s8 *")
    fill_shape(params, spec.window, 1, shapes[0], output_shape(spec, shapes))
    multipliers = aligned(average_pool_multipliers(spec, shapes[0][2], shapes[0][3]))
    params.x_zero_point, params.output = spec.x_zero_point, _range(spec.output)
    params.multiplier = pointer(multipliers, "float *")
    return plain_step(spec, shapes, layout, threads, lib.SP_AVERAGE_POOL_S8, params, [multipliers])


def transpose(
    shape: Shape, source: Layout, target: Layout, dtype: np.dtype[Any], threads: int
) -> NativeStep:
    """Change the memory order of an activation of logical shape [N, C, H, W].

    dtype: of 1 or 4 bytes; nc4hw4 is for 1, slab for 4. Raises ModelError for another rank, element
    size or equal layouts.
    """
    words, slabs = "nc4hw4" in (source, target), "slab" in (source, target)
    sizes = [size for size, no in ((1, slabs), (4, words)) if not no]
    if len(shape) != 4 or source == target or dtype.itemsize not in sizes:
        raise ModelError(
            f"expected [N, C, H, W] of 1- or 4-byte elements (nc4hw4: 1, slab: 4) and two layouts, "
            f"got {dtype}{list(shape)} from {source} to {target}"
        )
    check_size(shape, in_layout(shape, source), in_layout(shape, target))
    batch, channels, height, width = shape
    pixels = height * width
    op, other = lib.SP_TRANSPOSE, source if target in ("nc4hw4", "slab") else target
    if slabs:
        op, fields = lib.SP_SLAB, [batch, channels, pixels, other == "nhwc", target == "slab"]
        params = ffi.new("sp_slab *", fields)
    elif words and (other == "nchw" or channels % WORD):
        op = lib.SP_NC4HW4
        fields = [batch, channels, pixels, other == "nhwc", target == "nc4hw4"]
        params = ffi.new("sp_nc4hw4 *", fields)
    else:  # of bytes, or of whole words
        bytes_each, planes = (WORD, channels // WORD) if words else (dtype.itemsize, channels)
        rows, columns = (pixels, planes) if source == "nhwc" else (planes, pixels)
        params = ffi.new("sp_transpose *", [batch, rows, columns, bytes_each])
    return NativeStep(
        op,
        params,
        (),
        [ArraySpec(in_layout(shape, source), dtype)],
        ArraySpec(in_layout(shape, target), dtype),
        threads=threads,
    )
