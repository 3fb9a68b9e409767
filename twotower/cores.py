"""How many cores this process may use: those it may run on, within the quota of its container."""

import math
import os
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")
_OWN: Final = Path("/proc/self/cgroup")


def usable_cores(root: Path = _ROOT, own: Path = _OWN) -> int:
    """Count the cores of this process, at least 1.

    More threads than the quota's cores would only be throttled: a group that has used its quota stands still until the
    next period, and with it every request.

    Args:
        root: where the control groups are mounted.
        own: file that names this process' groups.
    """
    # Not every system has an affinity; os.cpu_count is what is left.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(root, own)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def _quota(root: Path, own: Path) -> float | None:
    """Cores that the strictest group around this process allows; None if none does."""
    quotas = []
    for line in filter(None, _read(own).split("\n")):
        _, controllers, path = line.split(":", 2)
        base = root if not controllers else root / "cpu"
        if controllers and "cpu" not in controllers.split(","):
            continue
        # In a container the path may be the host's, which does not exist here: the root is then its own group.
        folder = base / path.strip("/")
        quotas += [_quota_of(group) for group in (folder, *folder.parents) if group == base or base in group.parents]
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota_of(group: Path) -> float | None:
    """Cores that one group allows, by version 2 or version 1 of the interface."""
    words = _read(group / "cpu.max").split() or [
        _read(group / "cpu.cfs_quota_us").strip(),
        _read(group / "cpu.cfs_period_us").strip(),
    ]
    try:
        quota, period = (float(word) for word in words)
    except ValueError:  # "max", or no such file
        return None
    return quota / period if quota > 0 and period > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
