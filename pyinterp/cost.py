"""What a step is expected to cost, in seconds: what plans choose by.

Costs that `tune` measured on this machine serve first. The shipped rates serve for all others; they
are single-core orders of magnitude, of which only the ratios matter for the choice.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import permutations
from math import prod
from pathlib import Path
from typing import Any

from .cost_cache import any_costs, cache_file, read_costs
from .cost_slab import slab_work
from .cost_sparse import SPARSE_FORMATS, memory_seconds, sparse_macs
from .cost_tiles import tile_macs
from .kernels.conditions import is_depthwise
from .kernels.grouped import COLUMN_GROUP, groups_to_join, round_up
from .kernels.packing_winograd import count_tiles, transforms_in_runs
from .kernels.registry import Backend, Kernel
from .kernels.step import WORD, ArraySpec, Layout
from .kernels.sums import count_nonzeros, count_weights
from .ops.fused_shapes import output_shape
from .ops.fused_spec import (
    ActivationF32,
    AveragePoolF32,
    AveragePoolS8,
    ConvF32,
    ConvS8,
    DepthToSpace,
    DynamicConv,
    GatherPixels,
    GemmS8,
    InterpolateF32,
    InterpolateS8,
    MaxPoolF32,
    MaxPoolS8,
    NormalizeF32,
    NormalizeS8,
    SelectChannels,
    Spec,
    sums_of,
)

Shape = tuple[int, ...]

STEP_SECONDS = 1e-6  # dispatch, and the first touch of a step's parameters
BYTES_PER_SECOND = {"c": 16e9, "numba": 5e9, "numpy": 0.3e9}
TRANSPOSE_BYTES_PER_SECOND = 14e9
PIXEL_BYTES_PER_SECOND = 30e9  # of pixels that a kernel itself transposes, within a cache

# 1e9 multiply-accumulates a second, by the kernel's function, one column for each place where
# kernels run: instruction sets of C, then the other backends. The work of sparse kernels is counted
# in cost_sparse.py, that of tile registers in cost_tiles.py. Measured on one Zen 4 core, AVX2 on
# Zen 3, AMX on Sapphire Rapids, but for avxvnni and dotprod, which are guesses.
PLACES = ("amx", "avx512vnni", "avxvnni", "avx2", "dotprod", "portable", "numba", "numpy")
GMACS = {
    "conv_s8": (3000, 215, 200, 78, 60, 7, 40, 2),
    "depthwise_s8": (60, 60, 45, 40, 15, 4, 9, 2),
    "grouped_s8": (50, 50, 45, 45, 7, 4, 9, 2),
    "winograd_s8": (400, 400, 350, 320, 10, 10, 65, 2),
    "gemm_s8": (3000, 215, 200, 78, 60, 7, 40, 2),
    "conv_csr_s8": (100, 100, 82, 82, 3, 3, 28, 2),
    "pointwise_csr_s8": (100, 100, 82, 82, 3, 3, 28, 2),
    "gemm_csr_s8": (100, 100, 82, 82, 3, 3, 28, 2),
    "conv_block_s8": (118, 118, 100, 95, 50, 1.5, 18, 2),
    "conv_f32": (50, 50, 45, 45, 14, 14, 12, 2),
    "winograd_f32": (50, 50, 45, 45, 14, 14, 2, 2),
    "depthwise_f32": (20, 20, 16, 16, 7, 7, 0.75, 2),  # what conv_f32 does with depthwise layers
    "conv_csr_f32": (36, 36, 33, 33, 6, 6, 14, 2),
    "reference": (2,) * len(PLACES),
}
# Kernels of DynamicConv make their sums as others do.
SUMS_OF = {
    "dynamic_conv": "conv_s8",
    "dynamic_winograd": "winograd_s8",
    "dynamic_depthwise": "depthwise_f32",
}
# Products that an output value of a dense convolution is worth.
DENSE_OUTPUT_MACS = 5

# AVX2 dense products sum longer in int16 where the weights allow it: their rate is that of int16
# times a speed-up that depends on the weights.
INTEGER_PRODUCTS = ("conv_s8", "gemm_s8")

# C copies a patch in rows of the kernel's width: seconds for each, and bytes a second.
PATCH_ROW_SECONDS, PATCH_BYTES_PER_SECOND = 3.5e-9, 32e9

# Winograd: work of its transforms for each input channel, in whole vectors, and output channel of a
# tile, and for each kernel where weights are transformed in runs; else the transformed weights, of
# which large ones come from memory at every run.
WINOGRAD_TILE_MACS = 144
WINOGRAD_VECTOR = 16
WINOGRAD_CHANNEL_MACS = 2000
WINOGRAD_CHANNEL_MACS_AVX512 = 500
WINOGRAD_KERNEL_MACS = 550
WINOGRAD_BYTES_A_KERNEL = 72
# Of float32: products of a tile, what its transforms are worth for each channel, bytes a kernel,
# and where weights leave the last cache: that memory should be worth it.
WINOGRAD_F32_TILE_MACS = 36
WINOGRAD_F32_CHANNEL_MACS = 840
WINOGRAD_F32_BYTES_A_KERNEL = 144
WEIGHT_BYTES_IN_LAST_CACHE, MEMORY_BYTES_PER_SECOND = 2**24, 16e9

WEIGHT_BYTES_IN_CACHE = 2**20
WEIGHT_BYTES_PER_SECOND = 32e9

# Dense products compute whole groups of output channels: a grouped convolution with fewer wastes
# the rest, and in C copies its patches tap by tap and group by group.
GROUPED_TAP_SECONDS = {"conv_s8": 1.3e-9, "conv_f32": 5e-9}


def macs(spec: Spec, shapes: Sequence[Shape]) -> int:
    """Multiply-accumulates of a layer for given input shapes; 0 for operators without weights."""
    return macs_of_output(spec, output_shape(spec, shapes))


def macs_of_output(spec: Spec, output: Shape) -> int:
    """The same for a given output shape."""
    if not isinstance(spec, (ConvS8, ConvF32, GemmS8, DynamicConv)):
        return 0
    return output[0] * prod(output[2:]) * spec.weight.size


def sparsity(spec: Spec) -> float:
    """Fraction of a layer's weights that are zero; 0 for operators without weights."""
    if not isinstance(spec, (ConvS8, ConvF32, GemmS8, DynamicConv)) or not spec.weight.size:
        return 0.0
    return 1.0 - count_nonzeros(spec.weight) / spec.weight.size


