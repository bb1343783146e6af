"""The registry: every record leads to a kernel, and what surrounds kernels keeps its word."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace
from types import FunctionType
from typing import get_args

import numpy as np
import pytest
from case_builders import Case
from cases import BY_NAME, CASES
from kernel_checks import from_layout, require, runs

from sparing.errors import InputError
from sparing.kernels import registry
from sparing.kernels.registry import KERNELS, Kernel
from sparing.kernels.step import ArraySpec, in_layout
from sparing.ops import fused
from sparing.ops import fused_spec as fs
from sparing.ops.fused_shapes import input_count, output_dtype, output_shape

SPECS = get_args(fs.Spec)


def ids(kernel: Kernel) -> str:
    return kernel.name


def test_names_are_unique() -> None:
    names = [kernel.name for kernel in KERNELS if kernel.backend != "numpy"]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.__name__)
def test_every_operator_has_kernels_in_every_backend(spec: type) -> None:
    assert spec in fused.REFERENCE
    assert {kernel.backend for kernel in KERNELS if kernel.spec is spec} == {"c", "numba", "numpy"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_spec_has_candidates_in_every_backend(case: Case) -> None:
    """Conditions only select kernels: no backend may be unable to run what another can."""
    for backend in get_args(registry.Backend):
        assert list(registry.candidates(case.spec, backend)), backend


@pytest.mark.parametrize("kernel", KERNELS, ids=ids)
def test_prepared_steps_describe_their_arrays(kernel: Kernel) -> None:
    require(kernel.backend)
    case = next(case for case in CASES if runs(kernel, case))
    for layout in kernel.layouts:
        step = kernel.prepare(case.spec, case.shapes, layout)
        assert len(step.inputs) == input_count(case.spec) == len(case.inputs())
        for spec, array in zip(step.inputs, case.inputs(), strict=True):
            assert spec == ArraySpec(in_layout(array.shape, layout), array.dtype)
        shape = in_layout(output_shape(case.spec, case.shapes), layout)
        assert step.output == ArraySpec(shape, output_dtype(case.spec))
        if hasattr(case.spec, "weight") and kernel.backend != "numpy":
            assert step.weight_bytes > 0
            assert step.detail


@pytest.mark.parametrize("kernel", KERNELS, ids=ids)
def test_wrong_arrays_are_refused(kernel: Kernel) -> None:
    require(kernel.backend)
    wide_cases = (case for case in CASES if runs(kernel, case) and case.shapes[0][-1] > 1)
    case = next(wide_cases)
    step = kernel.prepare(case.spec, case.shapes, kernel.layouts[0])
    inputs = [np.zeros(spec.shape, spec.dtype) for spec in step.inputs]
    output = np.zeros(step.output.shape, step.output.dtype)
    step.run(inputs, output)
    with pytest.raises(InputError, match=r"expected \d inputs, got 3|expected 1 inputs"):
        step.run([*inputs, *inputs, *inputs][:3], output)
    with pytest.raises(InputError, match="input 0: expected"):
        step.run([inputs[0].astype(np.float64), *inputs[1:]], output)
    with pytest.raises(InputError, match="input 0: expected"):
        step.run([inputs[0][..., :0], *inputs[1:]], output)
    with pytest.raises(InputError, match="output: expected"):
        step.run(inputs, output[..., None])
    wide = np.zeros((*output.shape[:-1], 2 * output.shape[-1] + 2), output.dtype)
    with pytest.raises(InputError, match="output: expected"):
        step.run(inputs, wide[..., ::2][..., : output.shape[-1]])


PACKING = [
    kernel
    for kernel in KERNELS
    if kernel.backend != "numpy"
    and kernel.spec in (fs.ConvS8, fs.ConvF32, fs.GemmS8, fs.DynamicConv)
]


@pytest.mark.parametrize("kernel", PACKING, ids=ids)
def test_steps_own_their_weights(kernel: Kernel) -> None:
    """A step packs its weights: it neither writes the spec's arrays nor follows their changes."""
    require(kernel.backend)
    names = (
        *("conv_s8 table", "conv_s8 depthwise ends", "conv_s8 blocks 5x5"),
        *("conv_s8 1x1 stride 2", "conv_s8 8 groups of 4", "conv_f32 zero rows", "gemm_s8 ends"),
        *("conv_f32 Winograd, 16 channels", "dynamic conv 3x3 4->3", "dynamic conv depthwise"),
    )
    case = next(BY_NAME[name] for name in names if runs(kernel, BY_NAME[name]))
    spec = case.spec
    arrays = {
        name: getattr(spec, name).copy()
        for name in ("weight", "bias", "multiplier", "table", "weight_scale")
        if getattr(spec, name, None) is not None
    }
    own = replace(spec, **{name: array.copy() for name, array in arrays.items()})
    layout = kernel.layouts[0]
    step = kernel.prepare(own, case.shapes, layout)
    inputs = [np.ones(array.shape, array.dtype) for array in step.inputs]
    before, after = (np.empty(step.output.shape, step.output.dtype) for _ in range(2))
    step.run(inputs, before)
    for name, array in arrays.items():
        assert np.array_equal(getattr(own, name), array), f"{name} was written"
        getattr(own, name)[...] = 1
    step.run(inputs, after)
    before, after = (from_layout(y, layout, case.result) for y in (before, after))
    assert np.array_equal(before, after)


def test_compiled_functions_call_only_their_own_file() -> None:
    """Numba's disk cache watches the file of a function alone, not those of what it inlines."""
    require("numba")
    from numba.core.dispatcher import Dispatcher

    import sparing.kernels.jit as jit

    found = 0
    for module_info in pkgutil.iter_modules(jit.__path__):
        module = importlib.import_module(f"{jit.__name__}.{module_info.name}")
        for function in vars(module).values():
            if (
                not isinstance(function, Dispatcher)
                or function.py_func.__module__ != module.__name__
            ):
                continue
            found += 1
            python: FunctionType = function.py_func
            for name in python.__code__.co_names:
                callee = python.__globals__.get(name)
                if isinstance(callee, Dispatcher):
                    assert callee.py_func.__module__ == module.__name__, f"{function} calls {name}"
            options = function.targetoptions
            assert options["nogil"] and not options.get("fastmath") and not options.get("parallel")
    assert found > 15
