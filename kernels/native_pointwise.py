"""C kernels of float operators without weights: poolings, sums, products and activations."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ModelError
from ..ops import fused_spec as fs
from ..ops.fused_float import average_pool_divisors
from ..ops.fused_shapes import output_shape
from ._native import ffi, lib
from .native import NativeStep, aligned, pointer
from .native_elementwise import MAX_ELEMENTS, elements, fill_shape, plain_step
from .step import Layout, Shape, in_layout

FUNCTIONS = {
    "clip": lib.SP_CLIP,
    "hard_sigmoid": lib.SP_HARD_SIGMOID,
    "hard_swish": lib.SP_HARD_SWISH,
    "sigmoid": lib.SP_SIGMOID,
    "silu": lib.SP_SILU,
    "leaky_relu": lib.SP_LEAKY_RELU,
    "elu": lib.SP_ELU,
    "tanh": lib.SP_TANH,
    "gelu": lib.SP_GELU,
}


def _check_channels(shape: Shape) -> None:
    """Raise ModelError for pixels whose bytes the C kernels cannot count."""
    if 4 * shape[1] > MAX_ELEMENTS:
        raise ModelError(f"expected at most {MAX_ELEMENTS // 4} channels, got shape {list(shape)}")


def max_pool_f32(
    spec: fs.MaxPoolF32, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    params = ffi.new("sp_max_pool_f32 *")
    fill_shape(params, spec.window, 1, shapes[0], output_shape(spec, shapes))
    _check_channels(shapes[0])
    return plain_step(spec, shapes, layout, threads, lib.SP_MAX_POOL_F32, params)


def average_pool_f32(
    spec: fs.AveragePoolF32, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    params = ffi.new("sp_average_pool_f32 *")
    fill_shape(params, spec.window, 1, shapes[0], output_shape(spec, shapes))
    _check_channels(shapes[0])
    divisors = aligned(average_pool_divisors(spec, shapes[0][2], shapes[0][3]))
    params.divisor = pointer(divisors, "float *")
    return plain_step(spec, shapes, layout, threads, lib.SP_AVERAGE_POOL_F32, params, [divisors])


def _binary(
    spec: fs.AddF32 | fs.MulF32, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    output_shape(spec, shapes)
    first = shapes[0]
    params = ffi.new("sp_binary_f32 *")
    # [N, C, spatial...]: without a broadcast only the product of the three counts
    params.batch = first[0] if first else 1
    params.channels = first[1] if len(first) > 1 else 1
    params.pixels = elements(first[2:])
    params.nhwc, params.slab = layout == "nhwc", layout == "slab" and len(first) == 4
    params.b_broadcast = shapes[1] != first
    params.product, params.lo, params.hi = isinstance(spec, fs.MulF32), spec.lo, spec.hi
    return plain_step(spec, shapes, layout, threads, lib.SP_BINARY_F32, params)


def add_f32(spec: fs.AddF32, shapes: Sequence[Shape], layout: Layout, threads: int) -> NativeStep:
    return _binary(spec, shapes, layout, threads)


def mul_f32(spec: fs.MulF32, shapes: Sequence[Shape], layout: Layout, threads: int) -> NativeStep:
    return _binary(spec, shapes, layout, threads)


def activation_f32(
    spec: fs.ActivationF32, shapes: Sequence[Shape], layout: Layout, threads: int
) -> NativeStep:
    fields = [elements(in_layout(shapes[0], layout)), FUNCTIONS[spec.function], spec.a, spec.b]
    params = ffi.new("sp_activation_f32 *", fields)
    return plain_step(spec, shapes, layout, threads, lib.SP_ACTIVATION_F32, params)
