"""Tables of a model's quantized functions, for files to keep: bits that no other CPU can change."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from .errors import SparingError
from .lower import lower
from .model import Model

# Symbolic dimensions are tried with these until the windows fit; tables do not depend on them.
_SIZES = (1, 32, 224)


def function_tables(model: Model) -> Mapping[str, npt.NDArray[np.uint8]]:
    """As `Model.tables`, with those that the model lacks computed.

    Empty for a model without quantizers, and for one that cannot be lowered: what is wrong with it
    shows when it is run.
    """
    if not any(node.op_type == "QuantizeLinear" for node in model.nodes):
        return {}
    for size in _SIZES:
        shapes = {
            info.name: tuple(d if isinstance(d, int) else size for d in info.shape or ())
            for info in model.inputs
        }
        try:
            return lower(model, shapes).tables
        except SparingError:
            continue
    return {}
