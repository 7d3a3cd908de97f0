"""Seconds of alternatives, timed in turns so that both sides meet the same machine."""

from __future__ import annotations

import statistics
import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence

from common.errors import OneLineParser
from common.settings import Bounds, read_as


def count(text: str) -> int:
    """A number of repeats or images, as argparse reads it."""
    try:
        Bounds(at_least=1).check("the number", number := read_as(int, text))
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
    return number


class BenchmarkParser(OneLineParser):
    """The flags that benchmarks share."""

    def __init__(self, about: str) -> None:
        super().__init__(description=about.split("\n")[0])
        self.add_argument("--repeats", type=count, default=3)
        self.add_argument("--device", default="auto")


Action = Callable[[], object]


def timed(action: Action) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def medians(actions: Sequence[Action], repeats: int) -> list[float]:
    """Median seconds of each action, after one call of each to warm up."""
    for action in actions:
        action()
    rounds = [[timed(action) for action in actions] for _ in range(repeats)]
    return [statistics.median(times) for times in zip(*rounds, strict=True)]