def where_it_runs(backend: Backend) -> str:
    """One of PLACES: for C the instruction set in use, else the backend."""
    if backend != "c":
        return backend
    isa: str = _native().isa()
    return isa


@cache
def _native() -> Any:
    return importlib.import_module("sparing.kernels.native")


@cache
def _native_products() -> Any:
    return importlib.import_module("sparing.kernels.native_products")


def estimate(kernel: Kernel, spec: Spec, shapes: Sequence[Shape], output: Shape) -> float:
    """Expected seconds of one step on one thread, from the shipped rates. output: its shape."""
    sizes = [*map(prod, (*shapes, output))]
    seconds = STEP_SECONDS + sum(sizes) / BYTES_PER_SECOND[kernel.backend]
    operator, finishing = kernel.operator, 0
    if isinstance(spec, DynamicConv):
        operator, spec = SUMS_OF.get(operator, operator), sums_of(spec)
    if not isinstance(spec, (ConvS8, ConvF32, GemmS8)):
        return seconds
    work: float = output[0] * prod(output[2:]) * spec.weight.size
    place = where_it_runs(kernel.backend)
    if isinstance(spec, ConvS8) and operator == "winograd_s8":
        batch, outputs, height, width = output
        tiles = count_tiles(batch, height, width)
        work = _winograd_macs(spec, tiles, place)
        weight_bytes = WINOGRAD_BYTES_A_KERNEL * spec.weight.shape[0] * spec.weight.shape[1]
        if transforms_in_runs(place, tiles, spec.weight):
            work += WINOGRAD_KERNEL_MACS * outputs * spec.weight.shape[1]
        else:
            seconds += max(0, weight_bytes - WEIGHT_BYTES_IN_CACHE) / WEIGHT_BYTES_PER_SECOND
    elif isinstance(spec, ConvF32) and operator == "winograd_f32":
        work, more = _winograd_f32(spec, count_tiles(output[0], *output[2:]))
        seconds += more
    elif isinstance(spec, ConvF32) and operator == "conv_csr_f32" and kernel.backend == "c":
        work, more = slab_work(spec, shapes)
        seconds += more
    elif kernel.weight_format in SPARSE_FORMATS:
        work = sparse_macs(spec, shapes, kernel.weight_format)
        seconds += memory_seconds(spec, shapes, kernel.weight_format)
        if operator == "pointwise_csr_s8":
            seconds += sum(sizes) / PIXEL_BYTES_PER_SECOND
    elif isinstance(spec, ConvF32) and operator == "conv_f32" and is_depthwise(spec):
        operator = "depthwise_f32"
    elif isinstance(spec, (ConvS8, GemmS8)) and place == "amx" and operator in INTEGER_PRODUCTS:
        work = tile_macs(spec, output)
    elif isinstance(spec, (ConvS8, ConvF32)) and operator in GROUPED_TAP_SECONDS:
        outputs = spec.weight.shape[0] // spec.groups
        work *= round_up(outputs, COLUMN_GROUP) / outputs
        finishing = sizes[-1] * DENSE_OUTPUT_MACS
        if spec.groups == 1 and kernel.backend == "c":
            seconds += _patch_seconds(spec, sizes[-1])
        elif spec.groups > 1 and kernel.backend == "c":
            taps = sizes[-1] // spec.weight.shape[0] * prod(spec.window.kernel)
            joined = groups_to_join(spec) if isinstance(spec, ConvS8) else 1
            groups = spec.groups // joined
            seconds += taps * groups * GROUPED_TAP_SECONDS[operator]
    if work:
        rate = GMACS[operator][PLACES.index(place)]
        seconds += finishing / (1e9 * rate)
        if place == "avx2" and operator in INTEGER_PRODUCTS:
            apart = kernel.spec is not DynamicConv
            rate *= _native_products().windows_speedup(spec, apart)
        computing = work / (1e9 * rate)
        if isinstance(spec, (ConvS8, ConvF32)) and operator in GROUPED_TAP_SECONDS:
            # a classifier of one pixel waits for its weights
            computing = max(computing, spec.weight.nbytes / WEIGHT_BYTES_PER_SECOND)
        seconds += computing
    return seconds


