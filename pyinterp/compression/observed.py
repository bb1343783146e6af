"""What a layer reads in a compressed model, and what it is to deliver there, over all images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..errors import InputError
from ..graph_index import GraphIndex
from ..model import Array, Model, Node
from ..shapes import Facts
from .moments import Moments, Patches
from .spool import Spool
from .submodel import Runner, Stage, wanted_output


@dataclass(frozen=True, slots=True)
class Clamp:
    """Of a Relu or Clip behind a layer."""

    lo: float
    hi: float

    def nearest(self, wanted: Array, got: Array) -> Array:
        """What is as good as `wanted` behind the clamp, and closest to `got`."""
        below, above = wanted <= self.lo, wanted >= self.hi
        low = np.where(below, np.minimum(got, self.lo), wanted)
        return np.where(above, np.maximum(got, self.hi), low).astype(wanted.dtype)


def clamp_behind(model: Model, node: Node) -> Clamp | None:
    """The clamp that alone reads a layer's output."""
    output = node.outputs[0]
    readers = model.consumers().get(output, [])
    if len(readers) != 1 or any(info.name == output for info in model.outputs):
        return None
    bounds = GraphIndex(model, Facts({}, {}, {})).clamp_bounds(readers[0])
    return None if bounds is None else Clamp(*bounds)


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """Of layer `node` in the stage of two models that feeds `old` and `new` enter.

    original, compressed: the model as it was, and with the layers before this one compressed.
    names: value of the graph -> the one that stands for it in `compressed`, where that has another
    name. The wanted output is the original's or, where a residual is added, the original sum less
    the residual of the compressed model. kept: takes what the first pass over the images finds, so
    that later passes need not run the models.
    """

    original: Model
    compressed: Model
    stage: Stage
    node: Node
    old: Spool
    new: Spool
    names: Mapping[str, str] = field(default_factory=dict)
    kept: Spool | None = None

    @property
    def clamp(self) -> Clamp | None:
        """That alone reads the layer's output."""
        return clamp_behind(self.original, self.node)

    @property
    def images(self) -> int:
        """How many. Rows hold single images unless the model fixes its batch."""
        shape = self.original.inputs[0].shape
        fixed = shape[0] if shape else 1
        return len(self.old) * (fixed if isinstance(fixed, int) else 1)

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        """Of each row of the spools, wanted outputs [groups, R, n] and patches [groups, K, n],
        both float32; the same each time.

        Raises InputError where a calibration image gives NaN or infinity.
        """
        if self.kept is None:
            yield from self._measured()
        elif len(self.kept):
            for row in self.kept:
                yield row["y"], row["z"]
        else:
            for y, z in self._measured():
                self.kept.append({"y": y, "z": z})
                yield y, z

    def _measured(self) -> Iterator[tuple[Array, Array]]:
        node, starts = self.node, self.stage.starts
        source, output = self.names.get(node.inputs[0], node.inputs[0]), node.outputs[0]
        patches = Patches(node, self.original.weights[node.inputs[1]].numpy())
        total, residual = wanted_output(self.original, node)
        residual = self.names.get(residual, residual)
        original_part = Runner(self.original, starts, [output, total])
        compressed_part = Runner(self.compressed, starts, [source, *filter(None, [residual])])
        for old_values, new_values in zip(self.old, self.new, strict=True):
            wanted, read = original_part.run(old_values), compressed_part.run(new_values)
            y = wanted[output]
            if residual and wanted[total].shape == y.shape:  # else the layer is broadcast
                y = wanted[total] - read[residual]
            for name, values in ((output, y), (source, read[source])):
                if not np.isfinite(values).all():
                    raise InputError(f"calibration: {name!r} holds NaN or infinity")
            z = patches.take(read[source])
            yield patches.outputs(y), z

    def moments(self, second: bool) -> Moments:
        """second: the second moments too."""
        found: Moments | None = None
        for y, z in self:
            if found is None:
                found = Moments(len(z), y.shape[1], z.shape[1], second)
            found.update(y, z)
        if found is None:
            raise InputError("calibration: expected feeds with at least one image, got none")
        return found


def passed_on(model: Model, stage: Stage, names: Mapping[str, str], before: Spool) -> Spool:
    """What leaves a stage, for each row. names: value to keep -> value of `model` that stands for
    it.
    """
    runner, after = Runner(model, stage.starts, names.values()), Spool()
    for values in before:
        computed = runner.run(values)
        after.append({name: computed[inside] for name, inside in names.items()})
    return after
