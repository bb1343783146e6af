"""The work of the C kernel of sparse float32 convolutions, whose activations are slabs. Measured on
Zen 3."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from .cost_sparse import F32_VECTOR
from .kernels.csr_lanes import slab_channels
from .kernels.step import SLAB
from .kernels.sums import count_nonzeros
from .ops.fused_spec import ConvF32

Shape = tuple[int, ...]

NARROW = 32  # lanes that those of a single slab take as long as, where they are fewer
# Products that a row of a segment is worth for each lane: its sums are loaded and stored.
SEGMENT_MACS = 2
# Seconds of finding where the pixels of a tap of a slab lie, and more for each run of neighbours
# among them; then for each channel, of copying a run, and for each lane. Steps along a row take
# them out of order.
TAP_SECONDS, RUN_SECONDS = 6e-8, 1.2e-8
COPY_SECONDS, STRIDED_COPY_SECONDS = 5e-10, 2.6e-9
LANE_SECONDS, STRIDED_LANE_SECONDS = 1e-10, 3e-10


def slab_work(spec: ConvF32, shapes: Sequence[Shape]) -> tuple[float, float]:
    """Multiply-accumulates that the work is worth, and the seconds of gathering."""
    (batch, channels, *size), weight = shapes[0], spec.weight
    pixels = batch * prod(spec.window.output_size(*size))
    lanes = -(-pixels // F32_VECTOR) * F32_VECTOR
    if 0 < pixels < SLAB:
        lanes = max(lanes, NARROW)
    nonzeros, window = count_nonzeros(weight), spec.window
    parts = -(-channels // slab_channels(weight.shape, spec.groups, nonzeros))
    macs = lanes * (nonzeros + SEGMENT_MACS * len(weight) * parts)
    if prod(window.kernel) == prod(window.strides) == 1 and not any(window.pads):
        return float(macs), 0.0
    return float(macs), prod(window.kernel) * _gather_seconds(spec, shapes[0], lanes)


def _gather_seconds(spec: ConvF32, x: Shape, lanes: int) -> float:
    """Of one tap of all slabs."""
    (_, channels, *size), step = x, spec.window.strides[1]
    width = spec.window.output_size(*size)[1]
    slabs = -(-lanes // SLAB)
    # runs end with rows of the output and with slabs of the input
    runs = slabs + lanes / max(width, 1) + min(lanes * step / SLAB, lanes)
    copy = COPY_SECONDS if step == 1 else STRIDED_COPY_SECONDS
    lane = LANE_SECONDS if step == 1 else STRIDED_LANE_SECONDS
    return slabs * TAP_SECONDS + runs * (RUN_SECONDS + channels * copy) + lanes * channels * lane
