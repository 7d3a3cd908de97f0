"""Standard output and error that take all that is printed, whatever their reader and their code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

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
