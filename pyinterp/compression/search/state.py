"""What a search has found so far, in a file, so that one that was stopped goes on from there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import FormatError, InputError
from ...formats.atomic import write_atomically

KINDS = ("losses", "scores", "costs")


class SearchState:
    """Numbers by kind and key. The file is replaced, atomically, with each that is added."""

    def __init__(self, path: str | os.PathLike[str] | None, identity: Mapping[str, Any]) -> None:
        """path: None keeps nothing. identity: what makes the numbers of two searches comparable.

        Raises FormatError for a file that is none of these, InputError for another search's.
        """
        self._path = None if path is None else Path(path)
        self._identity = dict(identity)
        self._found: dict[str, dict[str, float]] = {kind: {} for kind in KINDS}
        if self._path is None:
            return
        if not self._path.parent.is_dir():
            raise InputError(f"resume: there is no folder {str(self._path.parent)!r}")
        if self._path.exists():
            self._read(self._path)

    def get(self, kind: str, key: str) -> float | None:
        return self._found[kind].get(key)

    def put(self, kind: str, values: Mapping[str, float]) -> None:
        self._found[kind].update(values)
        if self._path is not None:
            content = {"search": self._identity, **self._found}
            write_atomically(self._path, json.dumps(content, indent=1).encode())

    def _read(self, path: Path) -> None:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            identity = dict(content["search"])
            found = {
                kind: {str(key): float(value) for key, value in content[kind].items()}
                for kind in KINDS
            }
        except OSError as error:
            raise InputError(f"resume: cannot read {str(path)!r}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FormatError(f"{path}: this is no state of a search ({error!r})") from error
        differing = sorted(
            key
            for key in {*identity, *self._identity}
            if identity.get(key) != self._identity.get(key)
        )
        if differing:
            raise InputError(
                f"resume: {str(path)!r} belongs to another search: {', '.join(differing)} differ; "
                "delete it or name another file"
            )
        self._found = found
