"""What calibration found, as a JSON file, so that it can serve again without the images.

The file says which model (a SHA-256 of its graph and weights) and which method it is of. It holds
the range of every activation that quantization may ask for, whatever layers it is asked to ignore.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import FormatError, InputError
from ..formats.atomic import write_atomically
from ..model import Model
from .calibrate import Ranges
from .layers import weights_digest
from .quantize_options import ActivationOptions

FORMAT = "sparing calibration 1"


@dataclass(frozen=True, slots=True)
class CalibrationCache:
    """A file, for one model and method. key: what the file has to say about both."""

    path: Path
    key: dict[str, Any]

    def read(self) -> Ranges | None:
        """Value name -> (low, high); None where there is no file yet.

        Raises InputError for a file of another model or method, FormatError for a damaged one.
        """
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"calibration_cache: cannot read {str(self.path)!r}: {error}"
            ) from error
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise FormatError(f"{self.path}: this is not JSON: {error}") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise FormatError(f"{self.path}: expected a file of the format {FORMAT!r}")
        for name, wanted in self.key.items():
            found = content.get(name)
            if found != wanted:
                raise InputError(
                    f"calibration_cache: {self.path} is of {name} {found!r}, expected {wanted!r}: "
                    "name another file, or remove this one to calibrate anew"
                )
        return {name: self._range(name, r) for name, r in self._ranges(content).items()}

    def write(self, ranges: Ranges) -> None:
        """Replace the file."""
        content = {"format": FORMAT, **self.key, "ranges": {n: list(r) for n, r in ranges.items()}}
        text = json.dumps(content, indent=1) + "\n"
        write_atomically(self.path, text.encode())

    def _ranges(self, content: dict[str, Any]) -> dict[str, Any]:
        ranges = content.get("ranges")
        if not isinstance(ranges, dict):
            raise FormatError(f"{self.path}: expected a table of ranges, got {ranges!r}")
        return ranges

    def _range(self, name: str, given: object) -> tuple[float, float]:
        if isinstance(given, list) and len(given) == 2:
            low, high = given
            numbers = all(type(value) in (int, float) and math.isfinite(value) for value in given)
            if numbers and low <= high:
                return float(low), float(high)
        raise FormatError(f"{self.path}: range of {name!r}: expected [low, high], got {given!r}")


def calibration_cache(
    path: str | os.PathLike[str], model: Model, activations: ActivationOptions
) -> CalibrationCache:
    """The cache in a file, for the activations of a float model."""
    method = asdict(activations)
    for name in ("symmetric", "power_of_two"):  # of the quantizers, not of the ranges
        del method[name]
    if activations.method != "percentile":
        del method["percentile"]
    key = {"model": model_digest(model), **method}
    return CalibrationCache(Path(path), {name: key[name] for name in sorted(key)})


def model_digest(model: Model) -> str:
    """SHA-256 of the graph and of the weights' values."""
    digest = hashlib.sha256(weights_digest(model).encode())
    for n in model.nodes:
        attributes = sorted(n.attributes.items())
        digest.update(repr((n.op_type, n.domain, n.inputs, n.outputs, attributes)).encode())
    return digest.hexdigest()
