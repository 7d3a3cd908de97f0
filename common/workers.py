"""How many processes this machine lets a job use."""

from __future__ import annotations

import os
from pathlib import Path

MOST_WORKERS = 16  # each holds some 100 MB, and more than this has fed every GPU tried


def default_workers(processes: int = 1) -> int:
    """Workers for each of `processes` that share the machine: its cores, at least 1, at most 16."""
    return max(1, min(available_cores() // processes, MOST_WORKERS))


def available_cores() -> int:
    """The cores that this process may use: by its affinity, and by its control group's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(cores or 1, int(group_quota())))


def group_quota(
    groups: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> float:
    """The smallest quota, in cores, of the control groups around this process; 1024 if none.

    Version 2 has `quota period` in cpu.max of a group and of those around it; version 1 has the
    quota and the period in a file each.
    """
    limits = [_limit(folder) for folder in _folders(groups, membership)]
    return min([limit for limit in limits if limit], default=1024.0)


def _folders(groups: Path, membership: Path) -> list[Path]:
    folders = [groups, groups / "cpu"]
    for line in _text(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "" or "cpu" in controllers.split(","):
            folder = (groups / "cpu" if controllers else groups) / path.lstrip("/")
            folders += [folder, *(up for up in folder.parents if groups in up.parents)]
    return folders


def _limit(folder: Path) -> float | None:
    words = _text(folder / "cpu.max").split() or [
        *_text(folder / "cpu.cfs_quota_us").split(),
        *_text(folder / "cpu.cfs_period_us").split(),
    ]
    if len(words) != 2 or not all(word.isdecimal() for word in words):
        return None  # no such file, or "max", or -1: no limit
    quota, period = map(int, words)
    return quota / period if period else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
