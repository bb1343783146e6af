"""The only list of kernels. Plans, tests and benchmarks all iterate over it.

A kernel implements one fused operator (`sparing.ops.fused_spec`) for one weight format and
backend. Adding one is a line in KERNELS and a function `prepare(spec, shapes, layout, threads)`
in the named module, which packs the weights and returns a `Step`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, TypeAlias, cast

from ..ops import fused_spec as fs
from . import conditions
from .step import Layout, Shape, Step

Backend: TypeAlias = Literal["c", "numba", "numpy"]
Prepare: TypeAlias = Callable[[Any, Sequence[Shape], Layout, int], Step]


@dataclass(frozen=True, slots=True)
class Kernel:
    """A fast implementation of one fused operator.

    where: "module:function" inside sparing.kernels, imported at first use, since a backend may be
    absent. layouts: memory orders it takes; inputs and output share one. condition: gives the
    reason why a spec cannot run on it, or "".
    """

    spec: type[Any]
    weight_format: str
    backend: Backend
    layouts: tuple[Layout, ...]
    where: str
    condition: Callable[[Any], str] = field(default=conditions.always)

    @property
    def operator(self) -> str:
        """Name of the function that prepares it, e.g. "conv_s8" or "depthwise_s8"."""
        return self.where.rpartition(":")[2]

    @property
    def name(self) -> str:
        """E.g. "conv_csr_s8.csr_s8.c": operator, weight format, backend."""
        return ".".join(filter(None, (self.operator, self.weight_format, self.backend)))

    def prepare(
        self, spec: fs.Spec, shapes: Sequence[Shape], layout: Layout, threads: int = 1
    ) -> Step:
        """Pack the weights for inputs of the given logical (NCHW) shapes."""
        return _prepare(self.where)(spec, shapes, layout, threads)


@cache
def _prepare(where: str) -> Prepare:
    module, _, function = where.partition(":")
    loaded = importlib.import_module(f"sparing.kernels.{module}")
    return cast(Prepare, getattr(loaded, function))


BOTH: tuple[Layout, ...] = ("nhwc", "nchw")
NHWC: tuple[Layout, ...] = ("nhwc",)
NCHW: tuple[Layout, ...] = ("nchw",)
NC4HW4: tuple[Layout, ...] = ("nc4hw4",)
SLAB: tuple[Layout, ...] = ("slab",)
U8: tuple[Layout, ...] = (*BOTH, "nc4hw4")  # operators on uint8 that see no order
F32: tuple[Layout, ...] = (*BOTH, "slab")  # and on float32

KERNELS: tuple[Kernel, ...] = (
    Kernel(fs.ConvS8, "dense_s8", "c", NHWC, "native_dense:conv_s8"),
    Kernel(fs.ConvS8, "dense_s8", "c", NHWC, "native_dense:depthwise_s8", conditions.depthwise),
    Kernel(fs.ConvS8, "dense_s8", "c", NHWC, "native_dense:grouped_s8", conditions.grouped_s8),
    Kernel(fs.ConvS8, "dense_s8", "c", NHWC, "native_winograd:winograd_s8", conditions.winograd_s8),
    Kernel(fs.ConvS8, "csr_s8", "c", NCHW, "native_sparse:conv_csr_s8", conditions.csr_s8),
    Kernel(
        fs.ConvS8,
        "csr_s8",
        "c",
        NHWC,
        "native_sparse:pointwise_csr_s8",
        conditions.pointwise_csr_s8,
    ),
    Kernel(fs.ConvS8, "block_s8", "c", NC4HW4, "native_sparse:conv_block_s8", conditions.block_s8),
    Kernel(fs.GemmS8, "dense_s8", "c", NCHW, "native_dense:gemm_s8"),
    Kernel(fs.GemmS8, "csr_s8", "c", NCHW, "native_sparse:gemm_csr_s8", conditions.csr_s8),
    Kernel(fs.ConvF32, "dense_f32", "c", NHWC, "native_float:conv_f32"),
    Kernel(
        fs.ConvF32,
        "dense_f32",
        "c",
        NHWC,
        "native_winograd_f32:winograd_f32",
        conditions.winograd_f32,
    ),
    Kernel(fs.ConvF32, "csr_f32", "c", SLAB, "native_slab:conv_csr_f32"),
    Kernel(fs.Quantize, "", "c", BOTH, "native_elementwise:quantize"),
    Kernel(fs.Dequantize, "", "c", BOTH, "native_elementwise:dequantize"),
    Kernel(fs.DynamicRange, "", "c", BOTH, "native_dynamic:dynamic_range"),
    Kernel(fs.DynamicQuantize, "", "c", BOTH, "native_dynamic:dynamic_quantize"),
    Kernel(
        fs.DynamicConv, "dense_s8", "c", NHWC, "native_dynamic:dynamic_conv", conditions.one_group
    ),
    Kernel(
        fs.DynamicConv,
        "dense_s8",
        "c",
        NHWC,
        "native_winograd:dynamic_winograd",
        conditions.winograd_s8,
    ),
    Kernel(
        fs.DynamicConv,
        "dense_f32",
        "c",
        NHWC,
        "native_dynamic:dynamic_depthwise",
        conditions.depthwise,
    ),
    Kernel(fs.AddS8, "", "c", U8, "native_elementwise:add_s8"),
    Kernel(fs.MulS8, "", "c", BOTH, "native_elementwise:mul_s8"),
    Kernel(fs.RescaleS8, "", "c", U8, "native_elementwise:rescale_s8"),
    Kernel(fs.ConcatS8, "", "c", BOTH, "native_elementwise:concat_s8"),
    Kernel(fs.TableS8, "", "c", U8, "native_elementwise:table_s8"),
    Kernel(fs.MaxPoolS8, "", "c", NHWC, "native_elementwise:max_pool_s8"),
    Kernel(fs.AveragePoolS8, "", "c", NHWC, "native_elementwise:average_pool_s8"),
    Kernel(fs.GatherPixels, "", "c", NHWC, "native_images:gather_pixels"),
    Kernel(fs.DepthToSpace, "", "c", NHWC, "native_images:depth_to_space"),
    Kernel(fs.InterpolateS8, "", "c", NHWC, "native_images:interpolate_s8"),
    Kernel(fs.InterpolateF32, "", "c", NHWC, "native_images:interpolate_f32"),
    Kernel(fs.NormalizeS8, "", "c", NHWC, "native_images:normalize_s8"),
    Kernel(fs.NormalizeF32, "", "c", NHWC, "native_images:normalize_f32"),
    Kernel(fs.PReluS8, "", "c", BOTH, "native_images:prelu_s8"),
    Kernel(fs.PReluF32, "", "c", F32, "native_images:prelu_f32"),
    Kernel(fs.SelectChannels, "", "c", BOTH, "native_movement:select_channels"),
    Kernel(fs.ConcatF32, "", "c", F32, "native_movement:concat_f32"),
    Kernel(fs.MaxPoolF32, "", "c", NHWC, "native_pointwise:max_pool_f32"),
    Kernel(fs.AveragePoolF32, "", "c", NHWC, "native_pointwise:average_pool_f32"),
    Kernel(fs.AddF32, "", "c", F32, "native_pointwise:add_f32"),
    Kernel(fs.MulF32, "", "c", F32, "native_pointwise:mul_f32"),
    Kernel(fs.ActivationF32, "", "c", F32, "native_pointwise:activation_f32"),
    Kernel(fs.ConvS8, "dense_s8", "numba", NHWC, "jit.conv:conv_s8"),
    Kernel(
        fs.ConvS8, "dense_s8", "numba", NHWC, "jit.depthwise:depthwise_s8", conditions.depthwise
    ),
    Kernel(
        fs.ConvS8, "dense_s8", "numba", NHWC, "jit.winograd:winograd_s8", conditions.winograd_s8
    ),
    Kernel(fs.ConvS8, "csr_s8", "numba", NCHW, "jit.csr:conv_csr_s8", conditions.csr_s8),
    Kernel(fs.ConvS8, "block_s8", "numba", NC4HW4, "jit.blocks:conv_block_s8", conditions.block_s8),
    Kernel(fs.GemmS8, "dense_s8", "numba", NCHW, "jit.gemm:gemm_s8"),
    Kernel(fs.GemmS8, "csr_s8", "numba", NCHW, "jit.csr:gemm_csr_s8", conditions.csr_s8),
    Kernel(fs.ConvF32, "dense_f32", "numba", NCHW, "jit.conv:conv_f32"),
    Kernel(fs.ConvF32, "csr_f32", "numba", NCHW, "jit.csr:conv_csr_f32"),
    Kernel(fs.Quantize, "", "numba", BOTH, "jit.elementwise:quantize"),
    Kernel(fs.Dequantize, "", "numba", BOTH, "jit.elementwise:dequantize"),
    Kernel(fs.DynamicRange, "", "numba", BOTH, "jit.dynamic:dynamic_range"),
    Kernel(fs.DynamicQuantize, "", "numba", BOTH, "jit.dynamic:dynamic_quantize"),
    Kernel(fs.DynamicConv, "dense_s8", "numba", NHWC, "jit.dynamic:dynamic_conv"),
    Kernel(fs.AddS8, "", "numba", U8, "jit.elementwise:add_s8"),
    Kernel(fs.MulS8, "", "numba", BOTH, "jit.elementwise:mul_s8"),
    Kernel(fs.RescaleS8, "", "numba", U8, "jit.elementwise:rescale_s8"),
    Kernel(fs.ConcatS8, "", "numba", BOTH, "jit.elementwise:concat_s8"),
    Kernel(fs.TableS8, "", "numba", U8, "jit.elementwise:table_s8"),
    Kernel(fs.MaxPoolS8, "", "numba", NHWC, "jit.pool:max_pool_s8"),
    Kernel(fs.AveragePoolS8, "", "numba", NHWC, "jit.pool:average_pool_s8"),
    Kernel(fs.GatherPixels, "", "numba", NHWC, "jit.pixels:gather_pixels"),
    Kernel(fs.DepthToSpace, "", "numba", NHWC, "jit.pixels:depth_to_space"),
    Kernel(fs.InterpolateS8, "", "numba", NHWC, "jit.pixels:interpolate_s8"),
    Kernel(fs.InterpolateF32, "", "numba", NHWC, "jit.pixels:interpolate_f32"),
    Kernel(fs.NormalizeS8, "", "numba", NHWC, "jit.pixels:normalize_s8"),
    Kernel(fs.NormalizeF32, "", "numba", NHWC, "jit.pixels:normalize_f32"),
    Kernel(fs.PReluS8, "", "numba", BOTH, "jit.pixels:prelu_s8"),
    Kernel(fs.PReluF32, "", "numba", BOTH, "jit.pixels:prelu_f32"),
    Kernel(fs.SelectChannels, "", "numba", BOTH, "jit.movement:select_channels"),
    Kernel(fs.ConcatF32, "", "numba", BOTH, "jit.movement:concat_f32"),
    Kernel(fs.MaxPoolF32, "", "numba", NHWC, "jit.pool:max_pool_f32"),
    Kernel(fs.AveragePoolF32, "", "numba", NHWC, "jit.pool:average_pool_f32"),
    Kernel(fs.AddF32, "", "numba", BOTH, "jit.pointwise:add_f32"),
    Kernel(fs.MulF32, "", "numba", BOTH, "jit.pointwise:mul_f32"),
    Kernel(fs.ActivationF32, "", "numba", BOTH, "jit.pointwise:activation_f32"),
    *(
        Kernel(spec, "", "numpy", NCHW, "reference:reference")
        for spec in (
            fs.ConvS8,
            fs.GemmS8,
            fs.ConvF32,
            fs.Quantize,
            fs.Dequantize,
            fs.DynamicRange,
            fs.DynamicQuantize,
            fs.DynamicConv,
            fs.AddS8,
            fs.MulS8,
            fs.RescaleS8,
            fs.ConcatS8,
            fs.TableS8,
            fs.MaxPoolS8,
            fs.AveragePoolS8,
            fs.GatherPixels,
            fs.DepthToSpace,
            fs.InterpolateS8,
            fs.InterpolateF32,
            fs.NormalizeS8,
            fs.NormalizeF32,
            fs.PReluS8,
            fs.PReluF32,
            fs.SelectChannels,
            fs.ConcatF32,
            fs.MaxPoolF32,
            fs.AveragePoolF32,
            fs.AddF32,
            fs.MulF32,
            fs.ActivationF32,
        )
    ),
)


def import_kernels(backend: Backend) -> None:
    """Import the modules of a backend that is there, so that no session waits for them."""
    for kernel in KERNELS:
        if kernel.backend == backend:
            _prepare(kernel.where)


def candidates(spec: fs.Spec, backend: Backend) -> Iterator[Kernel]:
    """Kernels of one backend that can run the spec."""
    found = _kernels(type(spec).__name__, backend)
    return (kernel for kernel in found if not kernel.condition(spec))


@cache
def _kernels(spec: str, backend: Backend) -> tuple[Kernel, ...]:
    return tuple(k for k in KERNELS if k.spec.__name__ == spec and k.backend == backend)


@cache
def available_backends() -> tuple[Backend, ...]:
    """Backends that this installation has, best first. A broken one raises when it is used."""
    found: list[Backend] = []
    if importlib.util.find_spec("sparing.kernels._native") is not None:
        found.append("c")
    if importlib.util.find_spec("numba") is not None:
        found.append("numba")
    return (*found, "numpy")
