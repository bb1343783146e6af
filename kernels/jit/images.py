"""Padded copies of an image, in the order each kernel reads it, so that inner loops need no test
for borders."""

from __future__ import annotations

import numpy as np

from ...ops.fused_spec import Window
from ..step import Array


def _extent(window: Window, axis: int) -> int:
    return (window.kernel[axis] - 1) * window.dilations[axis] + 1


class PaddedImage:
    """Channels last: [height, width, C], as large as the windows reach."""

    def __init__(self, window: Window, height: int, width: int) -> None:
        counts = window.output_size(height, width)
        self.height, self.width = (
            (counts[axis] - 1) * window.strides[axis] + _extent(window, axis) for axis in (0, 1)
        )
        self._top, self._left = window.pads[:2]
        whole = self.height <= height and self.width <= width
        self._unpadded = whole and self._top == 0 and self._left == 0

    def of(self, image: Array, fill: int) -> Array:
        """The padded copy, or the image itself where no window leaves it."""
        if self._unpadded:
            return image
        result = np.full((self.height, self.width, image.shape[2]), fill, image.dtype)
        inside = result[self._top :, self._left :][: image.shape[0], : image.shape[1]]
        inside[...] = image[: inside.shape[0], : inside.shape[1]]
        return result


class PhasePlanes:
    """A padded image, split into one plane for each phase of the strides.

    Phase (i, j) holds the padded rows i, i + stride_h, ... and columns alike. So a tap of the
    window reads a plane at a fixed offset, contiguously, whatever the stride: output pixel (y, x)
    reads tap t at pixel `offsets[t] + y * row_size + x`. offsets: int64 [kh, kw].

    Channels first (`of`), channel c begins at c * channel_size. Channels last (`of_pixels`), a
    pixel is all its channels. A run over several rows passes the ends of rows: what is computed
    there means nothing, and is left out later. `SLACK` readable elements follow the last plane.
    """

    SLACK = 64

    def __init__(self, window: Window, height: int, width: int) -> None:
        self.out_h, self.out_w = window.output_size(height, width)
        self._input = height, width
        self._window = window
        # per axis: phase of each tap, its position there, and how long a plane must be
        taps = [np.arange(window.kernel[a]) * window.dilations[a] for a in (0, 1)]
        phases = [taps[a] % window.strides[a] for a in (0, 1)]
        places = [taps[a] // window.strides[a] for a in (0, 1)]
        self.rows = self.out_h + int(places[0].max())
        self.row_size = self.out_w + int(places[1].max())
        self._used = [(int(i), int(j)) for i in np.unique(phases[0]) for j in np.unique(phases[1])]
        sizes = self.rows, self.row_size
        self._copies = []  # plane, its rows and columns, the image's rows and columns
        for number, phase in enumerate(self._used):
            here, there = zip(*(self._overlap(a, phase[a], sizes[a]) for a in (0, 1)), strict=True)
            self._copies.append((number, here, there))
        self.channel_size = len(self._used) * self.rows * self.row_size
        numbers = {phase: n for n, phase in enumerate(self._used)}
        self.offsets = np.empty(window.kernel, np.int64)
        for ky, kx in np.ndindex(*window.kernel):
            plane = numbers[int(phases[0][ky]), int(phases[1][kx])]
            row = plane * self.rows + int(places[0][ky])
            self.offsets[ky, kx] = row * self.row_size + int(places[1][kx])

    def of(self, image: Array, fill: float) -> Array:
        """The planes of an image [C, H, W], flat."""
        channels = image.shape[0]
        flat = np.full(channels * self.channel_size + self.SLACK, fill, image.dtype)
        planes = flat[: -self.SLACK].reshape(channels, len(self._used), self.rows, self.row_size)
        for number, (rows, columns), (from_rows, from_columns) in self._copies:
            planes[:, number, rows, columns] = image[:, from_rows, from_columns]
        return flat

    def of_pixels(self, image: Array, fill: int) -> Array:
        """The planes of an image [H, W, C], flat."""
        channels = image.shape[2]
        planes = np.full((len(self._used), self.rows, self.row_size, channels), fill, image.dtype)
        for number, here, there in self._copies:
            planes[number][here] = image[there]
        return planes.reshape(-1)

    def _overlap(self, axis: int, phase: int, count: int) -> tuple[slice, slice]:
        """Positions of a phase that lie inside the image, in the plane and in the image."""
        stride, before = self._window.strides[axis], self._window.pads[axis] - phase
        first = max(0, -(-before // stride))
        last = max(first, min(count, -(-(self._input[axis] + before) // stride)))
        if first == last:
            return slice(0, 0), slice(0, 0)
        begin = first * stride - before
        return slice(first, last), slice(begin, begin + (last - first - 1) * stride + 1, stride)

    def tiles(self, pixels: int) -> list[range]:
        """Output rows, in groups of about `pixels` pixels."""
        rows = max(1, min(self.out_h, pixels // self.row_size))
        return [range(y, min(y + rows, self.out_h)) for y in range(0, self.out_h, rows)]

    def run_length(self, rows: range) -> int:
        """Elements to compute for these output rows: whole vectors, so that loops have no tail."""
        length = (len(rows) - 1) * self.row_size + self.out_w
        return -(-length // self.SLACK) * self.SLACK
