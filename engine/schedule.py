"""The learning rate of each epoch, as a factor of the base rate. A pure function of the epoch,
so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math
from collections.abc import Sequence

SCHEDULES = ("multistep", "cosine")


def learning_rate_factors(
    schedule: str,
    epochs: int,
    *,
    milestones: Sequence[int] = (),
    decay: float = 0.1,
    warmup_epochs: int = 0,
    cosine_period: int = 0,
    cosine_end: float = 0.0,
) -> list[float]:
    """Factors of epochs 0 to epochs-1: a linear warm-up, (e+1)/warmup_epochs, then the schedule.

    "multistep" multiplies by `decay` at each milestone; "cosine" falls from 1 at the end of the
    warm-up to `cosine_end` in `cosine_period` epochs (0: those that are left), then rises again, as
    torch's CosineAnnealingLR has it (Loshchilov and Hutter 2017, without restarts).
    """
    period = cosine_period or epochs - warmup_epochs

    def after_warmup(epoch: int) -> float:
        if schedule == "cosine":
            falling = (1 + math.cos(math.pi * (epoch - warmup_epochs) / period)) / 2
            return cosine_end + (1 - cosine_end) * falling
        return decay ** sum(epoch >= milestone for milestone in milestones)

    return [
        (epoch + 1) / warmup_epochs if epoch < warmup_epochs else after_warmup(epoch)
        for epoch in range(epochs)
    ]
