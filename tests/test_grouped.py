"""Groups of a convolution that share a product."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from case_builders import Case, conv_f32, conv_s8
from kernel_checks import forced_isa, require

from sparing.cost import Costs
from sparing.kernels.grouped import groups_to_join, join_groups
from sparing.kernels.registry import candidates
from sparing.ops import fused
from sparing.ops.fused_spec import ConvS8


@pytest.mark.parametrize(
    ("groups", "outputs", "joined"),
    [(32, 128, 4), (32, 256, 2), (32, 512, 1), (13, 104, 1), (6, 48, 2), (10, 30, 5), (1, 3, 1)],
)
def test_as_many_groups_are_joined_as_fill_a_column_group(
    groups: int, outputs: int, joined: int
) -> None:
    case = conv_s8("case", (1, groups * 2, 3, 3), outputs, groups=groups)
    assert isinstance(case.spec, ConvS8)
    assert groups_to_join(case.spec) == joined


def test_joined_groups_compute_the_same() -> None:
    case = conv_s8("case", (2, 24, 6, 5), 32, groups=8, pads=(1, 1, 1, 1), x_zp=9)
    assert isinstance(case.spec, ConvS8)
    wide = join_groups(case.spec)
    assert wide.groups == 2 and wide.weight.shape == (32, 12, 3, 3)
    assert np.count_nonzero(wide.weight) == np.count_nonzero(case.spec.weight)
    inputs = case.inputs()
    assert np.array_equal(fused.run(wide, inputs), fused.run(case.spec, inputs))


@pytest.mark.parametrize("make", [conv_s8, conv_f32])
def test_groups_are_expected_to_cost_more_than_the_same_products_of_one(
    make: Callable[..., Case],
) -> None:
    """Patches are copied group by group: ResNeXt was planned at a tenth of what it took."""
    require("c")

    def dense_cost(channels: int, groups: int) -> float:
        shape = (1, channels, 28, 28)
        spec = make("case", shape, 128, groups=groups, pads=(1, 1, 1, 1)).spec
        kernel = next(k for k in candidates(spec, "c") if k.operator in ("conv_s8", "conv_f32"))
        return Costs().step(kernel, spec, [shape], "nhwc")

    taps = 28 * 28 * 9 * 8
    with forced_isa("portable"):  # tile registers read each tap where it is
        assert dense_cost(128, groups=8) - dense_cost(16, groups=1) > taps * 1e-9
