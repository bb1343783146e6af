"""The arguments of `prune`, checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from ..model import Array
from .allocation import SCOPES
from .granularity import granularity_of
from .mirrored import check_mirrored

CRITERIA = {
    "channel": ("magnitude", "l1", "batch_norm", "activation", "obs", "taylor"),
    "block": ("magnitude", "activation", "obs"),
}
WEIGHT_CRITERIA = ("magnitude", "activation", "obs", "taylor")
STRUCTURED = tuple(CRITERIA)
DATA_FREE = ("magnitude", "l1", "batch_norm")
REPAIRS = ("none", "bias", "weights")
DEFAULT_SPARSITY, DEFAULT_SHARE = 0.9, 0.5  # of weights; of channels and blocks


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """What is asked of `prune`: its arguments, with defaults, and what they select.

    left_out: labels of the layers that stay as they are. own: sparsities of single layers.
    """

    sparsity: float
    granularity: str
    criterion: str
    scope: str
    repair: str
    labels: Array | None
    left_out: set[str]
    own: Mapping[str, float]
    mirrored: bool = False

    @property
    def structured(self) -> bool:
        return self.granularity in STRUCTURED

    def known_labels(self) -> Array:
        if self.labels is None:
            raise InputError(f"labels: criterion {self.criterion!r} needs them, got none")
        return self.labels

    def check(self, calibration: object) -> None:
        """Raise InputError for values that are not known or do not fit together."""
        fixed: float | None = None
        if not self.structured:
            fixed = granularity_of(self.granularity).fixed_sparsity
        criteria = CRITERIA.get(self.granularity, WEIGHT_CRITERIA)
        for name, value, known in (
            ("criterion", self.criterion, criteria),
            ("scope", self.scope, SCOPES[:2] if self.structured else SCOPES),
            ("repair", self.repair, REPAIRS),
        ):
            if value not in known:
                raise InputError(
                    f"{name}: expected one of {', '.join(known)} for granularity "
                    f"{self.granularity!r}, got {value!r}"
                )
        if fixed is not None and self.scope != SCOPES[0]:
            raise InputError(f"scope: {self.granularity} leaves nothing to share out")
        self._check_sparsities(fixed)
        self._check_data(calibration)
        repaired = self.repair == "weights" and not self.structured
        check_mirrored(self.mirrored, repaired, "the repair 'weights' of single weights and blocks")

    def _check_sparsities(self, fixed: float | None) -> None:
        _check_sparsity(self.sparsity, "sparsity")
        if fixed is not None and self.sparsity != fixed:
            raise InputError(f"sparsity: {self.granularity} is {fixed}, got {self.sparsity}")
        for label, value in self.own.items():
            _check_sparsity(value, f"layers, {label!r}: sparsity")
            if fixed is not None and value != fixed:
                raise InputError(
                    f"layers, {label!r}: sparsity: {self.granularity} is {fixed}, got {value}"
                )
            if self.granularity == "block":
                raise InputError(f"layers, {label!r}: a block has no sparsity of its own")

    def _check_data(self, calibration: object) -> None:
        if self.criterion == "obs" and self.repair != "weights":
            raise InputError(f"repair: criterion 'obs' means 'weights', got {self.repair!r}")
        reasons = [
            *([f"criterion {self.criterion!r}"] if self.criterion not in DATA_FREE else []),
            *(["scope 'loss'"] if self.scope == "loss" else []),
            *([f"repair {self.repair!r}"] if self.repair != "none" else []),
        ]
        if calibration is None and reasons:
            raise InputError(f"calibration: {reasons[0]} needs feeds, got none")
        if calibration is not None and not reasons:
            raise InputError(f"calibration: criterion {self.criterion!r} without repair takes none")
        if self.criterion == "taylor":
            labels = self.known_labels()
            if (
                not isinstance(labels, np.ndarray)
                or labels.ndim != 1
                or labels.dtype.kind not in "iu"
            ):
                raise InputError("labels: expected integers [N]")
        elif self.labels is not None:
            raise InputError(f"labels: criterion {self.criterion!r} takes none")


def pruning_data(arguments: Mapping[str, Any], calibration: object) -> dict[str, Any]:
    """The arguments `calibration` and `labels` of `prune`, where others of a recipe ask for them.

    labels are the calibration's own (`Images.labels`).
    """
    criterion = arguments.get("criterion", "magnitude")
    asks = (
        criterion not in DATA_FREE
        or arguments.get("repair", "none") != "none"
        or arguments.get("scope") == "loss"
    )
    if not asks:
        return {}
    labels = getattr(calibration, "labels", None) if criterion == "taylor" else None
    return {"calibration": calibration, "labels": labels}


def default_sparsity(granularity: object) -> float:
    """Where none is given. Raises InputError for an unknown granularity."""
    if granularity in STRUCTURED:
        return DEFAULT_SHARE
    fixed = granularity_of(granularity).fixed_sparsity
    return DEFAULT_SPARSITY if fixed is None else fixed


def default_repair(criterion: str, calibration: object) -> str:
    if criterion == "obs":
        return "weights"
    return "none" if calibration is None else "bias"


def _check_sparsity(value: object, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise InputError(f"{where}: expected a number from 0 to 1, got {value!r}")
