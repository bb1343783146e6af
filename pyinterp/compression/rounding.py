"""Round a layer's weights so that its output changes least, not each weight by itself.

The weights of one output channel are rounded one after the other, each error being made up for by
the weights still to come (GPTQ: Frantar et al., 2023, arXiv:2210.17323; the same closed form as
OBQ, arXiv:2208.11580). Sweeps of coordinate descent follow, in which each integer takes the best
value given all others (QuantEase: Behdin et al., 2023, arXiv:2309.01885), and between the sweeps
the scale takes its least-squares value. All output channels go side by side.

Shapes: groups G, output channels of a group R, weights of a channel K. Inside, arrays are
[G, K, R], so that a step works on contiguous memory. Zeros stay zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

SHORT = 64  # weights of a channel for which a broader search costs nothing
BLOCK = 32  # weights of a channel worked on between two matrix products
FINE = (0.85, 0.925, 1.0, 1.075)  # scales tried, around the best one for independent rounding


@dataclass(frozen=True, slots=True, eq=False)
class Rounded:
    """integers: float64 [G, R, K] of whole numbers. scale: [G, R]. loss: [G, R]."""

    integers: F64
    scale: F64
    loss: F64


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Make `q * scale - weights` small in the norm of the Hessian, for each output channel.

    weights [G, K, R]; hessian [G, K, K], positive definite; kept [G, K, R]: False where the weight
    has to be zero; integers lie in [-largest, largest].
    """

    weights: F64
    hessian: F64
    kept: Mask
    largest: int

    def nearest(self, values: F64, scale: F64, k: int) -> F64:
        """The integers for weight k of each channel, [G, R]."""
        q = np.rint(values / scale)
        np.minimum(q, self.largest, out=q)
        np.maximum(q, -self.largest, out=q)
        q *= self.kept[:, k]
        return q

    def loss(self, q: F64, scale: F64) -> F64:
        """[G, R]."""
        error = q * scale[:, None] - self.weights
        return (np.matmul(self.hessian, error) * error).sum(axis=1)


def fit(weights: F64, zz: F64, yz: F64, damping: float) -> tuple[F64, F64]:
    """Weights V [G, R, K] whose products with z are closest to y, and the Hessian of that.

    zz = E[z z'] [G, K, K], yz = E[y z'] [G, R, K]. damping: pull towards the old weights, in units
    of the mean of zz's diagonal; the Hessian is the damped zz.
    Source: the normal equations of E|y - V z|^2 + damping |weights - V|^2.
    """
    size = zz.shape[-1]
    mean = np.trace(zz, axis1=1, axis2=2) / size
    pull = (np.where(mean > 0, damping * mean, 1.0))[:, None, None]
    hessian = zz + pull * np.eye(size)
    wanted = yz + pull * weights
    return np.linalg.solve(hessian, wanted.transpose(0, 2, 1)).transpose(0, 2, 1), hessian


def independent_scale(weights: F64, hessian: F64, largest: int) -> F64:
    """The scale [G, R] that is best when weights round each by itself, weighted by the Hessian's
    diagonal: of fractions of the one that covers all weights. weights [G, R, K].
    """
    full = np.abs(weights).max(axis=2) / largest
    full = np.where(full > 0, full, 1.0)
    importance = np.diagonal(hessian, axis1=1, axis2=2)[:, None, :]
    best, scale = np.full(full.shape, np.inf), full
    for ratio in np.linspace(1.0, 0.4, 25):
        tried = full * ratio
        q = np.clip(np.rint(weights / tried[..., None]), -largest, largest)
        error = ((weights - q * tried[..., None]) ** 2 * importance).sum(axis=2)
        scale = np.where(error < best, tried, scale)
        best = np.minimum(best, error)
    return scale


