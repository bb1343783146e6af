"""How many CPUs this process may use: its affinity, and its cgroup's share."""

from __future__ import annotations

import os
from math import ceil
from pathlib import Path


def usable_cpus() -> int:
    """CPUs in the affinity mask, or fewer where the cgroup (v2 or v1) grants less time."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _cgroup_quota(Path("/sys/fs/cgroup"))
    limit = affinity or 1
    return max(1, min(limit, ceil(quota)) if quota < limit else limit)


def _cgroup_quota(root: Path) -> float:
    """CPUs' worth of time that the cgroup may use; infinite where it is not limited."""
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = [word for name in files for word in (root / name).read_text().split()]
            quota, period = int(words[0]), int(words[1])
        except (OSError, ValueError, IndexError):
            continue  # no such file, or "max": not limited here
        if quota > 0 and period > 0:
            return quota / period
    return float("inf")
