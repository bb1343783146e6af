"""The work of sparse kernels, in multiply-accumulates: more than the non-zeros times the outputs.

Pixels are computed in blocks of lanes, of which the last may be half empty and some fall between
the rows of an image; and each output value costs as much as several products, since a sparse
channel has few of them. Measured on Zen 4, under AVX2 and AVX-512 VNNI alike, and on Zen 3.
"""

from __future__ import annotations

from collections.abc import Sequence

from .kernels.csr_lanes import WIDTH, plan_lanes
from .kernels.step import WORD
from .kernels.sums import count_nonzeros, count_weights
from .ops.fused_spec import ConvF32, ConvS8, GemmS8, Spec, conv_of

Shape = tuple[int, ...]

# Products that an output value is worth, and a residual's.
OUTPUT_MACS = {"csr_s8": 20, "csr_f32": 12, "block_s8": 18}
SPARSE_FORMATS = frozenset(OUTPUT_MACS)
RESIDUAL_MACS = {"csr_s8": 6, "csr_f32": 4, "block_s8": 28}
PRODUCT_OUTPUT_MACS = 130  # more for those of a matrix product, which are stored apart

# A last block of up to 16, 32, 64 lanes, in lanes of whole blocks that take as long.
PARTIAL_BLOCKS = {16: 40, 32: 48, WIDTH: WIDTH}

# Bringing the input into lanes: bytes a second, and seconds for each channel's planes.
LANE_BYTES_PER_SECOND = 8e9
PLANE_SECONDS = 3e-8
F32_VECTOR = 8


# Packed int8 non-zeros, or blocks, come from memory at every run; those that L2 does not hold come
# from L3 for every block of lanes but the first.
ENTRY_BYTES = {"csr_s8": 6, "block_s8": 8}
ENTRY_BYTES_IN_CACHE = 2**20
ENTRY_BYTES_PER_SECOND, CACHED_ENTRY_BYTES_PER_SECOND = 25e9, 50e9


def _lanes(spec: ConvS8 | ConvF32, x: Shape, entries: int, element_bytes: int) -> int:
    """Lanes computed for all images. x: shape of the input, in lanes' own channels."""
    if isinstance(spec, ConvF32):
        out_h, out_w = spec.window.output_size(*x[2:])
        return -(-x[0] * out_h * out_w // F32_VECTOR) * F32_VECTOR
    lanes = plan_lanes(spec.window, x, entries, element_bytes)
    passes = -(-x[0] // max(lanes.images, 1))  # a batch may be empty
    whole, rest = divmod(lanes.total, WIDTH)
    partial = next(worth for most, worth in PARTIAL_BLOCKS.items() if rest <= most)
    return passes * (whole * WIDTH + (partial if rest else 0))


def sparse_macs(spec: Spec, shapes: Sequence[Shape], weight_format: str) -> float:
    """What the work of a layer is worth; 0 for operators without a sparse kernel."""
    x = shapes[0]
    if not isinstance(spec, (ConvS8, ConvF32, GemmS8)):
        return 0.0
    given, is_product = spec.weight, isinstance(spec, GemmS8)
    weights = entries = count_nonzeros(given)
    if isinstance(spec, GemmS8):
        spec, x = conv_of(spec), (*x, 1, 1)
    element_bytes = spec.weight.dtype.itemsize
    if weight_format == "block_s8":
        entries = count_weights(given).blocks
        weights, element_bytes, x = entries * WORD, WORD, (x[0], x[1] // WORD, *x[2:])
    each = OUTPUT_MACS[weight_format] + (len(shapes) == 2) * RESIDUAL_MACS[weight_format]
    lanes = _lanes(spec, x, entries, element_bytes)
    apart = x[0] * len(spec.weight) * PRODUCT_OUTPUT_MACS if is_product else 0
    return float(lanes) * (weights + len(spec.weight) * each) + apart


def memory_seconds(spec: Spec, shapes: Sequence[Shape], weight_format: str) -> float:
    """Of bringing the input of a sparse convolution into lanes, and of reading many non-zeros."""
    if not isinstance(spec, (ConvS8, ConvF32)):
        return 0.0
    batch, channels, height, width = shapes[0]
    window, nbytes = spec.window, batch * channels * height * width * spec.weight.dtype.itemsize
    seconds = nbytes / LANE_BYTES_PER_SECOND if window.strides != (1, 1) else 0.0
    if window.kernel != (1, 1):
        seconds += nbytes / LANE_BYTES_PER_SECOND + batch * channels * PLANE_SECONDS
    if isinstance(spec, ConvS8):
        weights = count_weights(spec.weight)
        entries = weights.blocks if weight_format == "block_s8" else count_nonzeros(spec.weight)
        entry_bytes = entries * ENTRY_BYTES[weight_format]
        seconds += entry_bytes / ENTRY_BYTES_PER_SECOND
        if entry_bytes > ENTRY_BYTES_IN_CACHE:
            more_blocks = max(0.0, _lanes(spec, shapes[0], entries, 1) / WIDTH - 1)
            again = more_blocks * (entry_bytes - ENTRY_BYTES_IN_CACHE)
            seconds += again / CACHED_ENTRY_BYTES_PER_SECOND
    return seconds
