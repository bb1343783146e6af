"""Every kernel of the registry against the reference, over every case that it can run.

Integer results are compared with ==. C kernels run in every instruction set of this machine
(`SPARING_ISA` narrows that to one) and with 1, 2 and 3 threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from case_builders import Case, conv_f32, conv_s8, gemm_s8
from case_sizes import FULL, S7, S8
from cases import CASES
from cases_dynamic import dynamic_conv
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_checks import check, isas_to_test, require, runs, thread_counts

from sparing.kernels.registry import KERNELS, Kernel
from sparing.kernels.step import Layout
from sparing.ops import fused_spec as fs

# the NumPy kernel is the reference itself; test_fused_reference.py judges that one
FAST = [kernel for kernel in KERNELS if kernel.backend != "numpy"]


def _combinations(kernels: list[Kernel], cases: tuple[Case, ...]) -> Iterator[Any]:
    for kernel in kernels:
        for isa in isas_to_test(kernel.backend):
            for layout in kernel.layouts:
                label = "-".join(filter(None, (kernel.name, isa, layout)))
                for case in cases:
                    if runs(kernel, case):
                        yield pytest.param(kernel, case, layout, isa, id=f"{label}-{case.name}")


@pytest.mark.parametrize(("kernel", "case", "layout", "isa"), list(_combinations(FAST, CASES)))
def test_equals_reference(kernel: Kernel, case: Case, layout: Layout, isa: str) -> None:
    require(kernel.backend)
    check(kernel, case, layout, thread_counts(kernel), isa)


def test_every_kernel_has_cases() -> None:
    for kernel in KERNELS:
        count = sum(runs(kernel, case) for case in CASES)
        assert count >= 3, f"{kernel.name}: only {count} cases"


# ---- random shapes -------------------------------------------------------------------------

PROPERTY = settings(
    max_examples=25,
    deadline=None,  # the first example compiles
    derandomize=True,  # a suite that fails must fail again
    suppress_health_check=[HealthCheck.filter_too_much],
)
size = st.integers(1, 20)
pair = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def windows(draw: st.DrawFn) -> tuple[tuple[int, ...], dict[str, Any]]:
    """A height, a width, and window arguments that fit them."""
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    dilations = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    pads = draw(st.tuples(*[st.integers(0, 4)] * 4))
    sizes = []
    for axis in (0, 1):
        extent = (kernel[axis] - 1) * dilations[axis] + 1
        smallest = max(1, extent - pads[axis] - pads[axis + 2])
        sizes.append(draw(st.integers(smallest, smallest + 16)))
    more = {"strides": draw(pair), "pads": pads, "dilations": dilations, "kernel": kernel}
    return tuple(sizes), more


@st.composite
def conv_s8_cases(
    draw: st.DrawFn,
    grouped: bool,
    depthwise: bool,
    plain: bool = False,
    together: int = 1,
    pointwise: bool = False,
    narrow: bool = False,
) -> Case:
    """together: input channels come in such groups, of which whole ones are zero. narrow: groups of
    4, 8 or 16 channels that stay as many."""
    (height, width), window = draw(windows())
    if pointwise:
        window |= {"kernel": (1, 1), "pads": (0, 0, 0, 0)}
    if plain:  # 3x3 with stride 1
        window |= {"kernel": (3, 3), "strides": (1, 1), "dilations": (1, 1)}
        height, width = height + 2, width + 2
    groups = draw(size) if depthwise else draw(st.sampled_from([1, 1, 2, 3])) if grouped else 1
    each = draw(st.integers(1, 40 // groups))
    channels = groups if depthwise else groups * together * -(-each // together)
    outputs = groups if depthwise else groups * draw(st.integers(1, 40 // groups))
    if narrow:
        width = draw(st.sampled_from([4, 8, 16]))
        groups = draw(st.integers(16 // width, 64 // width))
        channels = outputs = groups * width
    x_max = draw(st.sampled_from([127, 255]))
    window |= {
        "groups": groups,
        "sparsity": draw(st.sampled_from([0.0, 0.5, 0.9])),
        "together": together,
        "weights": draw(st.sampled_from(["normal", "ends", "top", "zero_rows"])),
        "values": draw(st.sampled_from(["uniform", "ends", "top"])),
        "x_zp": draw(st.integers(0, x_max)),
        "x_max": x_max,
        "output": draw(st.sampled_from([FULL, S7, S8])),
        "residual": draw(st.sampled_from(["", "accumulator", "quantized"])),
        "table": draw(st.booleans()),
        "multipliers": draw(st.sampled_from(["spread", "ties"])),
    }
    shape = (draw(st.integers(1, 3)), channels, height, width)
    return conv_s8(f"random {shape}, {outputs}, {window}", shape, outputs, **window)


@st.composite
def conv_f32_cases(draw: st.DrawFn, grouped: bool, plain: bool = False) -> Case:
    """plain: 3x3, stride 1, dilation 1, 16 channels or more."""
    (height, width), window = draw(windows())
    if plain:
        height, width = max(height, 3), max(width, 3)
        window |= {"kernel": (3, 3), "strides": (1, 1), "dilations": (1, 1)}
    groups = draw(st.sampled_from([1, 1, 2, 5])) if grouped else 1
    channels = groups * draw(st.integers(16 if plain else 1, 40 // groups))
    outputs = groups * draw(st.integers(1, 40 // groups))
    window |= {
        "groups": groups,
        "sparsity": draw(st.sampled_from([0.0, 0.5, 0.9])),
        "residual": draw(st.booleans()),
        "lo": draw(st.sampled_from([float("-inf"), 0.0])),
    }
    shape = (draw(st.integers(1, 3)), channels, height, width)
    return conv_f32(f"random {shape}, {outputs}, {window}", shape, outputs, **window)


@st.composite
def dynamic_conv_cases(draw: st.DrawFn, depthwise: bool, plain: bool = False) -> Case:
    """plain: 3x3, stride 1, dilation 1, int8."""
    (height, width), window = draw(windows())
    if plain:
        window |= {"kernel": (3, 3), "strides": (1, 1), "dilations": (1, 1)}
        height, width = height + 2, width + 2
    wide = [] if plain else ["s16"]
    channels = draw(st.integers(1, 40))
    window |= {
        "depthwise": depthwise,
        "weights": draw(st.sampled_from(["normal", "ends", "top", "zero_rows", *wide])),
        "values": draw(st.sampled_from(["uniform", "ends", "top"])),
        "lo": draw(st.sampled_from([float("-inf"), 0.0])),
    }
    outputs = channels if depthwise else draw(st.integers(1, 70))
    shape = (draw(st.integers(1, 3)), channels, height, width)
    return dynamic_conv(f"random {shape}, {outputs}, {window}", shape, outputs, **window)


@st.composite
def gemm_s8_cases(draw: st.DrawFn, narrow: bool = False) -> Case:
    """narrow: weights of 8 bits alone, of which some are zero."""
    m, n, k = draw(size), draw(st.integers(1, 80)), draw(st.integers(1, 300))
    wide = [] if narrow else ["s16", "s16_full"]
    more: dict[str, Any] = {
        "weights": draw(st.sampled_from(["normal", "ends", "top", "zero_rows", *wide])),
        "sparsity": draw(st.sampled_from([0.0, 0.5, 0.9])) if narrow else 0.0,
        "values": draw(st.sampled_from(["uniform", "ends", "top"])),
        "x_zp": draw(st.integers(0, 255)),
        "biases": draw(st.sampled_from(["normal", "wrap"])),
    }
    return gemm_s8(f"random {m}, {n}, {k}, {more}", m, n, k, **more)


def _random_cases(kernel: Kernel) -> st.SearchStrategy[Case]:
    operator = kernel.where.rpartition(":")[2]
    strategies: dict[str, Callable[[], st.SearchStrategy[Case]]] = {
        "conv_s8": lambda: conv_s8_cases(grouped=True, depthwise=False),
        "depthwise_s8": lambda: conv_s8_cases(grouped=True, depthwise=True),
        "grouped_s8": lambda: conv_s8_cases(grouped=True, depthwise=False, narrow=True),
        "winograd_s8": lambda: conv_s8_cases(grouped=False, depthwise=False, plain=True),
        "conv_csr_s8": lambda: conv_s8_cases(grouped=True, depthwise=False),
        "pointwise_csr_s8": lambda: conv_s8_cases(grouped=True, depthwise=False, pointwise=True),
        "conv_block_s8": lambda: conv_s8_cases(grouped=True, depthwise=False, together=4),
        "conv_f32": lambda: conv_f32_cases(grouped=True),
        "winograd_f32": lambda: conv_f32_cases(grouped=False, plain=True),
        "conv_csr_f32": lambda: conv_f32_cases(grouped=True),
        "dynamic_conv": lambda: dynamic_conv_cases(depthwise=False),
        "dynamic_winograd": lambda: dynamic_conv_cases(depthwise=False, plain=True),
        "dynamic_depthwise": lambda: dynamic_conv_cases(depthwise=True),
        "gemm_s8": gemm_s8_cases,
        "gemm_csr_s8": lambda: gemm_s8_cases(narrow=True),
    }
    return strategies[operator]()


WEIGHTED = (fs.ConvS8, fs.ConvF32, fs.GemmS8, fs.DynamicConv)
PRODUCTS = [kernel for kernel in FAST if kernel.spec in WEIGHTED]


@pytest.mark.parametrize("kernel", PRODUCTS, ids=lambda kernel: kernel.name)
def test_random_shapes(kernel: Kernel) -> None:
    require(kernel.backend)

    @PROPERTY
    @given(case=_random_cases(kernel))
    def run(case: Case) -> None:
        assert runs(kernel, case), case
        for isa in isas_to_test(kernel.backend):
            for layout in kernel.layouts:
                check(kernel, case, layout, thread_counts(kernel)[:2], isa)

    run()
