"""The arguments of `compress`, checked once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import get_args

from ...errors import InputError
from ..granularity import granularity_of
from .costs import Target

WEIGHT_BITS = {"latency": (8,), "size": (8, 4)}  # narrower weights run no faster; files pack 4 bits


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """granularities: None for those that the target gains by on this machine."""

    max_drop: float
    target: Target
    seed: int
    sparsities: tuple[float, ...]
    weight_bits: tuple[int, ...]
    granularities: tuple[str, ...] | None
    activation_bits: int

    def check(self) -> None:
        """Raise InputError for values out of range."""
        if not _number(self.max_drop) or not 0 <= self.max_drop <= 1:
            raise InputError(f"max_drop: expected a number from 0 to 1, got {self.max_drop!r}")
        if not isinstance(self.seed, Integral) or self.seed < 0:
            raise InputError(f"seed: expected an integer from 0 on, got {self.seed!r}")
        for share in self.sparsities:
            if not _number(share) or not 0 <= share < 1:
                raise InputError(f"sparsities: expected numbers from 0 to below 1, got {share!r}")
        if not self.weight_bits or any(bits not in range(4, 9) for bits in self.weight_bits):
            raise InputError(f"weight_bits: expected some of 4 to 8, got {self.weight_bits!r}")
        if self.activation_bits not in (7, 8):
            raise InputError(f"activation_bits: expected 7 or 8, got {self.activation_bits!r}")
        if self.granularities is not None and not self.granularities:
            raise InputError("granularities: expected at least one, got none")
        for name in self.granularities or ():
            if granularity_of(name).fixed_sparsity is not None:
                raise InputError(f"granularities: {name!r} leaves no sparsity to choose")


def options_for(
    max_drop: float,
    target: str,
    seed: int,
    sparsities: Iterable[float],
    weight_bits: Iterable[int] | None,
    granularities: Iterable[str] | None,
    activation_bits: int,
) -> SearchOptions:
    """The checked arguments; raises InputError for values that do not fit."""
    if target not in get_args(Target):
        raise InputError(f"target: expected {' or '.join(get_args(Target))}, got {target!r}")
    widths = WEIGHT_BITS[target] if weight_bits is None else _several(weight_bits, "weight_bits")
    options = SearchOptions(
        max_drop,
        target,  # type: ignore[arg-type]
        seed,
        _several(sparsities, "sparsities"),
        widths,
        None if granularities is None else _several(granularities, "granularities"),
        activation_bits,
    )
    options.check()
    return options


def check_calibration(calibration: object) -> None:
    """Raise InputError for what cannot be read several times."""
    if not isinstance(calibration, Iterable):
        raise InputError(f"calibration: expected feeds, got {type(calibration).__name__}")
    if iter(calibration) is calibration:
        raise InputError(
            "calibration: expected feeds that can be read several times, such as a list or "
            "sparing.images; got a one-shot iterator"
        )


def _several(values: object, name: str) -> tuple:  # type: ignore[type-arg]
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise InputError(f"{name}: expected a list, got {values!r}")
    return tuple(values)


def _number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(float(value))
