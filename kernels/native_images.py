"""C kernels on images and channels: pixels moved and interpolated, normalization, PRelu."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import ModelError
from ..ops import fused_spec as fs
from ..ops.fused_shapes import input_dtype, output_shape
from ._native import ffi, lib
from .native import CData, NativeStep, aligned, pointer
from .native_elementwise import check_size, elements, plain_step
from .step import Array, Layout, Shape, in_layout


def _check_sources(index: Array, size: int, least: int) -> None:
    """Raise ModelError for a source index outside the input; least: -1 where that means none."""
    if index.size and not least <= index.min() <= index.max() < size:
        raise ModelError(f"resize: expected source indices in [0, {size}), got {index}")


def _runs(columns: Array) -> list[tuple[int, int, int]]:
    """Columns that are neighbours in input and output, or all filled: (from, to, count)."""
    steps = np.diff(columns)
    filled = columns < 0
    together = np.where(filled[1:], filled[:-1], (steps == 1) & ~filled[:-1])
    starts = [0, *(np.flatnonzero(~together) + 1).tolist()]
    ends = [*starts[1:], columns.size]
    return [(int(columns[a]), a, b - a) for a, b in zip(starts, ends, strict=True)]


def gather_pixels(
    spec: fs.GatherPixels, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    """Raises ModelError for a source index outside the input."""
    batch, channels, out_h, out_w = output_shape(spec, shapes)
    check_size(*shapes)
    in_h, in_w = shapes[0][2:]
    rows, columns = (np.array(indices, np.int32) for indices in (spec.rows, spec.columns))
    _check_sources(rows, in_h, -1)
    _check_sources(columns, in_w, -1)
    dtype = input_dtype(spec)
    run_list = _runs(columns) if columns.size else []
    runs = ffi.new("sp_channel_run[]", run_list)
    params = ffi.new("sp_gather_pixels *")
    params.batch, params.in_h, params.in_w, params.channels = batch, in_h, in_w, channels
    params.out_h, params.out_w, params.element_bytes = out_h, out_w, dtype.itemsize
    params.fill = np.array(spec.fill, dtype).tobytes().ljust(4, b"\0")
    params.runs, params.run, params.rows = len(run_list), runs, pointer(rows, "int32_t *")
    return plain_step(spec, shapes, layout, threads, lib.SP_GATHER_PIXELS, params, [rows, runs])


def depth_to_space(
    spec: fs.DepthToSpace, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    batch, out_c, out_h, out_w = output_shape(spec, shapes)
    check_size(*shapes)
    in_h, in_w = shapes[0][2:]
    top, left = spec.crop[:2]
    first = spec.channels_first and out_c > 1  # of one channel both orders are the same
    fields = [batch, in_h, in_w, out_c, out_h, out_w, spec.block, first, top, left]
    params = ffi.new("sp_depth_to_space *", [*fields, input_dtype(spec).itemsize])
    return plain_step(spec, shapes, layout, threads, lib.SP_DEPTH_TO_SPACE, params)


def _interpolate(
    spec: fs.InterpolateS8 | fs.InterpolateF32,
    shapes: Sequence[Shape],
    layout: Layout,
    threads: int,
) -> NativeStep:
    """Raises ModelError for taps outside the input, or without a weight each."""
    batch, channels, out_h, out_w = output_shape(spec, shapes)
    check_size(*shapes)
    in_h, in_w = shapes[0][2:]
    for taps, size in ((spec.rows, in_h), (spec.columns, in_w)):
        _check_sources(taps.index, size, 0)
        if taps.index.ndim != 2 or taps.index.shape != taps.weight.shape or not taps.index.size:
            raise ModelError(
                f"expected taps and weights [length, taps], got {taps.index.shape} and "
                f"{taps.weight.shape}"
            )
    indices = [aligned(taps.index.astype(np.int32)) for taps in (spec.rows, spec.columns)]
    weights = [aligned(taps.weight.astype(np.float32)) for taps in (spec.rows, spec.columns)]
    params = ffi.new("sp_interpolate *")
    params.batch, params.in_h, params.in_w, params.channels = batch, in_h, in_w, channels
    params.out_h, params.out_w = out_h, out_w
    params.row_taps, params.column_taps = (index.shape[1] for index in indices)
    params.row_index, params.column_index = (pointer(index, "int32_t *") for index in indices)
    params.row_weight, params.column_weight = (pointer(weight, "float *") for weight in weights)
    if isinstance(spec, fs.InterpolateS8):
        params.bytes, params.x_zero_point, params.multiplier = 1, spec.x_zero_point, spec.multiplier
        params.output = spec.output.zero_point, spec.output.lo, spec.output.hi
    keep = [*indices, *weights]
    return plain_step(spec, shapes, layout, threads, lib.SP_INTERPOLATE, params, keep)


def interpolate_s8(
    spec: fs.InterpolateS8, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    return _interpolate(spec, shapes, layout, threads)


def interpolate_f32(
    spec: fs.InterpolateF32, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    return _interpolate(spec, shapes, layout, threads)


def _sizes(params: CData, shapes: Sequence[Shape]) -> None:
    params.batch, params.channels = shapes[0][:2]
    params.pixels = elements(shapes[0][2:])


def _normalize(
    spec: fs.NormalizeS8 | fs.NormalizeF32, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    output_shape(spec, shapes)
    check_size(*shapes)
    scale, bias = (aligned(values.astype(np.float32)) for values in (spec.scale, spec.bias))
    params = ffi.new("sp_normalize *")
    _sizes(params, shapes)
    params.over_channels, params.epsilon = spec.over == "channels", spec.epsilon
    params.scale, params.bias = (pointer(values, "float *") for values in (scale, bias))
    params.x_scale = 1.0
    if isinstance(spec, fs.NormalizeS8):
        params.bytes, params.x_scale, params.x_zero_point = 1, spec.x_scale, spec.x_zero_point
        params.output = spec.output.zero_point, spec.output.lo, spec.output.hi
    return plain_step(spec, shapes, layout, threads, lib.SP_NORMALIZE, params, [scale, bias])


def normalize_s8(
    spec: fs.NormalizeS8, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    return _normalize(spec, shapes, layout, threads)


def normalize_f32(
    spec: fs.NormalizeF32, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    return _normalize(spec, shapes, layout, threads)


def prelu_s8(spec: fs.PReluS8, shapes: Sequence[Shape], layout: Layout, threads: int) -> NativeStep:
    output_shape(spec, shapes)
    check_size(*shapes)
    slope = aligned(spec.negative_multiplier)
    params = ffi.new("sp_prelu_s8 *")
    _sizes(params, shapes)
    params.nhwc, params.x_zero_point = layout == "nhwc", spec.x_zero_point
    params.multiplier, params.negative_multiplier = spec.multiplier, pointer(slope, "float *")
    params.output = spec.output.zero_point, spec.output.lo, spec.output.hi
    return plain_step(spec, shapes, layout, threads, lib.SP_PRELU_S8, params, [slope])


def prelu_f32(
    spec: fs.PReluF32, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    output_shape(spec, shapes)
    check_size(*shapes)
    slope = aligned(spec.slope)
    params = ffi.new("sp_prelu_f32 *")
    _sizes(params, [in_layout(shape, layout) for shape in shapes] if layout == "slab" else shapes)
    params.nhwc, params.slope = layout == "nhwc", pointer(slope, "float *")
    return plain_step(spec, shapes, layout, threads, lib.SP_PRELU_F32, params, [slope])
