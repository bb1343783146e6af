"""Arrays kept on disk between two passes, so that memory does not grow with their number."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator, Mapping
from types import TracebackType

import numpy as np

from ..model import Array


class Spool:
    """Rows of named arrays in an anonymous temporary file: written once, then read in order."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="sparing-")  # noqa: SIM115 - lives on
        # Of each row: where it begins, and its names. All that grows in memory: 16 bytes a row.
        self._starts = array("q")
        self._names: list[tuple[str, ...]] = []

    def append(self, arrays: Mapping[str, Array]) -> None:
        start = self._file.seek(0, 2)
        for values in arrays.values():
            np.lib.format.write_array(self._file, np.ascontiguousarray(values), allow_pickle=False)
        names = tuple(arrays)
        same = self._names and self._names[-1] == names
        self._starts.append(start)
        self._names.append(self._names[-1] if same else names)

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[dict[str, Array]]:
        """The rows, one in memory at a time."""
        for start, names in zip(self._starts, self._names, strict=True):
            self._file.seek(start)
            yield {n: np.lib.format.read_array(self._file, allow_pickle=False) for n in names}

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
