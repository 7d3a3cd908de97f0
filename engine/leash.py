"""Ends a process with the one that started it, also where that one was killed.

By prctl, which Linux alone has; elsewhere a killed launcher leaves its trainers running. As a
program it starts another one so: python engine/leash.py PARENT PROGRAM ARGUMENTS...
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

SET_PARENT_DEATH_SIGNAL = 1  # prctl's PR_SET_PDEATHSIG, which outlives exec


def end_with(parent: int) -> None:
    """SIGTERM comes to this process when the thread that started it ends; it is sent at once where
    the process `parent` has ended already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)


def leashed(*command: str) -> list[str]:
    """The command that starts `command` so that it ends with this process."""
    return [sys.executable, "-S", __file__, str(os.getpid()), *command]


if __name__ == "__main__":
    end_with(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
