"""Measured costs of kernels on this machine, kept in a file between runs.

`sparing.tune` fills it; plans only read it. There is one file per CPU, instruction set, number of
threads and version of Sparing, in `$SPARING_CACHE` or the user's cache folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path

from .errors import FormatError
from .formats.atomic import write_atomically


@cache
def cpu_name() -> str:
    """The CPU's model name, as the kernel states it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


@cache
def _product_version() -> str:
    return version("sparing")


def cache_folder() -> Path:
    """`$SPARING_CACHE`, else `$XDG_CACHE_HOME/sparing`, else `~/.cache/sparing`."""
    return Path(_cache_folder())


def _cache_folder() -> str:
    own = os.environ.get("SPARING_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return own or os.path.join(base, "sparing")


def any_costs() -> bool:
    """Whether there is a file of costs at all, for which fewer things need to be found out."""
    try:
        return any(name.startswith("costs-") for name in os.listdir(_cache_folder()))
    except OSError:
        return False


def cache_file(isa: str, threads: int) -> Path:
    identity = {
        "cpu": cpu_name(),
        "isa": isa,
        "threads": threads,
        "version": _product_version(),
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    return cache_folder() / f"costs-{digest}.json"


def read_costs(path: Path) -> dict[str, float]:
    """Measured seconds by key; empty where there is no file. Raises FormatError for a bad one."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return {}
    try:
        costs = json.loads(text)["seconds"]
        return {str(key): float(value) for key, value in costs.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"{path}: not a file of measured costs; delete it ({error})") from error


def write_costs(path: Path, costs: Mapping[str, float]) -> None:
    """Replace the file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"cpu": cpu_name(), "seconds": dict(sorted(costs.items()))}
    write_atomically(path, json.dumps(content, indent=1).encode())