def _winograd_macs(spec: ConvS8, tiles: int, place: str) -> float:
    """Dense multiply-accumulates of whole tiles, and what their transforms are worth."""
    outputs, channels = spec.weight.shape[:2]
    columns = round_up(outputs, COLUMN_GROUP)
    products = WINOGRAD_TILE_MACS * channels * columns
    wide = place in ("amx", "avx512vnni")
    each = WINOGRAD_CHANNEL_MACS_AVX512 if wide else WINOGRAD_CHANNEL_MACS
    return float(tiles * (products + each * (round_up(channels, WINOGRAD_VECTOR) + columns)))


def _winograd_f32(spec: ConvF32, tiles: int) -> tuple[float, float]:
    """Multiply-accumulates, and the seconds of reading large weights."""
    outputs, channels = spec.weight.shape[:2]
    columns = round_up(outputs, COLUMN_GROUP)
    work = WINOGRAD_F32_TILE_MACS * channels * columns
    work += WINOGRAD_F32_CHANNEL_MACS * (channels + columns)
    weight_bytes = WINOGRAD_F32_BYTES_A_KERNEL * channels * columns
    cached = min(weight_bytes, WEIGHT_BYTES_IN_LAST_CACHE)
    seconds = max(0, cached - WEIGHT_BYTES_IN_CACHE) / WEIGHT_BYTES_PER_SECOND
    return float(tiles * work), seconds + (weight_bytes - cached) / MEMORY_BYTES_PER_SECOND


def _patch_seconds(spec: ConvS8 | ConvF32, outputs: int) -> float:
    """Of copying the patches of a convolution in C; pixels themselves are read where they are."""
    window, weight = spec.window, spec.weight
    if window.kernel == (1, 1) and window.strides == (1, 1):
        return 0.0
    rows = window.kernel[0] if window.dilations[1] == 1 else prod(window.kernel)
    nbytes = weight[0].size * (4 if isinstance(spec, ConvF32) else 1)
    each = rows * PATCH_ROW_SECONDS + nbytes / PATCH_BYTES_PER_SECOND
    return outputs // len(weight) * each


