"""What the user sees of a run: a bar on a terminal, plain lines elsewhere, and both in its log."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tqdm import tqdm

from dataloader.files import append_line

BAR_SECONDS = 0.5
LINE_SECONDS = 30.0


class Means(Protocol):
    """What can say the loss and the accuracy so far; saying so waits for the device."""

    def means(self) -> dict[str, float]:
        """Means by name, "loss" and "top1" among them."""
        ...


class Progress:
    """Batches done of all batches, training and evaluation alike, with the time left, the loss and
    the accuracy: of several models the mean."""

    def __init__(self, name: str, *, total: int, done: int, logs: Sequence[Path]) -> None:
        self.name, self.total, self.done, self.logs = name, total, done, logs
        self._first, self._started = done, time.monotonic()
        self._shown = self._started
        terminal = sys.stderr.isatty()
        self._pause = BAR_SECONDS if terminal else LINE_SECONDS
        self._state = ""
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=name,
            unit="batch",
            dynamic_ncols=True,
            leave=False,
            disable=not terminal,
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
        pace = (time.monotonic() - self._started) / max(self.done - self._first, 1)
        return tqdm.format_interval(pace * (self.total - self.done))

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()

    def _show(self, sums: Sequence[Means]) -> None:
        if sums:
            means = [each.means() for each in sums]
            loss, top1 = (statistics.fmean(m[name] for m in means) for name in ("loss", "top1"))
            self._state = f"loss {loss:.3f} top-1 {top1:.1%}"
        if not self._bar.disable:
            self._bar.set_postfix_str(self._state, refresh=False)
            self._bar.update(self.done - self._bar.n)
            return
        line = f"{self.name}  batch {self.done}/{self.total}  {self._state}  eta {self.eta()}"
        self._print(line)
        for log in self.logs:
            note(line, log)

    def _print(self, text: str) -> None:
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()


def note(text: str, log: Path) -> None:
    """Add a line to a run's log."""
    append_line(log, text)
