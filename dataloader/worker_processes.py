"""A loader's worker processes: how they start, and what is said when one cannot go on."""

from __future__ import annotations

import errno
import gc
import os
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.queues import Queue
from types import TracebackType
from typing import NoReturn

from common.errors import ENDING, GO_ON, UserError, one_line

HELD = {signal.SIGINT, *ENDING}  # while workers start
LOADERS = 6  # of a group, each with workers of its own: the training ones, validation, its images
# under the training view, test
READ_AT_ONCE = 3  # of these: the students' view, the teachers' own, partners

FEWER = "use fewer --workers"
ADVICE = {  # by what PyTorch, which has no types for it, or the system says
    "Too many open files|ancdata": f"raise the limit (ulimit -n 4096), or {FEWER}",
    "shared memory|shm|torch_|No space left|Bus error": (
        f"give /dev/shm more room (docker run --shm-size), or {FEWER} or a smaller --batch-size"
    ),
    "signal: Killed|allocate memory|MemoryError": f"if memory ran out, {FEWER}",
    "temporarily unavailable": f"raise the limit of processes (ulimit -u), or {FEWER}",
    "signal: Terminated": "somebody ended it",
    "DataLoader worker": "--workers 0 shows where",
}
DIED = re.compile(
    r"DataLoader worker \(pid\S* [\d, ]+\) (is killed by signal: [^.]*|exited unexpectedly"
    r"( with exit code \d+)?)"
)
OUT_OF_FILES = re.compile("Too many open files|received 0 items of ancdata")


def begin(worker: int) -> None:
    """What a worker does first, as the fork of the main process that it is.

    The garbage collector is kept off the objects that both share: a full collection writes to each
    of them, and so copies some 80 MB a worker. Ctrl-C and a closed terminal are the main process's
    to tell of, and end a worker silently. PyTorch has seen to SIGTERM by now, and would print a
    line of its own at a crash, which the main process tells.
    """
    gc.freeze()
    sys.excepthook = _report  # of the thread that hands out shared memory
    Queue._on_queue_feeder_error = staticmethod(_lose)  # type: ignore[attr-defined]  # private
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: os._exit(0))
    for number in (signal.SIGBUS, signal.SIGSEGV, signal.SIGFPE):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback, but not for that the main process has closed its end."""
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


def _lose(error: BaseException, batch: object) -> NoReturn:
    """End this worker, whose batch cannot be sent: the main process would wait for it for ever."""
    _report(type(error), error, error.__traceback__)
    os._exit(0 if isinstance(error, ConnectionError) else 1)


@contextmanager
def starting() -> Iterator[None]:
    """The workers that start in the block hear no signal before `begin` has seen to it. UserError
    where there is no room for them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    try:
        yield
    except OSError as error:
        _forget_quietly(error)
        raise in_words(error) from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _forget_quietly(error: OSError) -> None:
    """Let go of PyTorch's half-made iterator, which complains of what it lacks."""
    before, sys.unraisablehook = sys.unraisablehook, lambda unraisable: None
    traceback.clear_frames(error.__traceback__)
    sys.unraisablehook = before


def allow_files(workers: int) -> None:
    """Let this process open the files that so many workers a loader need, two batches of each on
    their way and a batch being three: with fewer they wait for each other for ever. UserError where
    it may not."""
    queues, batches, others = 3 * LOADERS * workers, 6 * READ_AT_ONCE * workers, 48
    needed = len(os.listdir("/dev/fd")) + queues + batches + others  # noqa: PTH208
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or needed <= soft:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    except (ValueError, OSError):
        raise UserError(
            f"--workers {workers} may need {needed} open files, and {hard} are allowed: raise the "
            f"limit (ulimit -n 4096), or {FEWER}"
        ) from None


@contextmanager
def living_workers() -> Iterator[None]:
    """UserError where a loader's worker dies, or files run out, while the block runs; a bug in a
    worker keeps its traceback.

    PyTorch tells it by a signal, wherever the main process is, and says what it is in the text
    alone; where it waits for a batch, in that of the cause.
    """
    try:
        yield
    except (ConnectionError, EOFError) as error:  # it died while it handed out a batch
        raise in_words(_after_other_signals(_word_of_its_end(error))) from None
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        raise in_words(error) from None
    except RuntimeError as error:
        reason = _reason(error.__cause__) or _reason(error)
        if reason is None:
            raise
        raise in_words(_after_other_signals(RuntimeError(reason))) from None


def _word_of_its_end(error: Exception) -> Exception:
    """What PyTorch is about to say of a worker whose connection broke with `error`; else that."""
    try:
        time.sleep(1)
    except RuntimeError as told:
        if (reason := _reason(told)) is None:
            raise
        return RuntimeError(reason)
    return error


def _after_other_signals(error: Exception) -> Exception:
    """The same, after a moment for our own signal where all of the job may have been told to
    end: PyTorch does not always learn how a worker ended."""
    if str(error).endswith(("signal: Terminated", "exited unexpectedly")):
        time.sleep(1)
    return error


def _reason(error: BaseException | None) -> str | None:
    """What PyTorch says of its workers; None for any other error."""
    found = DIED.match(str(error)) or OUT_OF_FILES.search(str(error))
    return found[0] if found and isinstance(error, RuntimeError) else None


def in_words(error: Exception) -> UserError:
    """Why a worker cannot go on, and what to do about it."""
    if isinstance(error, UserError):
        return error
    reason = one_line(error) or type(error).__name__
    advice = next((text for pattern, text in ADVICE.items() if re.search(pattern, reason)), None)
    return UserError("; ".join(filter(None, [f"a loader's worker: {reason}", advice, GO_ON])))
