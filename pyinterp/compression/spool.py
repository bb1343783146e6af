"""Arrays kept on disk between two passes, so that memory does not grow with their number."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from types import TracebackType

import numpy as np

from ..model import Array


class Spool:
    """Rows of named arrays in an anonymous temporary file: written once, then read in order."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="sparing-")  # noqa: SIM115 - lives on
        self._rows: list[tuple[int, list[str]]] = []  # where each begins, and its names

    def append(self, arrays: Mapping[str, Array]) -> None:
        start = self._file.seek(0, 2)
        for array in arrays.values():
            np.lib.format.write_array(self._file, np.ascontiguousarray(array), allow_pickle=False)
        self._rows.append((start, list(arrays)))

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[dict[str, Array]]:
        """The rows, one in memory at a time."""
        for start, names in self._rows:
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
