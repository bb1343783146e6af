"""What a step is expected to cost, in seconds: the estimates that plans choose by.

The shipped rates are single-core orders of magnitude; only their ratios matter for the choice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .kernels.registry import Kernel
from .ops.fused_shapes import output_shape
from .ops.fused_spec import ConvF32, ConvS8, GemmS8, Spec

Shape = tuple[int, ...]

STEP_SECONDS = 1e-6  # dispatch, and the first touch of a step's parameters
BYTES_PER_SECOND = {"c": 8e9, "numba": 3e9, "numpy": 0.3e9}
TRANSPOSE_BYTES_PER_SECOND = 4e9

# Multiply-accumulates a second, by the kernel's function and backend. Sparse kernels count the
# non-zeros only; each of their output values also costs SPARSE_OUTPUT_MACS of overhead.
MACS_PER_SECOND = {
    "conv_s8": {"c": 100e9, "numba": 12e9},
    "depthwise_s8": {"c": 20e9, "numba": 4e9},
    "gemm_s8": {"c": 100e9, "numba": 12e9},
    "conv_csr_s8": {"c": 50e9, "numba": 8e9},
    "conv_f32": {"c": 40e9, "numba": 6e9},
    "conv_csr_f32": {"c": 25e9, "numba": 6e9},
    "reference": {"numpy": 2e9},
}
SPARSE_OUTPUT_MACS = 12


def macs(spec: Spec, shapes: Sequence[Shape], *, nonzero_only: bool = False) -> int:
    """Multiply-accumulates of a layer for given input shapes; 0 for operators without weights."""
    if isinstance(spec, GemmS8):
        positions = shapes[0][0]
    elif isinstance(spec, (ConvS8, ConvF32)):
        batch, _, height, width = output_shape(spec, shapes)
        positions = batch * height * width
    else:
        return 0
    weights = np.count_nonzero(spec.weight) if nonzero_only else spec.weight.size
    return positions * int(weights)


def sparsity(spec: Spec) -> float:
    """Fraction of a layer's weights that are zero; 0 for operators without weights."""
    if not isinstance(spec, (ConvS8, ConvF32, GemmS8)) or not spec.weight.size:
        return 0.0
    return 1.0 - np.count_nonzero(spec.weight) / spec.weight.size


def estimate(kernel: Kernel, spec: Spec, shapes: Sequence[Shape]) -> float:
    """Expected seconds of one step on one thread."""
    sizes = [int(np.prod(s, dtype=np.int64)) for s in (*shapes, output_shape(spec, shapes))]
    seconds = STEP_SECONDS + sum(sizes) / BYTES_PER_SECOND[kernel.backend]
    operator = kernel.where.rpartition(":")[2]
    sparse = kernel.weight_format.startswith("csr")
    work = macs(spec, shapes, nonzero_only=sparse)
    if sparse:
        work += SPARSE_OUTPUT_MACS * sizes[-1]
    if work:
        seconds += work / MACS_PER_SECOND[operator][kernel.backend]
    return seconds


def transpose_seconds(nbytes: int) -> float:
    """Expected seconds of changing the layout of an activation."""
    return STEP_SECONDS + nbytes / TRANSPOSE_BYTES_PER_SECOND
