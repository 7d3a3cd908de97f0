"""Who trains a run: one process at a time, by a lock of the operating system that dies with it."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TextIO

from common.errors import GO_ON, SAME_COMMAND, UserError

TRIES = 5
PAUSE = 0.05  # seconds, between two of them


@dataclass(frozen=True)
class RunLock:
    """The lock of a run's folder, taken. Its file is beside the folder, which may be replaced.

    Processes that the holder forked (a loader's workers) hold it as long as they live: no second
    process trains the run while a killed one's workers still run.
    """

    _file: TextIO

    @classmethod
    def of(cls, folder: Path) -> RunLock:
        """Take it; UserError names the holder where there is one, or the file that cannot be
        locked."""
        path = _path(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", errors="replace")
        try:
            _take(file)
        except BlockingIOError:
            raise UserError(_refusal(folder, file)) from None
        except OSError as error:
            raise UserError(
                f"cannot lock {path} ({error.strerror}): give another --output-dir"
            ) from None
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        file.truncate(0)
        file.write(f"process {os.getpid()} of {socket.gethostname()}, since {now}")
        file.flush()
        return cls(file)

    def release(self) -> None:
        """Give it back."""
        self._file.close()


def _take(file: TextIO) -> None:
    """BlockingIOError where another one keeps it: to look at it (`in_work`) takes it for a moment
    too."""
    for _ in range(TRIES - 1):
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(PAUSE)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def in_work(folder: Path) -> str | None:
    """What a process that wanted to train the run would be told; None where it could."""
    try:
        file = _path(folder).open(errors="replace")
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _refusal(folder, file)
    file.close()
    return None


@dataclass(frozen=True)
class Place:
    """The folder that a run began in, held open: no other one gets its number meanwhile."""

    _settings: Path
    _descriptor: int

    @classmethod
    def of(cls, settings: Path) -> Place:
        """The folder in which these are written."""
        return cls(settings, os.open(settings.parent, os.O_RDONLY | os.O_DIRECTORY))

    def check(self) -> None:
        """UserError unless the folder is where it was, and the settings in it."""
        folder = self._settings.parent
        try:
            is_there = os.path.samestat(folder.stat(), os.fstat(self._descriptor))
            is_there = is_there and self._settings.is_file()
        except (FileNotFoundError, NotADirectoryError):
            is_there = False
        if not is_there:
            raise UserError(
                f"{folder} was moved, emptied or replaced while it was in work: put it back, and "
                f"{GO_ON} that is saved in it"
            )

    def leave(self) -> None:
        """Let it go."""
        os.close(self._descriptor)


def _path(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lock")


def _refusal(folder: Path, file: TextIO) -> str:
    with file:
        file.seek(0)
        holder = file.read(200).strip() or "another process"
    return (
        f"{folder} is in work by {holder}: let it end, or stop it there, and give {SAME_COMMAND} "
        "again, which skips what is finished"
    )
