"""Calibration images and their mirror images: twice the examples, made without labels.

A hundred images show a layer of a thousand weights a channel less than it has weights, so that what
is fitted to them fits nothing else as well. The float network says what it wants for any image, and
the mirror image of a photo is as good a photo. Views that change what an image looks like (crops,
joined halves, other light) are not: layers then fit those, and their biases the means of those.
"""

from __future__ import annotations

import numpy as np

from ..errors import InputError
from .spool import Spool


def check_mirrored(mirrored: object, used: bool, user: str) -> None:
    """Raise InputError for what is not true or false, or where mirror images serve for nothing.

    user: what they are for, where it is not asked for.
    """
    if not isinstance(mirrored, bool):
        raise InputError(f"mirrored: expected true or false, got {mirrored!r}")
    if mirrored and not used:
        raise InputError(f"mirrored: mirror images are for {user}")


def with_mirrored(images: Spool) -> Spool:
    """The images, each followed by its mirror image.

    Raises InputError where a model has no input [N, C, H, W].
    """
    rows = Spool()
    for row in images:
        planar = [name for name, array in row.items() if array.ndim == 4]
        if not planar:
            raise InputError("mirrored: expected an input [N, C, H, W]")
        rows.append(row)
        rows.append({**row, **{n: np.ascontiguousarray(row[n][..., ::-1]) for n in planar}})
    return rows
