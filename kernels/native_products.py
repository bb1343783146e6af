"""Which micro-kernel runs a dense int8 product, and its packed weights."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from ..ops.fused_spec import ConvS8, GemmS8
from ..records import record
from . import memory, native, packing
from ._native import ffi, lib
from .grouped import COLUMN_GROUP, round_up
from .native import CData, Ukernel, pointer
from .step import Array
from .sums import per_weight

# 1e9 multiply-accumulates a second of gemm_s8_6x16_avx2, to compare with the estimate of
# sp_pack_windows: on the same core, whatever core it is.
INT16_GMACS = 78
SUM_NANOSECONDS = 0.12  # of two sums, which the kernel of windows keeps in registers
SAMPLE_ROWS = 32  # of a panel
SAMPLE_GROUPS = 8

# Windows for activations up to CEILING hold more than those for all activations; the rest of those
# that are further from the zero point is multiplied apart (csrc/gemm_s8/outliers.h). That serves
# where few are; not where channels are as few as those of images. How many are is not known here:
# so many of the quads are taken to.
CEILING = 128  # SP_CEILING
FEWEST_CHANNELS = 8
OUTLIER_QUADS = 0.12
OUTLIER_NANOSECONDS = 1.8  # of one quad in one row, by 32 columns
OUTLIERS_NANOSECONDS = 1.3  # of the list of one row, by 32 columns
SPLIT_NANOSECONDS = 0.07  # of one activation
WORTH_SPLITTING = 0.92  # of the time without
MOST_SPEEDUP = 1.6  # of windows alone, if so many quads fit one as ever


@record(frozen=True, slots=True)
class PackedProduct:
    """k_padded, row_bytes, panel_start, quad_place, lowest: see sp_conv_s8. use: an sp_window_use;
    None where there are no windows.
    """

    ukernel: Ukernel
    weights: Array
    k_padded: int
    row_bytes: int = 0
    panel_start: Array | None = None
    quad_place: Array | None = None
    lowest: int = 0
    use: CData = None

    @property
    def detail(self) -> str:
        """For explain()."""
        if self.use is None:
            return self.ukernel.name
        detail = f"{self.ukernel.name}, {_describe(self.use)}"
        if self.quad_place is not None:
            highest = self.lowest + CEILING
            sides = [f"below {self.lowest}"] * (self.lowest > 0)
            sides += [f"above {highest}"] * (highest < 255)
            detail += f", activations {' or '.join(sides)} apart"
        return detail

    def fill(self, params: CData) -> list[Array]:
        """Fill what sp_conv_s8 and sp_gemm_s8 share; the arrays that it points to."""
        params.ukernel, params.weights = self.ukernel.index, pointer(self.weights)
        params.k_padded = self.k_padded
        if self.panel_start is None:
            return [self.weights]
        params.panel_start = pointer(self.panel_start, "int64_t *")
        if self.quad_place is None:
            return [self.weights, self.panel_start]
        params.quad_place, params.lowest = pointer(self.quad_place, "uint32_t *"), self.lowest
        return [self.weights, self.panel_start, self.quad_place]


def choose_gemm(weight: Array) -> Ukernel:
    """The first runnable micro-kernel of the table that holds such weights in the fewest bytes."""
    return _choose_gemm(weight.dtype.itemsize, native.isa())


@cache
def _choose_gemm(weight_bytes: int, _isa: str) -> Ukernel:
    return next(k for k in native.ukernels("gemm_s8") if k.weight_bytes == weight_bytes)


def pack_product(spec: ConvS8 | GemmS8, by_rows: bool = False) -> PackedProduct:
    """Pack the weights for the fastest exact micro-kernel. by_rows: whether each row of taps may be
    filled up to whole quads, which spares tile registers gathered patches."""
    rows = in_rows(spec)
    ukernel = choose_gemm(rows)
    if by_rows and isinstance(spec, ConvS8) and _fills_rows(spec, ukernel):
        row = rows.shape[2] // spec.window.kernel[0]
        by_row = rows.reshape(*rows.shape[:2], -1, row)
        filled = np.pad(by_row, ((0, 0), (0, 0), (0, 0), (0, -row % ukernel.k_group)))
        row_bytes = filled.shape[3]
        rows = filled.reshape(*rows.shape[:2], -1)
    else:
        row_bytes = 0
    if _windows_may_serve(ukernel):
        packed = _pack_best_windows(spec, rows)
        if packed.use.nanoseconds < _int16_nanoseconds(rows):
            return packed.product(rows.shape[2])
    weights = packing.pack_panels(rows, _columns_side_by_side(ukernel), ukernel.k_group)
    k_padded = packing.padded_k(rows.shape[2], ukernel.k_group)
    return PackedProduct(ukernel, weights, k_padded, row_bytes)


def _columns_side_by_side(ukernel: Ukernel) -> int:
    """Of a panel: all, or those of a tile register."""
    return COLUMN_GROUP if ukernel.isa == "amx" else ukernel.nr


def _fills_rows(spec: ConvS8, ukernel: Ukernel) -> bool:
    return (
        ukernel.isa == "amx"
        and spec.groups == 1
        and spec.window.dilations[1] == 1
        and spec.weight.shape[1] % ukernel.k_group != 0
    )


def _pack_best_windows(spec: ConvS8 | GemmS8, rows: Array) -> _PackedWindows:
    largest, (ceiling, _) = largest_activation(spec), _best_ceiling(spec)
    if ceiling < largest:
        packed = _pack_windows(rows, ceiling, _lowest(spec))
        if not packed.use.vectors[0]:  # none in int16: not even two weights of -128
            return packed
    return _pack_windows(rows, largest)


def in_rows(spec: ConvS8 | GemmS8, outputs: int | None = None) -> Array:
    """The weights of the first `outputs` output channels (None: all) of each group, in the order of
    patches: [groups, O, K]."""
    if isinstance(spec, GemmS8):
        return spec.weight[None, :outputs]
    weight = spec.weight[None]
    if spec.groups > 1:
        weight = spec.weight.reshape(spec.groups, -1, *spec.weight.shape[1:])
    weight = weight[:, :outputs]
    groups, outputs, channels, *kernel = weight.shape
    taps = math.prod(kernel)
    if taps == 1 or channels == 1 or weight.dtype != np.int8:
        return weight.transpose(0, 1, 3, 4, 2).reshape(groups, outputs, channels * taps)
    rows = np.empty((groups, outputs, channels * taps), np.int8)
    lib.sp_order_as_patches(
        pointer(np.ascontiguousarray(weight), "int8_t *"),
        *(groups * outputs, channels, taps, pointer(rows, "int8_t *")),
    )
    return rows


def largest_activation(spec: ConvS8 | GemmS8) -> int:
    """The largest value that a product can meet."""
    if isinstance(spec, GemmS8):
        return spec.x_max
    return max(spec.x_max, spec.x_zero_point)  # padded taps hold the zero point


def _lowest(spec: ConvS8 | GemmS8) -> int:
    """The least activation that windows up to CEILING hold: the zero point is in their middle where
    activations lie on both sides of it."""
    return max(0, min(spec.x_zero_point - CEILING // 2, 255 - CEILING))


def windows_speedup(spec: ConvS8 | GemmS8, apart: bool = True) -> float:
    """How much faster than in int16 a product runs where windows serve it (else 1), from the first
    panel of some groups. apart: whether its kernel can multiply outliers apart."""
    if not spec.weight.size or not _windows_may_serve(choose_gemm(spec.weight)):
        return 1.0
    _, speedup = _best_ceiling(spec, apart)
    return max(1.0, speedup)


@per_weight
def _known_ceilings(weight: Array) -> dict[tuple[int, ...], tuple[int, float]]:
    """Answers of `_best_ceiling`: costs ask first, packing again."""
    return {}


def _best_ceiling(spec: ConvS8 | GemmS8, apart: bool = True) -> tuple[int, float]:
    """What windows are to hold, all activations or those up to CEILING; and how much faster than in
    int16 the first panel of some groups runs then.
    """
    groups = spec.groups if isinstance(spec, ConvS8) else 1
    apart &= isinstance(spec, ConvS8) and spec.weight.shape[1] >= FEWEST_CHANNELS
    key = groups, largest_activation(spec), apart
    known = _known_ceilings(spec.weight)
    if key not in known:
        sample = in_rows(spec, SAMPLE_ROWS)[:SAMPLE_GROUPS]
        ceiling, nanoseconds = _try_ceilings(sample, len(spec.weight), *key)
        known[key] = ceiling, _int16_nanoseconds(sample) / nanoseconds if sample.size else 1.0
    return known[key]


def _try_ceilings(
    sample: Array, all_outputs: int, all_groups: int, largest: int, apart: bool
) -> tuple[int, float]:
    """The better ceiling, and nanoseconds of two rows of activations."""
    groups, outputs, k = sample.shape
    whole = _window_nanoseconds(sample, largest)
    listed = OUTLIERS_NANOSECONDS + OUTLIER_QUADS * k / 4 * OUTLIER_NANOSECONDS
    outliers = 2 * groups * listed
    # of a block, which is split once for all panels
    share = outputs * all_groups / max(1, all_outputs)
    outliers += 2 * groups * k * SPLIT_NANOSECONDS * share
    limit = WORTH_SPLITTING * whole - outliers
    if not apart or largest <= CEILING or limit < whole / MOST_SPEEDUP:
        return largest, whole
    split = _window_nanoseconds(sample, CEILING)
    return (CEILING, split + outliers) if split < limit else (largest, whole)


def _windows_may_serve(ukernel: Ukernel) -> bool:
    """VNNI instructions need no windows."""
    return ukernel.isa == "avx2" and ukernel.weight_bytes == 1


def _int16_nanoseconds(rows: Array) -> float:
    """Of two rows of activations, with what their sums take through memory."""
    groups, outputs, k = rows.shape
    columns = round_up(outputs, COLUMN_GROUP)
    return groups * columns * (2 * k / INT16_GMACS + SUM_NANOSECONDS)


@record(frozen=True, slots=True)
class _PackedWindows:
    """What csrc/gemm_s8/windows.c makes of weights. used: bytes of space. quad_place, lowest: None
    where windows hold all activations. use: an sp_window_use.
    """

    ukernel: Ukernel
    space: Array
    used: int
    start: Array
    quad_place: Array | None
    lowest: int | None
    use: CData

    def product(self, k: int) -> PackedProduct:
        """With the weights in memory that is no larger than they are."""
        k_padded = packing.padded_k(k, self.ukernel.k_group)
        weights = memory.shrunk(self.space, self.used)
        return PackedProduct(
            *(self.ukernel, weights, k_padded, 0, self.start, self.quad_place),
            self.lowest or 0,
            self.use,
        )


def _pack_windows(rows: Array, x_max: int, lowest: int | None = None) -> _PackedWindows:
    """lowest: of the activations that windows are to hold where others are multiplied apart."""
    ukernel = native.ukernels("gemm_windows_s8")[0]
    groups, outputs, k = rows.shape
    panels = -(-outputs // ukernel.nr)
    start = np.empty(groups * panels, np.int64)
    space = memory.empty(groups * int(lib.sp_window_bytes(outputs, k)))
    quad_place = np.empty(groups * panels * -(-k // 4), np.uint32) if lowest is not None else None
    places = ffi.NULL if quad_place is None else pointer(quad_place, "uint32_t *")
    use = ffi.new("sp_window_use *")
    used = lib.sp_pack_windows(
        pointer(np.ascontiguousarray(rows), "int8_t *"),
        *(groups, outputs, k, x_max, pointer(space), pointer(start, "int64_t *"), places, use),
    )
    return _PackedWindows(ukernel, space, int(used), start, quad_place, lowest, use)


def _window_nanoseconds(rows: Array, x_max: int) -> float:
    """What `_pack_windows` would say of two rows of activations."""
    given = pointer(np.ascontiguousarray(rows), "int8_t *")
    return float(lib.sp_window_nanoseconds(given, *rows.shape, x_max))


def _describe(use: CData) -> str:
    """E.g. "windows of 8 97%, of 4 2%, int16 1%": shares of the weights."""
    vectors = [*enumerate(use.vectors)]
    total = sum([count for _, count in vectors])
    parts = [
        f"{f'of {size}' if size else 'int16'} {round(100 * (count / total))}%"
        for size, count in reversed(vectors)
        if count
    ]
    return "windows " + ", ".join(parts)
