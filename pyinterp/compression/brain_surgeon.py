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
from typing import Any

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]
Select = Callable[[Array], Mask]

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
    # float32 is enough to choose by, and twice as fast.
    unit = np.sqrt(np.diagonal(hessian))
    w = (weights * unit).astype(np.float32)
    h = (hessian / np.outer(unit, unit)).astype(np.float32)
    values, vectors = np.linalg.eigh(h)
    pulled = w @ h
    keep = select(w * w)
    before, allowed, dual = keep, w * keep, np.zeros_like(w)
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
    """argmin of the loss over all V that are zero outside of `keep`: exact, row by row, by the
    weights that stay or by those that go, whichever are fewer.
    """
    result, target = np.zeros(weights.shape), weights @ hessian
    inverse: Array | None = None
    for row, mask in enumerate(keep):
        kept, gone = np.flatnonzero(mask), np.flatnonzero(~mask)
        if len(kept) <= len(gone):
            result[row, kept] = np.linalg.solve(hessian[np.ix_(kept, kept)], target[row, kept])
            continue
        if inverse is None:
            inverse = np.linalg.inv(hessian)
        pull = np.linalg.solve(inverse[np.ix_(gone, gone)], weights[row, gone])
        result[row] = weights[row] - pull @ inverse[gone]
        result[row, gone] = 0
    return result


def loss(changed: F64, weights: F64, hessian: F64) -> float:
    """tr (V - W) H (V - W)'."""
    error = changed - weights
    return float((error @ hessian * error).sum())
