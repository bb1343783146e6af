"""Dense convolutions: uint8 as a matrix product over gathered windows, float32 over planes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...ops.fused_spec import ConvF32, ConvS8, Window
from ..step import Array, Layout, Shape, Step
from .base import JitStep, compiled
from .epilogue import Epilogue
from .gemm import Product
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


class WindowSums:
    """Sums of products of uint8 windows and integer weights [O, C / groups, kh, kw], a tile of
    pixels after the other. shape: logical, of the input."""

    def __init__(self, window: Window, groups: int, weight: Array, shape: Shape) -> None:
        outputs, per_in, kh, kw = weight.shape
        _, channels, height, width = shape
        self._groups, self._per_in, self._per_out = groups, per_in, outputs // groups
        by_tap = weight.transpose(0, 2, 3, 1).reshape(groups, self._per_out, -1)
        self._products = [Product(group) for group in by_tap]
        self._padded = PaddedImage(window, height, width)
        self._out_h, self._out_w = window.output_size(height, width)
        self._strides = np.array(window.strides, np.int64)
        # neighbouring taps of a row are one run where nothing lies between them
        self._joined = groups == 1 and window.dilations[1] == 1
        self._taps = [
            (ky * window.dilations[0], kx * window.dilations[1])
            for ky in range(kh)
            for kx in range(1 if self._joined else kw)
        ]
        self._run = kw * channels if self._joined else per_in
        self._is_matrix = (
            (kh, kw) == window.strides == (1, 1)
            and window.pads == (0, 0, 0, 0)
            and groups == 1
            and channels == self._products[0].k_padded
        )
        self.nbytes = sum(p.nbytes for p in self._products)

    def tiles(self, image: Array, x_zero_point: int) -> Iterator[tuple[slice, Array]]:
        """Of an image [H, W, C]: which output pixels, and their sums, int32 [P, >= O]."""
        padded, pixels = self._padded.of(image, x_zero_point), self._out_h * self._out_w
        tile = max(16, min(256, TILE_BYTES // self._products[0].k_padded) // 4 * 4)
        for first in range(0, pixels, tile):
            part = slice(first, min(first + tile, pixels))
            yield part, self._sums(padded, part)

    def _sums(self, image: Array, part: slice) -> Array:
        parts = [
            product(self._windows(image, part, group))
            for group, product in enumerate(self._products)
        ]
        if self._groups == 1:
            return parts[0]
        return np.concatenate([sums[:, : self._per_out] for sums in parts], axis=1)

    def _windows(self, image: Array, part: slice, group: int) -> Array:
        """Windows of a tile of pixels, uint8 [P, K rounded up]."""
        _, width, channels = image.shape
        if self._is_matrix:
            return image.reshape(-1, channels)[part]
        rows = np.zeros((part.stop - part.start, self._products[group].k_padded), np.uint8)
        begin = group * self._per_in
        taps = [(ky * width + kx) * channels + begin for ky, kx in self._taps]
        _gather(
            image.reshape(-1), width * channels, channels, self._out_w, part.start,
            np.array(taps, np.int64), self._run, self._strides, rows,
        )  # fmt: skip
        return rows


class _ConvS8(JitStep):
    """Windows are gathered for a tile of pixels, multiplied, and requantized while in cache."""

    def __init__(self, spec: ConvS8, shapes: Sequence[Shape], layout: Layout) -> None:
        super().__init__(spec, shapes, layout)
        self._x_zero_point = spec.x_zero_point
        self._epilogue = Epilogue(spec)
        self._sums = WindowSums(spec.window, spec.groups, spec.weight, shapes[0])
        self.weight_bytes = self._sums.nbytes + self._epilogue.weight_bytes

    def execute(self, inputs: Sequence[Array], output: Array) -> None:
        outputs = output.shape[3]
        for n, image in enumerate(inputs[0]):
            out = output[n].reshape(-1, outputs)
            residual = inputs[1][n].reshape(-1, outputs) if len(inputs) == 2 else None
            for part, sums in self._sums.tiles(image, self._x_zero_point):
                other = None if residual is None else residual[part]
                self._epilogue.rows(sums, other, out[part])


@compiled
def _accumulate_f32(
    x: Array, start: int, length: int, offsets: Array, group_size: int, groups: int,
    weight: Array, bias: Array, sums: Array,
) -> None:  # fmt: skip
    """sums[o, p] = bias[o] + sum_k weight[o, k] * x[group + offsets[k] + start + p].

    Eight taps at a time, so that a loaded sum serves eight products. Several outputs at a time
    are no faster: LLVM then has too many pointers to tell apart.
    """
    per_out = weight.shape[0] // groups
    taps = offsets.size
    for o in range(weight.shape[0]):
        base = o // per_out * group_size + start
        total = sums[o, :length]
        total[:] = bias[o]
        for k in range(0, taps - 7, 8):
            x0, x1 = x[base + offsets[k] :][:length], x[base + offsets[k + 1] :][:length]
            x2, x3 = x[base + offsets[k + 2] :][:length], x[base + offsets[k + 3] :][:length]
            x4, x5 = x[base + offsets[k + 4] :][:length], x[base + offsets[k + 5] :][:length]
            x6, x7 = x[base + offsets[k + 6] :][:length], x[base + offsets[k + 7] :][:length]
            w0, w1, w2, w3 = weight[o, k], weight[o, k + 1], weight[o, k + 2], weight[o, k + 3]
            w4, w5, w6, w7 = weight[o, k + 4], weight[o, k + 5], weight[o, k + 6], weight[o, k + 7]
            for p in range(length):
                left = (x0[p] * w0 + x1[p] * w1) + (x2[p] * w2 + x3[p] * w3)
                right = (x4[p] * w4 + x5[p] * w5) + (x6[p] * w6 + x7[p] * w7)
                total[p] = total[p] + (left + right)
        for k in range(taps // 8 * 8, taps):
            x0, w0 = x[base + offsets[k] :][:length], weight[o, k]
            for p in range(length):
                total[p] = total[p] + x0[p] * w0


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
