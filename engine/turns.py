"""Groups of runs, trained one after the other by one process, or by those that torchrun started."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dataloader.errors import DivergedError, signals_wait
from engine.config import Config
from engine.numbers import variable

if TYPE_CHECKING:
    from engine.processes import Ranks


def train_each(
    groups: Sequence[Sequence[Config]], train: Callable[[Sequence[Config], Ranks], None]
) -> None:
    """Train group after group. DivergedError at the end names the runs whose loss was no longer
    finite; any other error stops all at once."""
    if not groups:
        return
    _check_threads()
    with signals_wait():
        from engine.processes import joined  # torch only when there is work to do

    reasons = []
    with joined() as ranks:
        for group in groups:
            try:
                train(group, ranks)
            except DivergedError as error:
                reasons.append(str(error))
        if reasons:
            raise DivergedError("; ".join(reasons))


def _check_threads() -> None:
    """UserError where OMP_NUM_THREADS is nonsense: torch's OpenMP would take all cores instead."""
    for text in os.environ.get("OMP_NUM_THREADS", "").split(","):
        variable({"OMP_NUM_THREADS": text}, "OMP_NUM_THREADS", 1, at_least=1, at_most=10_000)
