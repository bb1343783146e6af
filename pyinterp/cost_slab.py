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
# Seconds of bringing a tap's lane of a channel to its place, where neighbours are neighbours in the
# input and where they are not.
TAP_SECONDS, STRIDED_TAP_SECONDS = 8e-11, 3e-10


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
    each = TAP_SECONDS if window.strides[1] == 1 else STRIDED_TAP_SECONDS
    return float(macs), lanes * channels * prod(window.kernel) * each
