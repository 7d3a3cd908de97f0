"""The values that a number may have: said where the number is, checked in one way."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dataloader.errors import UserError

LARGEST_INTEGER = 10**9  # no count or seed here needs more
SMALLEST = 1e-30  # but for 0: float32, which the numbers are computed in, ends not far below


@dataclass(frozen=True)
class Bounds:
    """Limits of a number, those that it has; any number is finite, any integer at most 10^9, any
    number but 0 at least 1e-30 in size."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def check(self, name: str, value: float) -> None:
        """UserError, which calls the number `name`, when it is not finite or out of bounds."""
        if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
            raise UserError(f"{name} has more digits than any count or seed needs")
        if not math.isfinite(value):
            raise UserError(f"{name} is {value}: a finite number is needed")
        if 0 < abs(value) < SMALLEST:
            raise UserError(f"{name} is {value}, too small to be told from 0: at least {SMALLEST}")
        if not self._admit(value):
            raise UserError(f"{name} is {value}: {self._needed()}")

    def _admit(self, value: float) -> bool:
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def _needed(self) -> str:
        limits = {
            "at least": self.at_least,
            "above": self.above,
            "at most": self.at_most,
            "under": self.below,
        }
        return " and ".join(f"{how} {limit}" for how, limit in limits.items() if limit is not None)
