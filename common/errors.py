"""What the user gave can be wrong: how every program says so, in one line and an exit code,
on streams that take all that is printed, whatever their reader and their code."""

from __future__ import annotations

import argparse
import errno
import os
import reprlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn, TextIO

OUTPUT, ERROR = 1, 2  # of the operating system's numbers; 0 is the input


class Outlet:
    """A text stream whose reader may be gone and whose disk may be full: what cannot be written is
    lost, the number of the first error is kept, and the program goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: int | None = None  # an exception would keep alive all that its callers hold
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # what its code lacks is spelled out

    def write(self, text: str) -> int:
        """As a text stream does."""
        self._try(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        """As a text stream does."""
        self._try(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _try(self, work: Callable[..., object], *values: str) -> None:
        try:
            work(*values)
        except OSError as error:
            self.failure = self.failure or error.errno or errno.EIO
            with suppress(OSError):  # what is left in the buffer is lost without another word
                _lead_nowhere(self._stream.fileno())


@contextmanager
def forgiving_streams() -> Iterator[Outlet]:
    """In the block, what is printed to either stream raises nothing; yields the standard output."""
    _fill_closed_numbers()
    before = sys.stdout, sys.stderr
    output, error = (Outlet(_opened(each, k)) for k, each in enumerate(before, start=OUTPUT))
    sys.stdout, sys.stderr = output, error
    try:
        yield output
    finally:
        output.flush()
        error.flush()
        sys.stdout, sys.stderr = before


def _fill_closed_numbers() -> None:
    """A file that is opened gets the lowest free number: were it one of these, what a library
    prints would end up in it."""
    for number in (0, OUTPUT, ERROR):
        try:
            os.fstat(number)
        except OSError:
            _lead_nowhere(number)


def _lead_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, number)  # for child processes too
    if nowhere != number:
        os.close(nowhere)
    os.set_inheritable(number, True)


def _opened(stream: TextIO | None, number: int) -> TextIO:
    """The stream; one that the shell closed (`>&-`) is None in Python."""
    return open(number, "w", closefd=False) if stream is None else stream


SAME_COMMAND = "the same command (without --resume never)"
GO_ON = f"{SAME_COMMAND} goes on from the last finished epoch"
ENDING = (signal.SIGTERM, signal.SIGHUP)  # told to end, and the terminal was closed


class UserError(ValueError):
    """Something the user can mend, told in one line: what is wrong, where, and what to do."""

    exit_code = 2


class DivergedError(UserError):
    """Runs whose loss is no longer finite, when all that could go on without them has."""

    exit_code = 3


class DamagedError(UserError):
    """A file whose content is not what was written to it, or is none that could have been."""


class Terminated(BaseException):
    """A signal of ENDING, which ends a program as Ctrl-C does."""


class OneLineParser(argparse.ArgumentParser):
    """A parser of flags that must be spelled out, and whose complaints are a UserError."""

    def __init__(self, description: str | None = None, argument_default: str | None = None) -> None:
        super().__init__(
            description=description, argument_default=argument_default, allow_abbrev=False
        )

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the flags."""
        raise UserError(f"{message} (--help lists the flags)")


# Modules of requirements.txt.
NEEDED = ("matplotlib", "numpy", "PIL", "scipy", "torch", "torchvision", "tqdm", "yaml")


def run_program(
    program: Callable[[Sequence[str] | None], None],
    argv: Sequence[str] | None = None,
    *,
    if_interrupted: str = GO_ON,
) -> int:
    """Run `program(argv)` and return its exit code, the user's errors being one line on stderr.

    The operating system's errors (full disk, no permission) count as the user's, as does a package
    that is not installed; anything else is a bug and keeps its traceback. SIGTERM and SIGHUP end it
    as Ctrl-C does. What it prints to a reader who is gone is lost and it goes on; so it does where
    the output's disk is full, which is then told.
    """
    with forgiving_streams() as output:
        code = _exit_code(program, argv, if_interrupted)
        output.flush()
        lost = output.failure
        if code == 0 and lost not in (None, errno.EPIPE):
            print(
                f"error: cannot write to the standard output: {os.strerror(lost)}: the work is "
                "done, send its output elsewhere",
                file=sys.stderr,
            )
            return UserError.exit_code
    return code


def _exit_code(
    program: Callable[[Sequence[str] | None], None],
    argv: Sequence[str] | None,
    if_interrupted: str,
) -> int:
    try:
        with _terminable():
            program(argv)
    except (UserError, OSError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return getattr(error, "exit_code", UserError.exit_code)
    except ModuleNotFoundError as error:
        if error.name not in NEEDED:
            raise
        print(
            f"error: this Python has no {error.name}: pip install -r requirements.txt, or use the "
            ".venv that the scripts make",
            file=sys.stderr,
        )
        return UserError.exit_code
    except KeyboardInterrupt:
        print(f"interrupted: {if_interrupted}", file=sys.stderr)
        return 130
    except Terminated:
        print(f"terminated: {if_interrupted}", file=sys.stderr)
        return 143
    return 0


@contextmanager
def _terminable() -> Iterator[None]:
    """The signals of ENDING are raised as Terminated."""

    def end(number: int, frame: Any) -> NoReturn:
        hear_no_more()
        raise Terminated

    with _handled(ENDING, end):
        yield


def hear_no_more() -> None:
    """From now on this process ends, and no further signal keeps it from doing so in order: nor
    the news of a loader's worker that was told to end with it. Python writes a traceback for a
    signal that came before and is ignored (SIG_IGN, SIG_DFL) once it is handled."""
    for number in (*ENDING, signal.SIGCHLD):
        signal.signal(number, lambda number, frame: None)


@contextmanager
def signals_wait() -> Iterator[None]:
    """Ctrl-C and the signals of ENDING are told at the block's end: raised inside torch's import,
    which is partly C++, they abort the process."""
    came: list[int] = []
    with _handled((signal.SIGINT, *ENDING), lambda number, frame: came.append(number)):
        yield
    for number in came[:1]:
        signal.raise_signal(number)


@contextmanager
def _handled(numbers: Sequence[int], handler: Callable[[int, Any], object]) -> Iterator[None]:
    """`handler` hears these signals while the block runs, but for those that are ignored, as nohup
    ignores SIGHUP; only the main thread can see to that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)


def one_line(error: object) -> str:
    """The error's message, or any text, without line breaks."""
    return " ".join(str(error).split())


class _Short(reprlib.Repr):
    """Says a value of any size, however it nests or repeats itself, in some 100 characters."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 2, 60, 60

    def repr_bytes(self, value: bytes, level: int) -> str:
        """The first bytes: the rest is never turned into text."""
        return repr(value[: self.maxother])

    def repr_int(self, value: int, level: int) -> str:
        """Python refuses to write more than 4,300 digits."""
        return str(value) if abs(value) < 2**64 else "a number of 20 or more digits"


def shown(value: object) -> str:
    """What a file says, for a message about it."""
    return _Short().repr(value)
