"""The processes of a run: one by itself, or as many as torchrun started, which train together.

Numbers and waits go through gloo on the CPU, so that none of them waits for a GPU; gradients are
averaged by DistributedDataParallel, over NCCL between GPUs.
"""

from __future__ import annotations

import inspect
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import nn

from common.errors import GO_ON, DivergedError, UserError, hear_no_more, one_line
from engine.leash import end_with
from engine.torchrun import MEETING_SECONDS, Place, check_address, say_that_runs_diverged

PATIENCE_SECONDS = 10  # before it is said that others are waited for
BEAT_SECONDS = 4.0
MOST_MISSED = 6  # beats: 24 seconds, for torchrun takes up to 30 more to end what hangs


class AnotherFailedError(UserError):
    """What another process said when it failed, before this one did."""


@dataclass(frozen=True)
class Ranks:
    """This process, number `rank` of `size` and number `local` of its machine's.

    What returns a sum or changes a model waits for the others: all processes call the same in the
    same order. A process by itself waits for none.
    """

    rank: int = 0
    size: int = 1
    local: int = 0
    board: dist.Store | None = None  # where they leave notes for each other

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum of all processes' `values`, tensors of one shape; on the CPU if there are
        several."""
        if self.size == 1:
            return values
        summed = values.cpu().clone()
        dist.all_reduce(summed)
        return summed

    def total(self, count: int) -> int:
        """The sum of all processes' counts."""
        return count if self.size == 1 else int(self.sum(torch.tensor(count)))

    def before(self, rows: torch.Tensor) -> torch.Tensor:
        """Of all processes' rows, one process after the other, the one before the first of these,
        (1, ...); before the very first the last. A process may have none, not all of them."""
        if self.size == 1:
            return rows[-1:]
        filled, last = torch.zeros(self.size), rows.new_zeros(self.size, *rows.shape[1:])
        if len(rows):
            filled[self.rank], last[self.rank] = 1, rows[-1]
        filled, last = self.sum(filled), self.sum(last)
        ahead = [(self.rank - k) % self.size for k in range(1, self.size + 1)]
        nearest = next(rank for rank in ahead if filled[rank])
        return last[nearest : nearest + 1]

    def wait(self) -> None:
        """Go on when all processes are here."""
        self.total(0)

    def parallel(self, model: nn.Module) -> nn.Module:
        """The model, of one process; else one whose gradients become the mean over the processes'
        and whose weights start as those of process 0. Buffers, which all begin alike, are not sent
        before each step: `take_buffers` does so once an epoch."""
        if self.size == 1:
            return model
        device = next(model.parameters()).device
        devices = [device] if device.type == "cuda" else None
        ddp = nn.parallel.DistributedDataParallel
        names = inspect.signature(ddp).parameters  # torch 2.14 calls it by another name
        sync = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"
        options: dict[str, Any] = {"gradient_as_bucket_view": True, sync: False}
        return ddp(model, devices, **options)

    def take_buffers(self, model: nn.Module) -> None:
        """Make the model's buffers (BatchNorm's statistics) those of process 0."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)

    def reason(self, error: BaseException) -> BaseException:
        """What ended the run: `error`, in a user's words, if this process is the first to fail;
        else an AnotherFailedError with what the first one said."""
        if self.board is None:
            return error
        if _is_broken_connection(error):
            error = UserError(f"another process of the run was killed or lost; {GO_ON}")
        mine = f"process {self.rank}: {one_line(error) or type(error).__name__}"
        try:
            first = self.board.compare_set("reason", "", mine).decode()
        except RuntimeError:  # the machine that keeps the notes is gone
            return error
        return error if first == mine else AnotherFailedError(first)


ALONE = Ranks()


@contextmanager
def joined() -> Iterator[Ranks]:
    """The processes that torchrun started; without torchrun this one alone.

    When one fails, the first to notice says so and the others end silently with exit code 2. One
    that is killed is noticed at once, one that hangs or whose machine is gone within a minute, one
    that never comes within MEETING_SECONDS.
    """
    place = Place.of(os.environ)
    if place is None:
        yield ALONE
        return
    ranks, board = _join(place)
    with _ended_by_sigterm(), _watched(ranks, board):
        try:
            with _left_together(ranks):
                yield ranks
        except BaseException as error:
            reason = ranks.reason(error)
            if reason is error:
                raise
            if isinstance(reason, AnotherFailedError):
                raise SystemExit(2) from None
            raise reason from None
    dist.destroy_process_group()


@contextmanager
def _left_together(ranks: Ranks) -> Iterator[None]:
    """Nobody leaves the block while another one still writes, for torchrun ends all with the first:
    neither at its end nor by a DivergedError, which all of them raise."""
    try:
        yield
    except DivergedError:
        ranks.wait()
        say_that_runs_diverged(os.environ)
        raise
    ranks.wait()


def _join(place: Place) -> tuple[Ranks, dist.Store]:
    """This process among those that have met, and a second connection to their board for the
    thread that watches: a store serves one thread."""
    if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun itself may be killed
        end_with(os.getppid())
    if place.is_one_machine:  # neither listens to the network then
        loopback = "lo" if sys.platform == "linux" else "lo0"
        for library in ("GLOO", "NCCL"):
            os.environ.setdefault(f"{library}_SOCKET_IFNAME", loopback)
    store = _waited_for(place)
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    board = dist.PrefixStore(f"distillation/{attempt}", store.clone())
    return Ranks(place.rank, place.size, place.local, board), board.clone()


def _waited_for(place: Place) -> dist.Store:
    """The store at which all processes have met. A thread waits for them, because torch lets no
    signal interrupt the wait. UserError when they do not meet in time."""
    met: list[dist.Store] = []
    failed: list[Exception] = []

    def meet() -> None:
        try:
            met.append(_meet(place))
        except (RuntimeError, ValueError, OSError) as error:
            failed.append(error)

    meeting = threading.Thread(target=meet, daemon=True)
    meeting.start()
    others = f"process {place.rank} of {place.size} waits for the others at {place.meeting}"
    for second in range(MEETING_SECONDS):
        meeting.join(1)
        if met:
            return met[0]
        if failed:
            break
        if second == PATIENCE_SECONDS:
            print(f"{others}, {MEETING_SECONDS} seconds at most", file=sys.stderr, flush=True)
    reason = one_line(failed[0]) if failed else f"not in {MEETING_SECONDS} seconds"
    raise UserError(
        f"{others}, but they do not meet ({reason}): start all of them, with the same address"
    )


def _meet(place: Place) -> dist.Store:
    """A store that all have joined, and gloo's (and NCCL's) connections."""
    timeout = timedelta(seconds=MEETING_SECONDS)
    if place.file:
        store = dist.FileStore(place.file, place.size)
    else:
        check_address(place.address)
        store, _, _ = next(dist.rendezvous("env://", timeout=timeout))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.size)
    return store


def _is_broken_connection(error: BaseException) -> bool:
    """Whether PyTorch lost another process; gloo says so in the text alone."""
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and "gloo" in str(error)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """torchrun's SIGTERM, sent when a process has ended or to stop all, ends the block as an error
    does: files are closed and the reason is kept."""

    def end(number: int, frame: Any) -> NoReturn:
        hear_no_more()
        raise UserError(f"told to stop, as when another process of the run has ended; {GO_ON}")

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Heartbeats:
    """Counters that the processes raise on a board to show that they live. How long another one is
    silent is counted in this process's beats, not in seconds: a job that was suspended as a whole
    then goes on, and takes none of its processes for lost."""

    def __init__(self, board: dist.Store, rank: int, size: int) -> None:
        self._board, self._mine = board, f"beats/{rank}"
        self._others = [f"beats/{other}" for other in range(size) if other != rank]
        self._count, self._seen = 0, [b""] * len(self._others)
        self._missed = [0] * len(self._others)
        self._board.set(self._mine, "0")

    def beat(self) -> bool:
        """Beat once; whether all others have within the last MOST_MISSED beats of this process."""
        self._count += 1
        self._board.set(self._mine, str(self._count))
        seen = self._board.multi_get(self._others)
        for k, (now, before) in enumerate(zip(seen, self._seen, strict=True)):
            self._missed[k] = self._missed[k] + 1 if now == before else 0
        self._seen = seen
        return max(self._missed) < MOST_MISSED


@contextmanager
def _watched(ranks: Ranks, board: dist.Store) -> Iterator[None]:
    """Ends this process, which may wait for ever in a GPU's queue, when another is silent."""
    board.set_timeout(timedelta(seconds=30))
    heartbeats = Heartbeats(board, ranks.rank, ranks.size)
    ranks.wait()  # until each has left its first sign
    over = threading.Event()
    threading.Thread(target=_watch, args=(heartbeats, ranks, over), daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _watch(heartbeats: Heartbeats, ranks: Ranks, over: threading.Event) -> None:
    while not over.wait(BEAT_SECONDS):
        try:
            if heartbeats.beat():
                continue
            reason = ranks.reason(UserError(f"a process of the run answers no more; {GO_ON}"))
        except RuntimeError:
            reason = UserError(f"the first machine of the run answers no more; {GO_ON}")
        if not isinstance(reason, AnotherFailedError):
            print(f"error: {reason}", file=sys.stderr, flush=True)
        os._exit(2)  # the main thread may never come back
