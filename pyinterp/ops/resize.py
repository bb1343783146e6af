"""Resize and its predecessor Upsample: one axis after the other, as interpolation is separable."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ModelError
from .checks import axes_of, integers, one_of, require, size_checked
from .element_types import integer_range, is_float, widened
from .registry import Array, Floats, Ints, operator

FloatArray = npt.NDArray[np.float64]
TRANSFORMS = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_crop_and_resize",
)
NEAREST_MODES = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


@dataclass(frozen=True, slots=True)
class Interpolation:
    """The attributes that say how a value is found, once its axis and scale are known."""

    mode: str
    transform: str
    nearest_mode: str = "round_prefer_floor"
    cubic_coeff_a: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False
    extrapolation_value: float = 0.0


@dataclass(frozen=True, slots=True)
class Resizing:
    """What happens to each of some axes: its factor, its new length, the region that is kept."""

    over: Ints
    factors: Floats
    lengths: Ints
    regions: list[tuple[float, float]]
    rule: Interpolation

    def changes(self, i: int, size: int) -> bool:
        """Whether the i-th of these axes, now of `size` elements, comes out different."""
        whole = self.regions[i] == (0.0, 1.0)
        return self.factors[i] != 1.0 or self.lengths[i] != size or not whole

    def taps(self, axis: int, size: int) -> tuple[npt.NDArray[np.int64], FloatArray]:
        """Sources and weights, both [length, taps], of an axis that is interpolated or stays."""
        if axis not in self.over or not self.changes(i := self.over.index(axis), size):
            return np.arange(size)[:, None], np.ones((size, 1))
        at = _positions(
            size, self.factors[i], self.lengths[i], self.regions[i], self.rule.transform
        )
        return _taps(at, size, self.factors[i], self.rule)


@operator("Resize")
def resize(
    x: Array,
    roi_or_scales: Array | None = None,
    scales: Array | None = None,
    sizes: Array | None = None,
    *,
    antialias: int = 0,
    axes: Ints | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
    opset: int,
) -> Array:
    """x resized by `scales` or to `sizes` (of `axes`, by default all); roi for tf_crop_and_resize.

    In opset 10 the inputs are x and scales, positions asymmetric, nearest rounds down.
    """
    rule = Interpolation(
        mode,
        coordinate_transformation_mode,
        nearest_mode,
        cubic_coeff_a,
        bool(exclude_outside),
        bool(antialias),
        extrapolation_value,
    )
    inputs = roi_or_scales, scales, sizes
    return _resized(x, resizing(x.shape, inputs, axes, keep_aspect_ratio_policy, rule, opset))


def resizing(
    shape: Ints,
    inputs: tuple[Array | None, Array | None, Array | None],
    axes: Ints | None,
    policy: str,
    rule: Interpolation,
    opset: int,
) -> Resizing:
    """What Resize does to an array of this shape. inputs: all but the first."""
    one_of(rule.mode, ("nearest", "linear", "cubic"), "mode")
    one_of(rule.transform, TRANSFORMS, "coordinate_transformation_mode")
    one_of(rule.nearest_mode, NEAREST_MODES, "nearest_mode")
    one_of(policy, ("stretch", "not_larger", "not_smaller"), "policy")
    roi, scales, sizes = inputs
    if opset < 11:
        return _upsampling(shape, roi, rule.mode)
    over = tuple(range(len(shape))) if axes is None else axes_of(axes, len(shape))
    require(
        _present(scales) != _present(sizes),
        "expected either scales or sizes, got both or none of them",
    )
    if sizes is not None and sizes.size:
        factors, lengths = _from_sizes(shape, integers(sizes, "sizes"), over, policy)
    else:
        factors = _factors(scales, len(over))
        lengths = tuple(int(f * shape[a]) for f, a in zip(factors, over, strict=True))
    regions = _regions(roi, len(over), rule.transform)
    return Resizing(over, factors, lengths, regions, rule)


@operator("Upsample")
def upsample(
    x: Array,
    scales_input: Array | None = None,
    *,
    mode: str = "nearest",
    scales: Floats | None = None,  # opset 7 and 8
    opset: int,
) -> Array:
    """x enlarged by the scales of all axes; nearest rounds positions x / scale down."""
    if opset >= 9:
        require(scales is None, "scales is an input from opset 9 on")
    else:
        require(scales_input is None, "scales is an attribute before opset 9")
        scales_input = np.asarray(scales or (), np.float32)
    return _resized(x, _upsampling(x.shape, scales_input, mode))


def _upsampling(shape: Ints, scales: Array | None, mode: str) -> Resizing:
    one_of(mode, ("nearest", "linear"), "mode")
    factors = _factors(scales, len(shape))
    lengths = tuple(int(f * n) for f, n in zip(factors, shape, strict=True))
    over, rule = tuple(range(len(shape))), Interpolation(mode, "asymmetric", "floor")
    return Resizing(over, factors, lengths, [(0.0, 1.0)] * len(shape), rule)


def _present(values: Array | None) -> bool:
    return values is not None and values.size > 0


def _factors(scales: Array | None, count: int) -> Floats:
    if scales is None or scales.shape != (count,) or not is_float(scales.dtype):
        got = "none" if scales is None else f"{scales.dtype} {scales.shape}"
        raise ModelError(f"scales: expected float ({count},), got {got}")
    factors = tuple(float(s) for s in scales)
    require(all(0 < f < 2**31 for f in factors), f"scales: expected positive, got {factors}")
    return factors


def _from_sizes(shape: Ints, sizes: Ints, over: Ints, policy: str) -> tuple[Floats, Ints]:
    require(
        len(sizes) == len(over) and all(1 <= s < 2**31 for s in sizes),
        f"sizes: expected {len(over)} lengths of 1 or more, got {sizes}",
    )
    require(all(shape[a] > 0 for a in over), f"cannot resize an empty axis of {shape}")
    factors = tuple(s / shape[a] for s, a in zip(sizes, over, strict=True))
    if policy == "stretch":
        return factors, sizes
    scale = min(factors) if policy == "not_larger" else max(factors)
    lengths = tuple(math.floor(scale * shape[a] + 0.5) for a in over)
    return (scale,) * len(over), lengths


def _regions(roi: Array | None, count: int, transform: str) -> list[tuple[float, float]]:
    """Begin and end of the region of each axis, as fractions."""
    if transform != "tf_crop_and_resize":
        return [(0.0, 1.0)] * count
    if roi is None or roi.shape != (2 * count,):
        got = "none" if roi is None else roi.shape
        raise ModelError(f"roi: expected shape ({2 * count},), got {got}")
    values = [float(v) for v in roi]
    return list(zip(values[:count], values[count:], strict=True))


def _resized(x: Array, r: Resizing) -> Array:
    require(all(x.shape[a] > 0 for a in r.over), f"cannot resize an empty axis of {x.shape}")
    shape = list(x.shape)
    wide = widened(x) if is_float(x.dtype) or r.rule.mode == "nearest" else x.astype(np.float64)
    for i, axis in enumerate(r.over):
        shape[axis] = r.lengths[i]
        size_checked(shape, wide.dtype)
        if r.changes(i, x.shape[axis]):
            wide = _resize_axis(wide, axis, r.factors[i], r.lengths[i], r.regions[i], r.rule)
    if wide.dtype.kind == "f" and not is_float(x.dtype):
        low, high = integer_range(x.dtype)
        wide = np.clip(np.rint(wide), low, high)
    return wide.astype(x.dtype, copy=False)


def _resize_axis(
    x: Array,
    axis: int,
    factor: float,
    length: int,
    region: tuple[float, float],
    rule: Interpolation,
) -> Array:
    size = x.shape[axis]
    at = _positions(size, factor, length, region, rule.transform)
    if rule.mode == "nearest":
        y = np.take(x, np.clip(_nearest(at, rule.nearest_mode), 0, size - 1), axis=axis)
    else:
        source, weights = _taps(at, size, factor, rule)
        column = (-1, *(1,) * (x.ndim - axis - 1))
        shape = (*x.shape[:axis], length, *x.shape[axis + 1 :])
        y = np.zeros(shape, x.dtype)
        for tap in range(weights.shape[1]):
            weight = weights[:, tap].astype(x.dtype).reshape(column)
            y += np.take(x, source[:, tap], axis=axis) * weight
    if rule.transform == "tf_crop_and_resize":
        outside = ((at < 0) | (at > size - 1)).reshape(-1, *(1,) * (x.ndim - axis - 1))
        y = np.where(outside, np.asarray(rule.extrapolation_value).astype(y.dtype), y)
    return y


def _taps(
    at: FloatArray, size: int, factor: float, rule: Interpolation
) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Sources inside the axis, and their weights, of each position: both [length, taps]."""
    first, weights = _weights(at, factor, rule)
    taps = first[:, None] + np.arange(weights.shape[1])
    if rule.exclude_outside:
        weights = np.where((taps < 0) | (taps >= size), 0.0, weights)
        weights = weights / weights.sum(axis=1, keepdims=True)
    return np.clip(taps, 0, size - 1), weights


