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
        path = folder.with_name(f".{folder.name}.lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{folder} is in work by {_holder(file)}: let it end, or stop it"
            ) from None
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        file.truncate(0)
        file.write(f"process {os.getpid()} of {socket.gethostname()}, since {now}")
        file.flush()
        return cls(file)

    def release(self) -> None:
        """Give it back."""
        self._file.close()


def _holder(file: TextIO) -> str:
    with file:
        file.seek(0)
        return file.read(200).strip() or "another process"
