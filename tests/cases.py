"""The cases of every fused operator: one list for correctness tests and benchmarks alike.

Names are unique; `BY_NAME["conv_s8 5x5"]` replays one.
"""

from __future__ import annotations

import cases_conv_s8
import cases_dynamic
import cases_elementwise
import cases_images
import cases_movement
import cases_pointwise
import cases_product
from case_builders import Case

CASES: tuple[Case, ...] = (
    *cases_conv_s8.all_cases(),
    *cases_product.all_cases(),
    *cases_elementwise.all_cases(),
    *cases_movement.all_cases(),
    *cases_images.all_cases(),
    *cases_pointwise.all_cases(),
    *cases_dynamic.all_cases(),
)
BY_NAME = {case.name: case for case in CASES}
