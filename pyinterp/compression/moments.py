"""What a layer reads, summed up over calibration images: means and second moments.

A layer is a matrix product `W x` of its weights with patches of its input; what quantization does
to its output depends on the patches through their first and second moments alone (the "Hessian"
of layer-wise reconstruction: Frantar et al., 2022, arXiv:2208.11580, section 3).
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from typing import Any

import numpy as np
import numpy.typing as npt

from ..model import Array, Node
from ..ops.conv import conv_window

F64 = npt.NDArray[np.float64]

PATCHES = 256  # sampled of each image: neighbours say almost the same

ROUNDING = 1e-6  # of the products of up to some thousand float32, relative to the largest

TOGETHER = 512  # patches multiplied at a time: few sums of large matrices


class Moments:
    """Of the patches z that a compressed layer reads, and of the outputs y wanted there.

    z is [groups, K], y [groups, R]. groups: of the convolution (1 for matrix products). K: weights
    of one output channel. R: output channels of a group. second: the second moments too.
    """

    def __init__(self, groups: int, outputs: int, length: int, second: bool = True) -> None:
        self.groups, self.count = groups, 0
        self.second = second
        self.sums_y, self.sums_z = np.zeros((groups, outputs)), np.zeros((groups, length))
        self.sums_zz = np.zeros((groups, length, length) if second else (0, 0, 0))
        self.sums_yz = np.zeros((groups, outputs, length) if second else (0, 0, 0))
        self.waiting: list[tuple[Array, Array]] = []

    def update(self, y: Array, z: Array) -> None:
        """y: float32 [groups, R, n], z: [groups, K, n], at the same n places."""
        self.count += y.shape[2]
        self.sums_y += y.sum(axis=2, dtype=np.float64)
        self.sums_z += z.sum(axis=2, dtype=np.float64)
        if self.second:
            self.waiting.append((y, z))
            if sum(z.shape[2] for _, z in self.waiting) >= TOGETHER:
                self._multiply()

    def _multiply(self) -> None:
        y, z = (np.concatenate(parts, axis=2) for parts in zip(*self.waiting, strict=True))
        transposed = z.transpose(0, 2, 1)
        self.sums_zz += np.matmul(z, transposed)
        self.sums_yz += np.matmul(y, transposed)
        self.waiting.clear()

    def wanting(self, pairs: Iterable[tuple[Array, Array]]) -> Moments:
        """The same, but for other outputs y at all the places z."""
        other = copy(self)
        other.sums_y, other.sums_yz = np.zeros_like(self.sums_y), np.zeros_like(self.sums_yz)
        for y, z in pairs:
            other.sums_y += y.sum(axis=2, dtype=np.float64)
            other.sums_yz += np.matmul(y, z.transpose(0, 2, 1))
        return other

    def means(self) -> tuple[F64, F64]:
        """Of y, [groups, R], and of z, [groups, K]."""
        return self.sums_y / self.count, self.sums_z / self.count

    def bias(self, weights: F64) -> F64:
        """What gives the outputs of weights [groups, R, K] their means, [groups, R]."""
        mean_y, mean_z = self.means()
        return mean_y - (weights @ mean_z[..., None])[..., 0]

    def covariances(self, centered: bool) -> tuple[F64, F64]:
        """E[z z'] [groups, K, K] and E[y z'] [groups, R, K]; around the means if `centered`.

        The centered E[z z'] is positive semidefinite, rounding errors or not.
        """
        if self.waiting:
            self._multiply()
        zz, yz = self.sums_zz / self.count, self.sums_yz / self.count
        if centered:
            # inputs that hardly vary leave only the float32 products' rounding errors, which need
            # not be positive definite: stay above them
            floor = ROUNDING * np.trace(zz, axis1=1, axis2=2)
            y, z = self.means()
            zz = zz - z[:, :, None] * z[:, None, :] + floor[:, None, None] * np.eye(zz.shape[-1])
            yz = yz - y[:, :, None] * z[:, None, :]
        return zz, yz


class Patches:
    """Takes a sample of places from what a layer reads, and its outputs there, image by image."""

    def __init__(self, node: Node, weight: Array) -> None:
        self.node, self.weight = node, weight
        self.groups = int(node.attributes.get("group", 1))  # type: ignore[arg-type]
        self.rng = np.random.default_rng(0)
        self.places: list[tuple[Any, ...]] = []  # of the last patches: an index for each image

    def take(self, x: Array) -> Array:
        """[groups, K, n]. x: what the layer reads."""
        if self.node.op_type != "Conv":
            chosen = self._sample(x.size // x.shape[-1], PATCHES)
            self.places = [(chosen,)]
            return x.reshape(-1, x.shape[-1])[chosen].T[None]
        options: dict[str, Any] = {
            "auto_pad": "NOTSET",
            "dilations": None,
            "group": 1,
            "kernel_shape": None,
            "pads": None,
            "strides": None,
            **self.node.attributes,
        }
        window = conv_window(x, self.weight, **options)
        size = int(np.prod(window.output))
        self.places = []
        for _ in range(x.shape[0]):
            at = np.unravel_index(self._sample(size, PATCHES), window.output)
            self.places.append((slice(None), *at))
        views = window.view(window.pad(x, 0))
        columns = [view[at] for view, at in zip(views, self.places, strict=True)]
        together = np.concatenate(columns, axis=1)  # [C, n, kernel...]
        axes = (0, *range(2, together.ndim), 1)
        return together.transpose(axes).reshape(self.groups, -1, together.shape[1])

    def outputs(self, y: Array) -> Array:
        """The layer's outputs, or values in their place, where the last patches were taken:
        [groups, output channels of a group, n].
        """
        if self.node.op_type != "Conv":
            return y.reshape(-1, y.shape[-1])[self.places[0]].T[None]
        columns = [image[at] for image, at in zip(y, self.places, strict=True)]
        together = np.concatenate(columns, axis=1)
        return together.reshape(self.groups, -1, together.shape[1])

    def _sample(self, size: int, limit: int) -> Array:
        if size <= limit:
            return np.arange(size)
        return np.sort(self.rng.choice(size, limit, replace=False))
