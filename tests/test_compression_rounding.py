"""Rounding in the norm of the Hessian: better than each weight by itself, and near the optimum."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from sparing.compression.rounding import fit, independent_scale, round_weights

F64 = npt.NDArray[np.float64]


def problem(groups: int, rows: int, size: int, seed: int = 0) -> tuple[F64, F64]:
    """Normal weights, and the second moments of correlated inputs."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(groups, size, size)) / np.sqrt(size) + np.eye(size)
    hessian = mix @ mix.transpose(0, 2, 1) + 0.01 * np.eye(size)
    return rng.normal(size=(groups, rows, size)), hessian


def loss(q: F64, scale: F64, weights: F64, hessian: F64) -> F64:
    error = q * scale[..., None] - weights
    return np.einsum("grk,gkl,grl->gr", error, hessian, error)


@pytest.mark.parametrize(("groups", "rows", "size"), [(1, 8, 70), (5, 1, 9), (2, 3, 33)])
@pytest.mark.parametrize("largest", [7, 127])
def test_the_loss_falls_below_that_of_independent_rounding(
    groups: int, rows: int, size: int, largest: int
) -> None:
    weights, hessian = problem(groups, rows, size)
    scale = independent_scale(weights, hessian, largest)
    nearest = np.clip(np.rint(weights / scale[..., None]), -largest, largest)
    before = loss(nearest, scale, weights, hessian)
    kept = np.ones(weights.shape, bool)
    for fixed in (False, True):
        got = round_weights(weights, hessian, scale, largest, kept, fixed_scale=fixed)
        assert np.array_equal(got.integers, np.rint(got.integers))
        assert np.abs(got.integers).max() <= largest
        assert np.array_equal(got.scale, scale) or not fixed
        after = loss(got.integers, got.scale, weights, hessian)
        np.testing.assert_allclose(got.loss, after, rtol=1e-9)  # float64 sums in another order
        assert (after <= before * (1 + 1e-9)).all()
        assert after.sum() < 0.95 * before.sum()


def test_few_weights_come_near_the_best_of_all_roundings() -> None:
    weights, hessian = problem(4, 2, 5)
    scale = independent_scale(weights, hessian, 3)
    kept = np.ones(weights.shape, bool)
    got = round_weights(weights, hessian, scale, 3, kept, fixed_scale=True)
    best = np.full(scale.shape, np.inf)
    for q in itertools.product(range(-3, 4), repeat=5):
        tried = np.broadcast_to(np.array(q, float), weights.shape)
        best = np.minimum(best, loss(tried, scale, weights, hessian))
    # Coordinate descent stops where no single integer helps: not the optimum, but close on average.
    assert (got.loss >= best * (1 - 1e-9)).all()
    assert got.loss.sum() <= 1.3 * best.sum()


def test_zeros_stay_zeros_and_the_others_make_up_for_them() -> None:
    weights, hessian = problem(1, 6, 40)
    kept = np.random.default_rng(1).random(weights.shape) < 0.5
    scale = independent_scale(weights, hessian, 7)
    got = round_weights(weights, hessian, scale, 7, kept)
    assert not got.integers[~kept].any()
    nearest = np.where(kept, np.clip(np.rint(weights / scale[..., None]), -7, 7), 0)
    assert got.loss.sum() < 0.8 * loss(nearest, scale, weights, hessian).sum()


def test_no_single_change_helps_after_the_last_sweep() -> None:
    weights, hessian = problem(2, 3, 12)
    scale = independent_scale(weights, hessian, 7)
    kept = np.ones(weights.shape, bool)
    got = round_weights(weights, hessian, scale, 7, kept, sweeps=20, fixed_scale=True)
    for k, step in itertools.product(range(12), (-1, 1)):
        moved = got.integers.copy()
        moved[..., k] = np.clip(moved[..., k] + step, -7, 7)
        assert (loss(moved, scale, weights, hessian) >= got.loss * (1 - 1e-9)).all()


def test_all_zero_weights_round_to_zeros() -> None:
    weights, hessian = np.zeros((1, 3, 4)), np.eye(4)[None]
    scale = independent_scale(weights, hessian, 7)
    got = round_weights(weights, hessian, scale, 7, np.ones(weights.shape, bool))
    assert not got.integers.any() and (got.scale > 0).all()


def test_a_fit_recovers_weights_for_an_input_that_was_mixed() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(1, 6, 4000))
    mix = rng.normal(size=(6, 6)) + 3 * np.eye(6)
    z = mix @ x
    weights = rng.normal(size=(1, 4, 6))
    zz, xz = z @ z.transpose(0, 2, 1) / 4000, x @ z.transpose(0, 2, 1) / 4000
    got, _ = fit(weights, zz, weights @ xz, 1e-12)
    # the damping alone keeps it from being exact
    np.testing.assert_allclose(got @ z, weights @ x, atol=1e-6)


def test_damping_pulls_towards_the_old_weights_and_serves_dead_inputs() -> None:
    weights = np.ones((2, 1, 3))
    zz = np.stack([np.eye(3), np.zeros((3, 3))])
    yz = np.stack([np.zeros((1, 3)), np.zeros((1, 3))])
    got, hessian = fit(weights, zz, yz, 1.0)
    np.testing.assert_allclose(got[0], 0.5)  # halfway between the fit (0) and the old weights (1)
    np.testing.assert_allclose(got[1], 1.0)  # no input at all: the old weights
    assert (np.linalg.eigvalsh(hessian) > 0).all()
