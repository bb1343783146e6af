"""What a layer reads, sampled and summed up, against the convolution itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sparing.compression import moments
from sparing.compression.moments import Moments, Patches
from sparing.model import Node
from sparing.ops.conv import conv
from sparing.ops.gemm import gemm

CASES: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 6, 9, 9), (4, 6, 3, 3), {"pads": (1, 1, 1, 1)}),
    ((1, 6, 8, 7), (6, 1, 3, 3), {"group": 6, "strides": (2, 2), "pads": (0, 1, 1, 0)}),
    ((1, 6, 9, 9), (4, 3, 2, 2), {"group": 2, "dilations": (2, 2)}),
    ((3, 5, 4, 4), (7, 5, 1, 1), {}),
    ((2, 3, 20), (4, 3, 5), {"auto_pad": "SAME_UPPER"}),
    ((1, 3, 40, 40), (4, 3, 3, 3), {}),  # more places than are sampled
]


@pytest.mark.parametrize(("x_shape", "w_shape", "attributes"), CASES)
def test_weights_times_patches_are_the_outputs(
    x_shape: tuple[int, ...], w_shape: tuple[int, ...], attributes: dict[str, Any]
) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=x_shape).astype(np.float32)
    w = rng.normal(size=w_shape).astype(np.float32)
    y = conv(x, w, **attributes)
    patches = Patches(Node("Conv", ("x", "w"), ("y",), attributes), w)
    taken = patches.take(x)
    wanted = patches.outputs(y)
    rows = w.reshape(patches.groups, w.shape[0] // patches.groups, -1)
    assert taken.shape[2] <= moments.PATCHES * x_shape[0]
    # products of up to 45 taps in float32, in another order
    np.testing.assert_allclose(rows @ taken, wanted, atol=1e-4)


def test_rows_of_a_matrix_product_are_its_patches() -> None:
    rng = np.random.default_rng(0)
    x, w = (rng.normal(size=s).astype(np.float32) for s in ((5, 7), (3, 7)))
    patches = Patches(Node("Gemm", ("x", "w"), ("y",), {"transB": 1}), w)
    taken = patches.take(x)
    np.testing.assert_allclose(w @ taken[0], patches.outputs(gemm(x, w, transB=1))[0], atol=1e-5)


def test_the_sample_is_the_same_every_time() -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 30, 30)).astype(np.float32)
    node, w = Node("Conv", ("x", "w"), ("y",)), np.zeros((4, 3, 3, 3), np.float32)
    one, again = Patches(node, w).take(x), Patches(node, w).take(x)
    assert np.array_equal(one, again)


@pytest.mark.parametrize("centered", [True, False])
def test_moments_of_parts_are_those_of_the_whole(centered: bool) -> None:
    rng = np.random.default_rng(3)
    y, z = (rng.normal(1, 2, (2, rows, 3000)).astype(np.float32) for rows in (4, 5))
    summed = Moments(2, 4, 5)
    for start in range(0, 3000, 250):
        summed.update(y[..., start : start + 250], z[..., start : start + 250])
    zz, yz = summed.covariances(centered)
    wide_y, wide_z = y.astype(np.float64), z.astype(np.float64)
    if centered:
        wide_y -= wide_y.mean(axis=2, keepdims=True)
        wide_z -= wide_z.mean(axis=2, keepdims=True)
    transposed = wide_z.transpose(0, 2, 1)
    # sums of 500 products of size 5 in float32 at a time
    np.testing.assert_allclose(zz, wide_z @ transposed / 3000, atol=1e-4)
    np.testing.assert_allclose(yz, wide_y @ transposed / 3000, atol=1e-4)
    for got, wanted in zip(summed.means(), (y, z), strict=True):
        np.testing.assert_allclose(got, wanted.mean(axis=2), atol=1e-5)


def test_inputs_that_do_not_vary_leave_a_positive_semidefinite_covariance() -> None:
    rng = np.random.default_rng(0)
    x = (100 * rng.normal(size=(1, 40, 1)) + np.zeros((1, 40, 700))).astype(np.float32)
    found = Moments(1, 40, 40)
    found.update(x, x)
    zz, _ = found.covariances(centered=True)
    assert np.linalg.eigvalsh(zz).min() >= 0
    raw, _ = found.covariances(centered=False)
    assert np.abs(zz).max() < 1e-3 * np.abs(raw).max()
