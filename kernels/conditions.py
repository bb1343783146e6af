"""Why a spec cannot run on a kernel: each returns the reason, or "" where it can.

Conditions only select kernels. What the numeric contract refuses is refused at load, for every
backend alike (`sparing.lower`).
"""

from __future__ import annotations

import numpy as np

from ..ops.fused_spec import ConvF32, ConvS8, Spec


def always(spec: Spec) -> str:
    return ""


def depthwise_s8(spec: ConvS8) -> str:
    outputs, per_group = spec.weight.shape[:2]
    return "" if spec.groups == outputs and per_group == 1 else "not depthwise"


def csr_s8(spec: ConvS8) -> str:
    if spec.groups != 1:
        return "grouped"
    return "" if spec.weight.dtype == np.int8 else "weights wider than int8"


def csr_f32(spec: ConvF32) -> str:
    return "" if spec.groups == 1 else "grouped"
