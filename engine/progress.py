"""What the user sees of a run: a bar on a terminal, plain lines elsewhere, and both in its log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tqdm import tqdm

BAR_SECONDS = 0.5
LINE_SECONDS = 30.0


class Progress:
    """Steps done of all the run's steps, with the time left, the loss and the accuracy."""

    def __init__(self, name: str, *, total_steps: int, done_steps: int, log: Path) -> None:
        self.name, self.total, self.done, self.log = name, total_steps, done_steps, log
        self._first, self._started = done_steps, time.monotonic()
        self._shown = self._started
        terminal = sys.stderr.isatty()
        self._pause = BAR_SECONDS if terminal else LINE_SECONDS
        self._bar = tqdm(
            total=total_steps,
            initial=done_steps,
            desc=name,
            unit="step",
            dynamic_ncols=True,
            leave=False,
            disable=not terminal,
        )

    def step(self, means: Callable[[], Mapping[str, float]]) -> None:
        """Count a step. `means` waits for the device, so it is called only when it is shown."""
        self.done += 1
        if time.monotonic() - self._shown >= self._pause:
            self._shown = time.monotonic()
            self._show(means())

    def line(self, text: str) -> None:
        """Print a line and keep it in the run's log."""
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()
        self.note(text)

    def note(self, text: str) -> None:
        """Keep a line in the run's log alone."""
        with self.log.open("a") as file:
            file.write(text + "\n")

    def eta(self) -> str:
        """Time left at the pace so far, such as 1:02:03."""
        pace = (time.monotonic() - self._started) / max(self.done - self._first, 1)
        return tqdm.format_interval(pace * (self.total - self.done))

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()

    def _show(self, means: Mapping[str, float]) -> None:
        state = f"loss {means['loss']:.3f} top-1 {means['top1']:.1%}"
        if self._bar.disable:
            self.line(f"{self.name}  step {self.done}/{self.total}  {state}  eta {self.eta()}")
            return
        self._bar.set_postfix_str(state, refresh=False)
        self._bar.update(self.done - self._bar.n)
