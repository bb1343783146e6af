"""Dense convolutions: uint8 as a matrix product over gathered windows, float32 over planes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...ops.fused_spec import ConvF32, ConvS8
from ..step import Array, Layout, Shape, Step
from .base import JitStep, compiled
from .epilogue import Epilogue
from .gemm import K_ALIGN, multiply, pack_rows, round_up
from .images import PaddedImage, PhasePlanes
from .planes import finish_f32

TILE_BYTES = 128 * 1024  # of gathered windows: they should stay in L2
PLANE_PIXELS = 1024


@compiled
def _gather(
    image: Array, pitch: int, pixel: int, out_w: int, first: int, offsets: Array, run: int,
    steps: Array, rows: Array,
) -> None:  # fmt: skip
    """rows[p] = window of output pixel first + p, as runs of `run` bytes at `offsets`.

    image: uint8, flat. pitch, pixel: bytes of an image row and of a pixel. steps: the strides.
    """
    for p in range(rows.shape[0]):
        y, x = divmod(first + p, out_w)
        base = y * steps[0] * pitch + x * steps[1] * pixel
        row = rows[p]
        at = 0
        for r in range(offsets.size):
            source = image[base + offsets[r] : base + offsets[r] + run]
            for k in range(run):
                row[at + k] = source[k]
            at += run


class _ConvS8(JitStep):
    """Windows are gathered for a tile of pixels, multiplied, and requantized while in cache."""

    def __init__(self, spec: ConvS8, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        outputs, per_in, kh, kw = spec.weight.shape
        _, channels, height, width = shapes[0]
        self._x_zero_point = spec.x_zero_point
        self._epilogue = Epilogue(spec)
        self._groups, self._per_in, self._per_out = spec.groups, per_in, outputs // spec.groups
        by_tap = spec.weight.transpose(0, 2, 3, 1).reshape(spec.groups, self._per_out, -1)
        self._weights = [pack_rows(group) for group in by_tap]
        self._padded = PaddedImage(spec.window, height, width)
        self._strides = np.array(spec.window.strides, np.int64)
        self._k = kh * kw * per_in
        # neighbouring taps of a row are one run where nothing lies between them
        self._joined = spec.groups == 1 and spec.window.dilations[1] == 1
        self._taps = [
            (ky * spec.window.dilations[0], kx * spec.window.dilations[1])
            for ky in range(kh)
            for kx in range(1 if self._joined else kw)
        ]
        self._run = kw * channels if self._joined else per_in
        self._is_matrix = (
            (kh, kw) == spec.window.strides == (1, 1)
            and spec.window.pads == (0, 0, 0, 0)
            and spec.groups == 1
            and channels % K_ALIGN == 0
        )
        self.weight_bytes = sum(w.nbytes for w in self._weights) + self._epilogue.weight_bytes

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        _, out_h, out_w, outputs = output.shape
        tile = max(16, min(256, TILE_BYTES // self._weights[0].shape[1]) // 4 * 4)
        for n, image in enumerate(inputs[0]):
            padded = self._padded.of(image, self._x_zero_point)
            out = output[n].reshape(-1, outputs)
            residual = inputs[1][n].reshape(-1, outputs) if len(inputs) == 2 else None
            for first in range(0, out_h * out_w, tile):
                part = slice(first, min(first + tile, out_h * out_w))
                sums = self._sums(padded, out_w, part)
                other = None if residual is None else residual[part]
                self._epilogue.rows(sums, other, out[part])

    def _sums(self, image: Array, out_w: int, part: slice) -> Array:
        """Sums of a tile of pixels, int32 [P, >= O]."""
        count = part.stop - part.start
        parts = []
        for group, weight in enumerate(self._weights):
            sums = np.empty((count, weight.shape[0]), np.int32)
            multiply(self._windows(image, out_w, part, group), weight, sums)
            parts.append(sums)
        if self._groups == 1:
            return parts[0]
        return np.concatenate([sums[:, : self._per_out] for sums in parts], axis=1)

    def _windows(self, image: Array, out_w: int, part: slice, group: int) -> Array:
        """Windows of a tile of pixels, uint8 [P, K rounded up]."""
        _, width, channels = image.shape
        if self._is_matrix:
            return image.reshape(-1, channels)[part]
        rows = np.zeros((part.stop - part.start, round_up(self._k, K_ALIGN)), np.uint8)
        begin = group * self._per_in
        taps = [(ky * width + kx) * channels + begin for ky, kx in self._taps]
        _gather(
            image.reshape(-1), width * channels, channels, out_w, part.start,
            np.array(taps, np.int64), self._run, self._strides, rows,
        )  # fmt: skip
        return rows


@compiled
def _accumulate_f32(
    x: Array, start: int, length: int, offsets: Array, group_size: int, groups: int,
    weight: Array, bias: Array, sums: Array,
) -> None:  # fmt: skip
    """sums[o, p] = bias[o] + sum_k weight[o, k] * x[group + offsets[k] + start + p].

    Four outputs by two taps at a time: a loaded x serves four sums, a loaded sum two products.
    """
    per_out = weight.shape[0] // groups
    k_count = offsets.size
    for group in range(groups):
        base = group * group_size + start
        o = group * per_out
        end = o + per_out
        while o + 4 <= end:
            a0, a1 = sums[o, :length], sums[o + 1, :length]
            a2, a3 = sums[o + 2, :length], sums[o + 3, :length]
            a0[:], a1[:], a2[:], a3[:] = bias[o], bias[o + 1], bias[o + 2], bias[o + 3]
            for k in range(0, k_count - 1, 2):
                x0 = x[base + offsets[k] : base + offsets[k] + length]
                x1 = x[base + offsets[k + 1] : base + offsets[k + 1] + length]
                v00, v01 = weight[o, k], weight[o, k + 1]
                v10, v11 = weight[o + 1, k], weight[o + 1, k + 1]
                v20, v21 = weight[o + 2, k], weight[o + 2, k + 1]
                v30, v31 = weight[o + 3, k], weight[o + 3, k + 1]
                for p in range(length):
                    a0[p] = a0[p] + x0[p] * v00 + x1[p] * v01
                    a1[p] = a1[p] + x0[p] * v10 + x1[p] * v11
                    a2[p] = a2[p] + x0[p] * v20 + x1[p] * v21
                    a3[p] = a3[p] + x0[p] * v30 + x1[p] * v31
            if k_count % 2:
                x0 = x[base + offsets[k_count - 1] : base + offsets[k_count - 1] + length]
                for q in range(4):
                    last, total = weight[o + q, k_count - 1], sums[o + q, :length]
                    for p in range(length):
                        total[p] = total[p] + x0[p] * last
            o += 4
        while o < end:
            total = sums[o, :length]
            total[:] = bias[o]
            for k in range(k_count):
                x0 = x[base + offsets[k] : base + offsets[k] + length]
                value = weight[o, k]
                for p in range(length):
                    total[p] = total[p] + x0[p] * value
            o += 1


class _ConvF32(JitStep):
    def __init__(self, spec: ConvF32, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        outputs, per_in = spec.weight.shape[:2]
        self._planes = PhasePlanes(spec.window, *shapes[0][2:])
        channels = np.arange(per_in)[:, None] * self._planes.channel_size
        self._offsets = (channels + self._planes.offsets.reshape(1, -1)).reshape(-1)
        self._group_size, self._groups = per_in * self._planes.channel_size, spec.groups
        self._weight = np.array(spec.weight, np.float32).reshape(outputs, -1)
        self._bias = np.array(spec.bias, np.float32)
        self._clamp = np.float32(spec.lo), np.float32(spec.hi)
        self.weight_bytes = self._weight.nbytes + self._bias.nbytes

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        planes = self._planes
        tiles = planes.tiles(PLANE_PIXELS)
        sums = np.empty((output.shape[1], planes.run_length(tiles[0])), np.float32)
        for n, image in enumerate(inputs[0]):
            x = planes.of(image, 0.0)
            residual = inputs[1][n] if len(inputs) == 2 else None
            for rows in tiles:
                _accumulate_f32(
                    x, rows.start * planes.row_size, planes.run_length(rows), self._offsets,
                    self._group_size, self._groups, self._weight, self._bias, sums,
                )  # fmt: skip
                finish_f32(sums, planes.row_size, rows, residual, self._clamp, output[n])


def conv_s8(spec: ConvS8, shapes: Sequence[Shape], layout: Layout, threads: int) -> Step:
    return _ConvS8(spec, shapes, layout)


def conv_f32(spec: ConvF32, shapes: Sequence[Shape], layout: Layout, threads: int) -> Step:
    return _ConvF32(spec, shapes, layout)
