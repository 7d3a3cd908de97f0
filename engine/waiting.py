"""How long training waits for images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import Any

import torch

from common.workers import available_cores
from dataloader.loader import Batch

STARVED = 0.1  # of the training time: a device that waits so long could do more


class Waiting:
    """Adds up the time between asking for a batch and having it, by the device's own clock: while
    a GPU works off what it was given before, the program's waiting costs nothing."""

    def __init__(self, device: torch.device) -> None:
        self.seconds = 0.0
        self._on_gpu = device.type == "cuda"

    def counted(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches, the waiting for them added to `seconds` at their end."""
        iterator, waits = iter(batches), []
        while True:
            asked = self._now()
            batch = next(iterator, None)
            if batch is None:
                break
            waits.append((asked, self._now()))
            yield batch
        self.seconds += sum(self._between(*wait) for wait in waits)

    def told(self, training_seconds: float, workers: int) -> str:
        """Which share of the training time it was, and what helps: on a GPU more workers, if there
        are cores for them; on a CPU the steps need the cores."""
        share = self.seconds / training_seconds
        could_help = share > STARVED and self._on_gpu and workers < available_cores()
        what = "waited for" if workers else "made its"
        remedy = ": more --workers would help" if could_help else ""
        return f"{what} images {share:.0%} of the training time{remedy}"

    def _now(self) -> Any:
        """A time on the CPU, or a mark in the GPU's queue."""
        if not self._on_gpu:
            return perf_counter()
        mark = torch.cuda.Event(enable_timing=True)
        mark.record()
        return mark

    def _between(self, asked: Any, came: Any) -> float:
        if not self._on_gpu:
            return came - asked
        came.synchronize()
        return asked.elapsed_time(came) / 1000
