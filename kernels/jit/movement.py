"""Channels picked and reordered, and float concatenation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...ops import fused_spec as fs
from ..step import Array, Layout, Shape, Step
from .base import JitStep, compiled


@compiled
def _select_pixels(x: Array, channels: Array, out: Array) -> None:
    """x: [P, C]; out: [P, len(channels)]."""
    for p in range(out.shape[0]):
        for i in range(channels.size):
            out[p, i] = x[p, channels[i]]


@compiled
def _select_planes(x: Array, channels: Array, out: Array) -> None:
    """x: [N, C, P]; out: [N, len(channels), P]."""
    for n in range(out.shape[0]):
        for i in range(channels.size):
            source, target = x[n, channels[i]], out[n, i]
            for p in range(target.size):
                target[p] = source[p]


@compiled
def _copy_rows(x: Array, first: int, out: Array) -> None:
    """x: [R, C], to columns first.. of out."""
    for r in range(x.shape[0]):
        for c in range(x.shape[1]):
            out[r, first + c] = x[r, c]


class _SelectChannels(JitStep):
    def __init__(self, spec: fs.SelectChannels, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        self._channels = np.array(spec.channels, np.int64)
        self._layout = layout

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        x, wanted = inputs[0], self._channels
        if self._layout == "nhwc":
            _select_pixels(x.reshape(-1, x.shape[3]), wanted, output.reshape(-1, wanted.size))
        else:
            pixels = x.shape[2] * x.shape[3]
            planes = x.reshape(*x.shape[:2], pixels)
            _select_planes(planes, wanted, output.reshape(-1, wanted.size, pixels))


class _ConcatF32(JitStep):
    def __init__(self, spec: fs.ConcatF32, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        self._outer_axes = 3 if layout == "nhwc" else 1  # axes before the channels

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        outer = int(np.prod(output.shape[: self._outer_axes]))
        rows, start = output.reshape(outer, -1), 0
        for x in inputs:
            part = x.reshape(outer, -1)
            _copy_rows(part, start, rows)
            start += part.shape[1]


def select_channels(
    spec: fs.SelectChannels, shapes: Sequence[Shape], layout: Layout, threads: int
) -> Step:
    return _SelectChannels(spec, shapes, layout)


def concat_f32(spec: fs.ConcatF32, shapes: Sequence[Shape], layout: Layout, threads: int) -> Step:
    return _ConcatF32(spec, shapes, layout)
