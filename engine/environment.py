"""Where a run was made: machine, versions and commit."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from common.errors import one_line

ROOT = Path(__file__).resolve().parents[1]
DIGITS = 16  # of a digest of code


def describe(device: torch.device) -> dict[str, Any]:
    """Time, command, versions, device and commit, for environment.json."""
    packages = ("torch", "torchvision", "numpy", "pillow")
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(sys.argv),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "commit": commit(),
    }


def commit(root: Path = ROOT) -> str:
    """The commit of the checkout at `root`, with "+changes" when files differ from it; "unknown"
    and why where it has none."""
    if not (root / ".git").exists():  # a folder above may be another project's checkout
        return "unknown (no git repository)"
    try:
        described = _git(root, "describe", "--always", "--abbrev=40", "--exclude=*")
        return described + ("+changes" if _git(root, "status", "--porcelain", "-uno") else "")
    except OSError:
        return "unknown (git cannot be started)"
    except subprocess.CalledProcessError as error:
        return f"unknown (git: {one_line(error.stderr)[:200]})"


def code_at(commit: str, places: Sequence[str], root: Path = ROOT) -> str:
    """A text that differs where files below one of the `places` do: two commits of one code have
    the same. The commit itself where git does not know it, or files differ from it."""
    try:
        listed = _git(root, "ls-tree", commit, "--", *places)
    except (OSError, subprocess.CalledProcessError):
        return commit
    return hashlib.sha256(listed.encode()).hexdigest()[:DIGITS]


def _git(root: Path, *arguments: str) -> str:
    """What git says of the checkout, whoever owns it: it is only read, and no program that its
    settings name is started."""
    settings = ["-c", f"safe.directory={root}", "-c", "core.fsmonitor=false"]
    elsewhere = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")  # set where git runs a hook
    run = subprocess.run(
        ["git", *settings, *arguments],
        cwd=root,
        env={name: value for name, value in os.environ.items() if name not in elsewhere},
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.strip()
