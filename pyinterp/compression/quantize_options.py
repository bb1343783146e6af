"""The arguments of `quantize`, checked once, and what they come to for each layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import InputError
from .calibration_methods import METHODS

MODES = ("static", "dynamic", "weights")
ROUNDINGS = ("gptq", "nearest")
PER_LAYER = ("weight_bits", "per_channel", "rounding")


@dataclass(frozen=True, slots=True)
class LayerOptions:
    weight_bits: int
    per_channel: bool
    rounding: str
    bias_correction: bool
    power_of_two: bool = False

    def check(self, where: str) -> None:
        """Raise InputError for values out of range."""
        if isinstance(self.weight_bits, bool) or self.weight_bits not in range(4, 9):
            raise InputError(f"{where}: weight_bits: expected 4 to 8, got {self.weight_bits!r}")
        for name, flag in (
            ("per_channel", self.per_channel),
            ("bias_correction", self.bias_correction),
        ):
            if not isinstance(flag, bool):
                raise InputError(f"{where}: {name}: expected true or false, got {flag!r}")
        if self.rounding not in ROUNDINGS:
            raise InputError(
                f"{where}: rounding: expected one of {', '.join(ROUNDINGS)}, got {self.rounding!r}"
            )

    @property
    def needs_images(self) -> bool:
        """Whether the layer is repaired from calibration images after it was quantized."""
        return self.rounding != "nearest" or self.bias_correction

    @property
    def largest(self) -> int:
        """The largest integer of a weight."""
        return int(2 ** (self.weight_bits - 1) - 1)

    def changed(self, given: Mapping[str, Any], where: str) -> LayerOptions:
        """With the settings given for one layer; raises InputError for values out of range."""
        options = replace(self, **{key: given[key] for key in PER_LAYER if key in given})
        options.check(where)
        return options


@dataclass(frozen=True, slots=True)
class ActivationOptions:
    bits: int
    method: str
    percentile: float
    symmetric: bool
    power_of_two: bool

    def check(self) -> None:
        """Raise InputError for values out of range."""
        if self.bits not in (7, 8):
            raise InputError(f"activation_bits: expected 7 or 8, got {self.bits!r}")
        if self.method not in METHODS:
            raise InputError(f"method: expected one of {', '.join(METHODS)}, got {self.method!r}")
        for name, flag in (
            ("symmetric_activations", self.symmetric),
            ("power_of_two_scales", self.power_of_two),
        ):
            if not isinstance(flag, bool):
                raise InputError(f"{name}: expected true or false, got {flag!r}")


def check_limit(limit: object, has_images: bool) -> None:
    """Raise InputError for a divergence that is none, or that nothing can be compared on."""
    if limit is None:
        return
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not limit > 0:
        raise InputError(f"max_divergence: expected a positive number, got {limit!r}")
    if not has_images:
        raise InputError("max_divergence: it needs calibration feeds to compare on, got none")
