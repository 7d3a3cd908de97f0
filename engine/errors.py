"""How a program tells the user that something is wrong: one line and a non-zero exit."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from dataloader.errors import DataError
from models.errors import ModelError


class RunError(ValueError):
    """A run that cannot start or go on, told in one line: what, where, what to do."""


def run_program(program: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None) -> int:
    """Run `program(argv)` and return its exit code, bad input being told in one line on stderr.

    Only the project's own errors and those of the operating system (full disk, no permission)
    are shortened; anything else is a bug and keeps its traceback.
    """
    try:
        program(argv)
    except (DataError, ModelError, RunError, OSError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from the last finished epoch", file=sys.stderr)
        return 130
    return 0


def one_line(error: Exception) -> str:
    """The error's message without line breaks."""
    return " ".join(str(error).split())
