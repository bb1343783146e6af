"""What convolution and pooling share: where windows lie, and views of the input through them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ModelError
from .checks import one_of, require, size_checked
from .registry import Array, Ints

# 512 x 512: larger windows only serve to keep the machine busy.
MAX_TAPS = 1 << 18


@dataclass(frozen=True, slots=True)
class Window:
    """Windows over the spatial axes; every tuple has one entry an axis.

    `after` holds what ceil_mode adds beyond the declared end padding, too: with it, the padded
    input covers every window exactly or with a remainder that no window reads.
    """

    kernel: Ints
    strides: Ints
    dilations: Ints
    before: Ints
    after: Ints
    output: Ints

    def taps(self) -> Iterator[Ints]:
        """Every position inside the window, in row-major order."""
        return itertools.product(*map(range, self.kernel))

    def pad(self, x: Array, value: float) -> Array:
        """x [N, C, spatial...] surrounded by `value`."""
        if not any(self.before) and not any(self.after):
            return x
        widths = ((0, 0), (0, 0), *zip(self.before, self.after, strict=True))
        size_checked((n + sum(w) for n, w in zip(x.shape, widths, strict=True)), x.dtype)
        return np.pad(x, widths, constant_values=value)

    def at(self, padded: Array, tap: Ints) -> Array:
        """A view [N, C, output...]: what `tap` of each window reads of the padded input."""
        spatial = tuple(
            slice(t * d, t * d + (n - 1) * s + 1, s)
            for t, d, s, n in zip(tap, self.dilations, self.strides, self.output, strict=True)
        )
        index: tuple[Any, ...] = (..., *spatial)
        return padded[index]

    def view(self, padded: Array) -> Array:
        """A read-only view [N, C, output..., kernel...] of the padded input."""
        axes = tuple(range(-len(self.kernel), 0))
        extents = tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))
        windows = np.lib.stride_tricks.sliding_window_view(padded, extents, axis=axes)
        outer = tuple(
            slice(0, (n - 1) * s + 1, s) for n, s in zip(self.output, self.strides, strict=True)
        )
        inner = tuple(slice(None, None, d) for d in self.dilations)
        index: tuple[Any, ...] = (..., *outer, *inner)
        return windows[index]

    def counts(self, low: Ints, high: Ints) -> Array:
        """How many taps of each window lie in [low, high) of every axis; int64 [output...].

        Coordinates are those of the unpadded input.
        """
        total = np.ones((), np.int64)
        for k, d, s, b, n, lo, hi in zip(
            self.kernel,
            self.dilations,
            self.strides,
            self.before,
            self.output,
            low,
            high,
            strict=True,
        ):
            reads = np.arange(n)[:, None] * s + np.arange(k) * d - b
            total = np.multiply.outer(total, ((reads >= lo) & (reads < hi)).sum(axis=1))
        return total


def make_window(
    spatial: Ints,
    kernel: Ints,
    *,
    strides: Ints | None,
    dilations: Ints | None,
    pads: Ints | None,
    auto_pad: str,
    ceil_mode: int = 0,
) -> Window:
    """Resolve the attributes of Conv and of the pools against the input's spatial shape."""
    axes = len(spatial)
    require(axes >= 1, "expected an input [N, C, spatial...], got no spatial axis")
    strides = per_axis("strides", strides, axes, 1)
    dilations = per_axis("dilations", dilations, axes, 1)
    kernel = per_axis("kernel_shape", kernel, axes, 1)
    require(math.prod(kernel) <= MAX_TAPS, f"kernel_shape: {kernel} has more than {MAX_TAPS} taps")
    pads = (0,) * (2 * axes) if pads is None else pads
    one_of(auto_pad, ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"), "auto_pad")
    require(
        len(pads) == 2 * axes and min(pads) >= 0,
        f"pads: expected {2 * axes} values of 0 or more, got {pads}",
    )
    before, after, output = [], [], []
    for i, size in enumerate(spatial):
        extent = (kernel[i] - 1) * dilations[i] + 1
        if auto_pad.startswith("SAME"):
            count = -(-size // strides[i])
            total = max((count - 1) * strides[i] + extent - size, 0)
            first = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
            last = total - first
        else:
            first, last = (pads[i], pads[axes + i]) if auto_pad == "NOTSET" else (0, 0)
            room = size + first + last - extent
            count = (-(-room // strides[i]) if ceil_mode else room // strides[i]) + 1
            # A window that ceil_mode adds must begin inside the input or its first padding.
            if ceil_mode and (count - 1) * strides[i] >= size + first:
                count -= 1
            last = max(last, (count - 1) * strides[i] + extent - size - first)
        if count < 1:
            raise ModelError(
                f"window of {extent} does not fit axis {i} of {size} padded by {first} and {last}"
            )
        before.append(first)
        after.append(last)
        output.append(count)
    return Window(kernel, strides, dilations, tuple(before), tuple(after), tuple(output))


def per_axis(name: str, values: Ints | None, axes: int, least: int) -> Ints:
    """`values`, one an axis and none below `least`; ones by default."""
    values = (1,) * axes if values is None else values
    require(
        len(values) == axes and all(v >= least for v in values) and max(values) < 2**31,
        f"{name}: expected {axes} values of {least} or more, got {values}",
    )
    return values