def step_key(kernel: Kernel, spec: Spec, shapes: Sequence[Shape], layout: Layout) -> str:
    """What a measured cost is filed under: all that the cost of a step depends on."""
    parts: list[object] = [kernel.name, layout, *("x".join(map(str, s)) for s in shapes)]
    if isinstance(spec, (ConvS8, ConvF32, GemmS8, DynamicConv)):
        parts += ["x".join(map(str, spec.weight.shape)), spec.weight.dtype]
        parts.append(f"zeros {sparsity(spec):.2f}")
    if isinstance(spec, ConvS8) and kernel.weight_format == "block_s8":
        # the same number of zeros fills few blocks or many
        parts.append(f"blocks {count_weights(spec.weight).blocks * WORD / spec.weight.size:.2f}")
    if isinstance(spec, (ConvS8, ConvF32, DynamicConv)):
        window = spec.window
        parts += [window.strides, window.pads, window.dilations, f"groups {spec.groups}"]
    if isinstance(spec, (ConvS8, GemmS8)):
        parts.append(f"max {spec.x_max}")
    if isinstance(spec, (MaxPoolS8, AveragePoolS8, MaxPoolF32, AveragePoolF32)):
        parts.append(spec.window)
    if isinstance(spec, ActivationF32):
        parts.append(spec.function)
    if isinstance(spec, SelectChannels):
        parts.append(f"{spec.element} {zlib.crc32(str(spec.channels).encode()):08x}")
    if isinstance(spec, GatherPixels):
        parts.append(f"{spec.element} {zlib.crc32(str((spec.rows, spec.columns)).encode()):08x}")
    if isinstance(spec, DepthToSpace):
        parts += [spec.element, spec.block, spec.channels_first, spec.crop]
    if isinstance(spec, (InterpolateS8, InterpolateF32)):
        parts += [spec.rows.index.shape, spec.columns.index.shape]
    if isinstance(spec, (NormalizeS8, NormalizeF32)):
        parts.append(spec.over)
    return " ".join(str(part) for part in parts)


def transpose_key(spec: ArraySpec, before: Layout, after: Layout) -> str:
    return f"transpose {before} {after} {'x'.join(map(str, spec.shape))} {spec.dtype.itemsize}"


class Costs:
    """Costs of steps and layout changes: measured where `tune` measured them, else estimated."""

    def __init__(self, measured: Mapping[str, float] | None = None) -> None:
        self._measured = measured or {}

    def step(self, kernel: Kernel, spec: Spec, shapes: Sequence[Shape], layout: Layout) -> float:
        """Seconds of one step."""
        if self._measured:
            found = self._measured.get(step_key(kernel, spec, shapes, layout))
            if found is not None:
                return found
        return estimate(kernel, spec, shapes, output_shape(spec, shapes))

    def each_layout(
        self, kernel: Kernel, spec: Spec, shapes: Sequence[Shape], output: Shape
    ) -> Mapping[Layout, float]:
        """Seconds of one step in each of the kernel's layouts. output: its shape."""
        if not self._measured:  # estimates are the same for all
            return dict.fromkeys(kernel.layouts, estimate(kernel, spec, shapes, output))
        return {layout: self.step(kernel, spec, shapes, layout) for layout in kernel.layouts}

    def each_transpose(
        self, spec: ArraySpec, layouts: Sequence[Layout]
    ) -> Mapping[tuple[Layout, Layout], float]:
        """Seconds of changing an activation from each of some layouts to each other one."""
        pairs = permutations(layouts, 2)
        if not self._measured:  # estimates are the same for all
            return dict.fromkeys(pairs, self.transpose(spec, layouts[0], layouts[1]))
        return {pair: self.transpose(spec, *pair) for pair in pairs}

    def transpose(self, spec: ArraySpec, before: Layout, after: Layout) -> float:
        """Seconds of changing the layout of an activation."""
        if self._measured:
            found = self._measured.get(transpose_key(spec, before, after))
            if found is not None:
                return found
        return STEP_SECONDS + spec.nbytes / TRANSPOSE_BYTES_PER_SECOND


def saved_costs(backend: Backend, threads: int) -> Costs:
    """What `tune` has measured on this machine for a backend and a number of threads."""
    return Costs(read_costs(costs_path(backend, threads))) if any_costs() else Costs()


def costs_path(backend: Backend, threads: int) -> Path:
    """The file of measured costs of a backend, which for C is one per instruction set."""
    return cache_file(where_it_runs(backend), threads)