def _positions(
    size: int, factor: float, length: int, region: tuple[float, float], transform: str
) -> FloatArray:
    """Where in the input, counted in elements, each element of the output lies."""
    index = np.arange(length, dtype=np.float64)
    exact = factor * size  # ONNX counts with the fractional length
    if transform == "asymmetric":
        return index / factor
    if transform == "align_corners":
        return index * (0.0 if exact == 1 else (size - 1) / (exact - 1))
    if transform == "tf_crop_and_resize":
        begin, end = region
        span = (end - begin) * (size - 1)
        offset = index * (span / (exact - 1)) if exact != 1 else np.full(length, span / 2)
        return begin * (size - 1) + offset
    centred = (index + 0.5) / factor - 0.5
    if transform == "pytorch_half_pixel" and exact == 1:
        return np.full(length, -0.5)
    if transform == "half_pixel_symmetric":
        return centred + size / 2 * (1 - length / exact)
    return centred


def _nearest(at: FloatArray, mode: str) -> npt.NDArray[np.int64]:
    rounded: dict[str, Any] = {
        "floor": np.floor,
        "ceil": np.ceil,
        "round_prefer_floor": lambda v: np.ceil(v - 0.5),
        "round_prefer_ceil": lambda v: np.floor(v + 0.5),
    }
    return np.asarray(rounded[mode](at)).astype(np.int64)


def _weights(
    at: FloatArray, factor: float, rule: Interpolation
) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """The first input element that each output reads, and the weights [length, taps].

    With antialias a smaller output widens the kernel by 1 / factor, and normalizes it.
    """
    shrink = min(factor, 1.0) if rule.antialias else 1.0
    radius = 1 if rule.mode == "linear" else 2
    low = math.floor(-radius / shrink) + 1
    below = np.floor(at)
    distance = (np.arange(low, 2 - low) - (at - below)[:, None]) * shrink
    kernel = (
        np.clip(1 - np.abs(distance), 0, 1)
        if rule.mode == "linear"
        else _cubic(np.abs(distance), rule.cubic_coeff_a)
    )
    if rule.antialias:
        kernel = kernel / kernel.sum(axis=1, keepdims=True)
    return below.astype(np.int64) + low, kernel


def _cubic(d: FloatArray, a: float) -> FloatArray:
    """Keys, "Cubic convolution interpolation for digital image processing", 1981."""
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))