def round_weights(
    weights: F64,
    hessian: F64,
    scale: F64,
    largest: int,
    kept: Mask,
    sweeps: int = 3,
    fixed_scale: bool = False,
) -> Rounded:
    """Integers and scales that make `q * scale - weights` small in the norm of the Hessian.

    weights [G, R, K], hessian [G, K, K] positive definite, scale [G, R] to start from, kept
    [G, R, K]: False where the weight has to be zero. fixed_scale: leave the scale as it is.
    """
    order = np.argsort(-np.diagonal(hessian, axis1=1, axis2=2).mean(axis=0), kind="stable")
    problem = Problem(
        np.ascontiguousarray(weights[..., order].transpose(0, 2, 1)),
        np.ascontiguousarray(hessian[:, order][:, :, order]),
        np.ascontiguousarray(kept[..., order].transpose(0, 2, 1)),
        largest,
    )
    q, s = _best_start(problem, scale, (1.0,) if fixed_scale else FINE)
    for _ in range(sweeps):
        if not fixed_scale:
            s = _least_squares_scale(problem, q, s)
        _descend(problem, q, s)
    integers = np.empty(weights.shape)
    integers[..., order] = q.transpose(0, 2, 1)
    return Rounded(integers, s, problem.loss(q, s))


def _best_start(problem: Problem, scale: F64, fractions: tuple[float, ...]) -> tuple[F64, F64]:
    """For each channel the best of several roundings and scales: GPTQ, and each weight by itself.

    Where channels are short (depthwise), all of them descend first: a sweep ends in a local
    optimum, and there are many.
    """
    factor = _inverse_factor(problem.hessian)
    best_q, best_s = np.zeros(problem.weights.shape), scale
    best = np.full(scale.shape, np.inf)
    for fraction in fractions:
        s = scale * fraction
        for q in (_compensated(problem, factor, s), _independent(problem, s)):
            if q.shape[1] <= SHORT:
                _descend(problem, q, s)
            loss = problem.loss(q, s)
            better = loss < best
            best_q = np.where(better[:, None], q, best_q)
            best_s, best = np.where(better, s, best_s), np.where(better, loss, best)
    return best_q, best_s


def _inverse_factor(hessian: F64) -> F64:
    """U [G, K, K], upper triangular, with inverse(H) = U' U.

    From the Cholesky factor of H with its axes reversed, so that the inverse, which rounding errors
    may leave indefinite, is never factored.
    """
    lower = np.linalg.cholesky(hessian[:, ::-1, ::-1])
    return np.ascontiguousarray(np.linalg.inv(lower)[:, ::-1, ::-1])


def _independent(problem: Problem, s: F64) -> F64:
    q = np.clip(np.rint(problem.weights / s[:, None]), -problem.largest, problem.largest)
    return q * problem.kept


def _compensated(problem: Problem, factor: F64, s: F64) -> F64:
    """GPTQ: weight by weight, the rest takes over the error through U, upper triangular, of
    inverse(H) = U' U.
    """
    left = problem.weights.copy()
    q = np.zeros(left.shape)
    size = left.shape[1]
    for start in range(0, size, BLOCK):
        end = min(start + BLOCK, size)
        errors = np.zeros((left.shape[0], end - start, left.shape[2]))
        for k in range(start, end):
            q[:, k] = problem.nearest(left[:, k], s, k)
            error = (left[:, k] - q[:, k] * s) / factor[:, k, k, None]
            errors[:, k - start] = error
            left[:, k + 1 : end] -= factor[:, k, k + 1 : end, None] * error[:, None]
        left[:, end:] -= np.matmul(factor[:, start:end, end:].transpose(0, 2, 1), errors)
    return q


def _descend(problem: Problem, q: F64, s: F64) -> None:
    """One sweep, in place: every integer in turn takes its best value given the others."""
    h = problem.hessian
    error = q * s[:, None] - problem.weights
    for start in range(0, q.shape[1], BLOCK):
        end = min(start + BLOCK, q.shape[1])
        gradient = np.matmul(h[:, start:end], error)
        for k in range(start, end):
            wish = q[:, k] * s - gradient[:, k - start] / h[:, k, k, None]
            new = problem.nearest(wish, s, k)
            step = (new - q[:, k]) * s
            q[:, k] = new
            error[:, k] += step
            if k + 1 < end:
                gradient[:, k + 1 - start :] += h[:, k, k + 1 : end, None] * step[:, None]


def _least_squares_scale(problem: Problem, q: F64, s: F64) -> F64:
    """argmin over s of |q s - w|^2 in the norm of h; the old one where q is all zero."""
    through = np.matmul(problem.hessian, q)
    below = (through * q).sum(axis=1)
    best = (through * problem.weights).sum(axis=1) / np.where(below > 0, below, 1.0)
    return np.where((below > 0) & (best > 0), best, s)
