"""Who trains a run: one process at a time, by a lock of the operating system that dies with it."""

from __future__ import annotations

import fcntl
import os
import socket
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TextIO

from dataloader.errors import UserError


@dataclass(frozen=True)
class RunLock:
    """The lock of a run's folder, taken. Its file is beside the folder, which may be replaced.

    Processes that the holder forked (a loader's workers) hold it as long as they live, so that
    nobody trains beside what a killed process left running.
    """

    _file: TextIO

    @classmethod
    def of(cls, folder: Path) -> RunLock:
        """Take it; UserError names the holder where there is one."""
        path = _path(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(_refusal(folder, file)) from None
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        file.truncate(0)
        file.write(f"process {os.getpid()} of {socket.gethostname()}, since {now}")
        file.flush()
        return cls(file)

    def release(self) -> None:
        """Give it back."""
        self._file.close()


def in_work(folder: Path) -> str | None:
    """What a process that wanted to train the run would be told; None where it could."""
    try:
        file = _path(folder).open()
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _refusal(folder, file)
    file.close()
    return None


def _path(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lock")


def _refusal(folder: Path, file: TextIO) -> str:
    with file:
        file.seek(0)
        holder = file.read(200).strip() or "another process"
    return f"{folder} is in work by {holder}: let it end, or stop it"
