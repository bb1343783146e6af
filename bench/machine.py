"""What a benchmark ran on: CPU, instruction sets, peak rates, versions, memory."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..cpus import usable_cpus
from ..kernels.registry import available_backends

PACKAGES = ("sparing", "numpy", "numba", "onnx", "onnxruntime", "openvino", "MNN")
INTEGER_MIXES = ("vpmaddwd", "vpmaddubsw", "vpdpbusd", "tdpbusd")


def describe(seed: int) -> dict[str, Any]:
    """CPU, its flags, instruction sets and peaks, versions, and the seed, as JSON-able values."""
    isas, used, peaks = [], None, {}
    if "c" in available_backends():
        from ..kernels import native

        isas, used, peaks = native.isas(), native.isa(), peak_rates()
    info = _cpu_info()
    return {
        "cpu": info.get("model name", platform.processor() or platform.machine()),
        "flags": info.get("flags", "").split(),
        "usable_cpus": usable_cpus(),
        "isas": isas,
        "isa": used,
        "peak_gmacs": peaks,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": dict(_versions()),
        "seed": seed,
    }


def peak_rates() -> dict[str, float]:
    """1e9 multiply-accumulates a second of one core, for each instruction mix that runs here."""
    from ..errors import NativeError
    from ..kernels import native

    rates = {}
    for mix in (*INTEGER_MIXES, "fma"):
        try:
            rates[mix] = native.peak_gmacs(mix)
        except NativeError:
            continue  # this CPU has no such instructions
    return rates


def _versions() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue  # not installed: not listed


def _cpu_info() -> dict[str, str]:
    """Linux' description of the first CPU; empty elsewhere."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    pairs = (line.partition(":") for line in path.read_text().split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def resident_bytes() -> int | None:
    """Memory of this process that is resident now, after freeing what can be; None off Linux."""
    path = Path("/proc/self/statm")
    if not path.exists():
        return None
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl has not
    if trim is not None:
        trim(0)
    return int(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def pinned(cpus: int | None) -> Iterator[list[int] | None]:
    """This process runs on the last `cpus` of its CPUs in the block (None: all); gives their list.

    The last ones, because interrupts and other programs tend to sit on the first.
    """
    if cpus is None or not hasattr(os, "sched_setaffinity"):
        yield None
        return
    before = os.sched_getaffinity(0)
    chosen = sorted(before)[-cpus:]
    _set_affinity(chosen)
    try:
        yield chosen
    finally:
        _set_affinity(before)


def _set_affinity(cpus: Iterable[int]) -> None:
    os.sched_setaffinity(0, set(cpus))
