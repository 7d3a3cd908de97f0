"""What a run shows while it goes on: a bar or lines, and TensorBoard's scalars."""

from __future__ import annotations

import bisect
import itertools
import math
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from common.errors import one_line
from common.files import append_line

BAR_SECONDS = 0.5
LINE_SECONDS = 30.0


class Means(Protocol):
    """What can say the loss and the accuracy so far; saying so waits for the device."""

    def means(self) -> dict[str, float]:
        """Means by name, "loss" and "top1" among them."""
        ...


@dataclass(frozen=True)
class Epochs:
    """Passes, of which some test and some do not; some batches may follow the last."""

    ends: tuple[int, ...]  # batches done at the end of each
    images_a_batch: float

    @classmethod
    def of(cls, batches: Sequence[int], images: Sequence[int]) -> Epochs:
        """Of so many batches and images each."""
        return cls(tuple(itertools.accumulate(batches)), sum(images) / sum(batches))


class Progress:
    """Batches done of all batches, training and evaluation alike, with the time left, the loss and
    the accuracy: of several models the mean. Where there are epochs, with the epoch and the images
    a second."""

    def __init__(
        self,
        name: str,
        *,
        total: int,
        done: int,
        logs: Sequence[Path],
        epochs: Epochs | None = None,
        silent: bool = False,
    ) -> None:
        self.name, self.total, self.done, self.logs = name, total, done, logs
        self.epochs = epochs
        self._first, self._started = done, time.monotonic()
        self._shown = self._started
        terminal = sys.stderr.isatty()
        self._pause = math.inf if silent else BAR_SECONDS if terminal else LINE_SECONDS
        self._state = ""
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=name,
            bar_format="{desc} {percentage:3.0f}% {bar}{postfix}",
            dynamic_ncols=True,
            leave=False,
            disable=silent or not terminal,
        )

    def step(self, sums: Sequence[Means] = ()) -> None:
        """Count a batch. `sums` are asked only when it is time to show something."""
        self.done += 1
        if time.monotonic() - self._shown >= self._pause:
            self._shown = time.monotonic()
            self._show(sums)

    def line(self, text: str, log: Path) -> None:
        """Print a line and keep it in a run's log."""
        self._print(text)
        note(text, log)

    def eta(self) -> str:
        """Time left at the pace so far, such as 1:02:03."""
        return tqdm.format_interval((self.total - self.done) / self._pace())

    def place(self) -> str:
        """The batch, such as "epoch 2/200  batch 17/470  2,300 images/s"."""
        if self.epochs is None:
            return f"batch {self.done}/{self.total}"
        ends = self.epochs.ends
        rate = f"{self.epochs.images_a_batch * self._pace():,.0f} images/s"
        done = max(self.done, 1)
        epoch = bisect.bisect_left(ends, done)
        if epoch >= len(ends):
            return f"test  {rate}"
        start = ends[epoch - 1] if epoch else 0
        return f"epoch {epoch + 1}/{len(ends)}  batch {done - start}/{ends[epoch] - start}  {rate}"

    def _pace(self) -> float:
        """Batches a second so far."""
        return max(self.done - self._first, 1) / (time.monotonic() - self._started)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()

    def _show(self, sums: Sequence[Means]) -> None:
        if sums:
            means = [each.means() for each in sums]
            loss, top1 = (statistics.fmean(m[name] for m in means) for name in ("loss", "top1"))
            self._state = f"loss {loss:.3f} top-1 {top1:.1%}"
        state = "  ".join(filter(None, [self.place(), self._state, f"eta {self.eta()}"]))
        if not self._bar.disable:
            self._bar.set_postfix_str(state, refresh=False)
            self._bar.update(self.done - self._bar.n)
            return
        line = f"{self.name}  {state}"
        self._print(line)
        for log in self.logs:
            note(line, log)

    def _print(self, text: str) -> None:
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()


def note(text: str, log: Path) -> None:
    """Add a line to a run's log."""
    append_line(log, text)


class Scalars:
    """Writes an epoch's record; does nothing where TensorBoard is not installed."""

    def __init__(self, folder: Path, *, first_epoch: int) -> None:
        self._writer = None
        if writer := _writer_class():
            with self._left_out_if_broken():
                self._writer = writer(str(folder), purge_step=first_epoch)

    def write(self, record: Mapping[str, Any]) -> None:
        """Add every figure of the record at its epoch."""
        if self._writer is None:
            return
        figures = {
            f"{split}/{name}": value
            for split in ("train", "validation", "validation_view")
            for name, value in record.get(split, {}).items()
        }
        figures |= {name: record[name] for name in ("lr", "gap_points") if name in record}
        with self._left_out_if_broken():
            for name, value in figures.items():
                self._writer.add_scalar(name, value, record["epoch"])

    def close(self) -> None:
        """Flush what is pending."""
        if self._writer is not None:
            with self._left_out_if_broken():
                self._writer.close()

    @contextmanager
    def _left_out_if_broken(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # it is no reason to stop
            self._writer = None
            _leave_out(error)


@cache
def _writer_class() -> Any:
    """PyTorch's SummaryWriter; None where TensorBoard is not installed or, which is said once, does
    not work."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # needs the optional package
    except Exception as error:  # an installation can be broken in any way
        if not (isinstance(error, ModuleNotFoundError) and error.name == "tensorboard"):
            _leave_out(error)
        return None
    return SummaryWriter


def _leave_out(error: Exception) -> None:
    reason = f"{type(error).__name__}: {one_line(error)}"
    print(f"TensorBoard is left out, training goes on ({reason})", file=sys.stderr)
