"""What this process may use of the machine it runs on."""

import os
from math import ceil
from pathlib import Path

CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def available_cores(quota_file: Path = CGROUP_QUOTA) -> int:
    """CPU cores this process may keep busy: its affinity, or its container's quota where that is less."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(quota_file)
    return cores if quota is None else max(1, min(cores, quota))


def _quota(quota_file: Path) -> int | None:
    """The container's quota in whole cores, or None where there is none (cgroup v2's cpu.max)."""
    try:
        allowed, period = quota_file.read_text().split()
    except (OSError, ValueError):
        return None
    return None if allowed == "max" else ceil(int(allowed) / int(period))
