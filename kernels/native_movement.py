"""C kernels that move whole elements: channels picked and reordered, float concatenation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import ModelError
from ..ops import fused_spec as fs
from ..ops.fused_shapes import input_dtype, output_shape
from ._native import ffi, lib
from .native import NativeStep, pointer
from .native_elementwise import MAX_INPUTS, plain_step
from .step import SLAB, Layout, Shape, in_layout

RUN_CHANNELS = 8  # mean length from which copying runs beats going one by one


def _runs(channels: Sequence[int]) -> list[tuple[int, int, int]]:
    """Neighbouring channels that stay neighbours: (from, to, count)."""
    breaks = np.flatnonzero(np.diff(channels) != 1) + 1
    starts = [0, *breaks.tolist()]
    ends = [*starts[1:], len(channels)]
    return [(channels[a], a, b - a) for a, b in zip(starts, ends, strict=True)]


def _are_pairs(channels: Sequence[int]) -> bool:
    """Whether two runs of neighbours take turns: a shuffle of two groups, or a slice of one."""
    order = np.asarray(channels)
    halves = order[0::2], order[1::2]
    return order.size % 2 == 0 and all(bool((np.diff(half) == 1).all()) for half in halves)


def select_channels(
    spec: fs.SelectChannels, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    batch, channels, height, width = shapes[0]
    output_shape(spec, shapes)  # refuses channels that the input does not have
    element, runs = input_dtype(spec).itemsize, _runs(spec.channels)
    if layout == "nchw":
        form, rows, unit = lib.SP_SELECT_PLANES, batch, height * width * element
    else:
        rows, unit = batch * height * width, element
        if len(runs) * RUN_CHANNELS <= len(spec.channels) or len(runs) == 1:
            form = lib.SP_SELECT_RUNS
        else:
            form = lib.SP_SELECT_PAIRS if _are_pairs(spec.channels) else lib.SP_SELECT_SINGLE
    order = np.array(spec.channels, np.int32)
    run = ffi.new("sp_channel_run[]", runs)
    fields = [rows, unit, channels, order.size, form, len(runs), pointer(order, "int32_t *"), run]
    params = ffi.new("sp_select_channels *", fields)
    return plain_step(spec, shapes, layout, threads, lib.SP_SELECT_CHANNELS, params, [order, run])


def concat_f32(
    spec: fs.ConcatF32, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    """The operator of uint8, whose rows are counted in bytes. Raises ModelError for more than
    MAX_INPUTS parts."""
    if len(shapes) > MAX_INPUTS:
        raise ModelError(f"expected at most {MAX_INPUTS} inputs of a Concat, got {len(shapes)}")
    batch, channels, height, width = output_shape(spec, shapes)
    # rows of one image (nchw), of one pixel (nhwc) or of one slab
    outer, unit = batch, 4 * height * width
    if layout == "nhwc":
        outer, unit = batch * height * width, 4
    elif layout == "slab":
        outer, unit = in_layout(shapes[0], layout)[0], 4 * SLAB
    parts = ffi.new("sp_concat_part[]", len(shapes))
    offset = 0
    for part, shape in zip(parts, shapes, strict=True):
        part.outer, part.inner, part.copy = outer, shape[1] * unit, 1
        part.out_stride, part.out_offset = channels * unit, offset
        offset += shape[1] * unit
    params = ffi.new("sp_concat_s8 *", [len(shapes), parts])
    return plain_step(spec, shapes, layout, threads, lib.SP_CONCAT_S8, params, [parts])
