"""Which weights of a matrix to remove, and how the rest makes up for them.

Optimal brain surgery (Hassibi and Stork, 1992) layer by layer, as in optimal brain compression
(Frantar et al., 2022, arXiv:2208.11580): of all V with a given number of zeros, find the one whose
outputs are closest to those of W, `min tr (V - W) H (V - W)'`. Which weights stay is found for all
rows at once by ADMM (ALPS: Meng et al., 2024, arXiv:2406.07831), which ends with losses equal to
or below those of the greedy ExactOBS at a fraction of its cost; those that stay then take their
exact best values.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Select = Callable[[F64], Mask]

ITERATIONS = 90
FIRST_PENALTY = 0.1  # of a Hessian whose diagonal is 1
CHECKED_EVERY = 3  # iterations between two looks at how the choice changes
# share of the kept weights that changed -> growth of the penalty
GROWTH = ((0.1, 1.3), (0.005, 1.2), (0.0, 1.1))


def prune_matrix(weights: F64, hessian: F64, select: Select) -> F64:
    """The weights with zeros where `select` does not keep them, the others at their best values.

    weights: [R, K]. hessian: [K, K], positive definite. select: the worth of each weight, [R, K]
    -> mask of those to keep, always as many.
    """
    keep = choose_kept(weights, hessian, select)
    return best_values(weights, hessian, keep)


def choose_kept(weights: F64, hessian: F64, select: Select) -> Mask:
    """The mask of the weights to keep, by ADMM on the loss and the constraint, in turns."""
    # In units in which the Hessian's diagonal is 1, a weight's square is its own share of the loss.
    unit = np.sqrt(np.diagonal(hessian))
    w, h = weights * unit, hessian / np.outer(unit, unit)
    values, vectors = np.linalg.eigh(h)
    pulled = w @ h
    keep = select(w * w)
    before, allowed, dual = keep, w * keep, np.zeros(w.shape)
    penalty = FIRST_PENALTY
    for step in range(ITERATIONS):
        free = (pulled - dual + penalty * allowed) @ vectors / (values + penalty) @ vectors.T
        wished = free + dual / penalty
        keep = select(wished * wished)
        allowed = wished * keep
        dual = dual + penalty * (free - allowed)
        if step % CHECKED_EVERY == CHECKED_EVERY - 1:
            changed = int((keep != before).sum()) / max(1, int(keep.sum()))
            if not changed:
                break
            penalty *= next(factor for share, factor in GROWTH if changed > share)
            before = keep
    return keep


def best_values(weights: F64, hessian: F64, keep: Mask) -> F64:
    """argmin of the loss over all V that are zero outside of `keep`: exact, row by row."""
    result = np.zeros(weights.shape)
    target = weights @ hessian
    for row in range(len(weights)):
        kept = np.flatnonzero(keep[row])
        result[row, kept] = np.linalg.solve(hessian[np.ix_(kept, kept)], target[row, kept])
    return result


def loss(changed: F64, weights: F64, hessian: F64) -> float:
    """tr (V - W) H (V - W)'."""
    error = changed - weights
    return float((error @ hessian * error).sum())
