"""The figures that claims are judged by: comparisons of cells, with a value for each replicate.

A comparison knows which students it is about, which replicates have all that it needs, and its
values (B, R) in R of them over B resamples of the images.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol

import torch
from torch import Tensor

from engine.cells import StudentCell
from evaluation.grid_values import GridValues, Teachers
from metrics.intervals import spearman
from metrics.regression import slope_within

Cells = Sequence[StudentCell]
POINTS, IOU, CORRELATION, SLOPE = ("points", "IoU", "correlation", "slope")
HALVES = ((0, 1), (1, 0))  # of the images: those of one variable, then those of the other


@dataclass
class Resampled:
    """The numbers of a grid over counts (B, n) of its images, each made once."""

    grid: GridValues
    counts: Tensor
    _made: dict[tuple[object, ...], Tensor] = field(default_factory=dict, repr=False)

    def students(
        self, measure: str, cells: Cells, seeds: Sequence[int], half: int | None = None
    ) -> Tensor:
        """(B, R, C) of the cells in replicates, over all images or every other one."""
        rows = [[self._student(measure, cell, seed, half) for cell in cells] for seed in seeds]
        return torch.stack([torch.stack(row, 1) for row in rows], 1)

    def teachers(self, rule: str, sets: Sequence[Teachers], seeds: Sequence[int]) -> Tensor:
        """(B, R) mean overlap of several sets of teachers in replicates."""
        rows = [[self._set(rule, teachers, seed) for teachers in sets] for seed in seeds]
        return torch.stack([torch.stack(row).mean(0) for row in rows], 1)

    def _student(self, measure: str, cell: StudentCell, seed: int, half: int | None) -> Tensor:
        def make() -> Tensor:
            values = self.grid.of(measure)[cell, seed]
            return (values if half is None else values.half(half)).over(self.counts)

        return self._once((measure, cell, seed, half), make)

    def _set(self, rule: str, teachers: Teachers, seed: int) -> Tensor:
        overlap = self.grid.overlaps[rule][teachers, seed]
        return self._once((rule, teachers, seed), lambda: overlap.over(self.counts))

    def _once(self, key: tuple[object, ...], make: Callable[[], Tensor]) -> Tensor:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


class Comparison(Protocol):
    """What a claim asks of a figure."""

    @property
    def words(self) -> str:
        """What it is."""

    @property
    def way(self) -> str:
        """How it is measured, of several ways; else empty."""

    @property
    def unit(self) -> str:
        """Of its values."""

    @property
    def largest(self) -> float:
        """Of its absolute value."""

    @property
    def students(self) -> Cells:
        """The students that it is about; none if it is of teachers."""

    def seeds(self, grid: GridValues) -> list[int]:
        """The replicates that have all that it needs."""

    def values(self, numbers: Resampled, seeds: Sequence[int]) -> Tensor:
        """(B, R)."""


@dataclass(frozen=True)
class MeanDifference:
    """Mean of a measure over some cells minus that over others, in points or as it is."""

    words: str
    measure: str
    more: Cells
    less: Cells
    way: str = ""
    unit: str = POINTS

    @property
    def largest(self) -> float:
        """What a difference of 1 is in its unit."""
        return 100.0 if self.unit == POINTS else 1.0

    @property
    def students(self) -> Cells:
        """Of both sides; none where one side is empty."""
        return [*self.more, *self.less] if self.more and self.less else []

    def seeds(self, grid: GridValues) -> list[int]:
        """Those that have every cell."""
        return grid.seeds_of(self.students, self.measure)

    def values(self, numbers: Resampled, seeds: Sequence[int]) -> Tensor:
        """(B, R)."""
        more, less = (numbers.students(self.measure, c, seeds) for c in (self.more, self.less))
        return self.largest * (more.mean(2) - less.mean(2))


@dataclass(frozen=True)
class TeachersDifference:
    """Mean overlap of some sets of teachers minus that of others. A replicate is one of teachers:
    none are shared."""

    words: str
    way: str  # the rule that makes masks
    more: Sequence[Teachers]
    less: Sequence[Teachers]
    unit: str = IOU
    largest: float = math.inf  # of IoU above chance
    students: Cells = ()

    def seeds(self, grid: GridValues) -> list[int]:
        """Those of teachers that have every set."""
        return grid.teacher_seeds_of(self.way, [*self.more, *self.less])

    def values(self, numbers: Resampled, seeds: Sequence[int]) -> Tensor:
        """(B, R)."""
        more, less = (numbers.teachers(self.way, s, seeds) for s in (self.more, self.less))
        return more - less


@dataclass(frozen=True)
class Association(ABC):
    """How two measures of a student go together over the cells of each stratum, times `sign`.

    halves: each from its own half of the images, the mean of both ways round, since measures that
    are made of the same rights and wrongs go together by the choice of images alone.
    """

    words: str
    x: str
    y: str
    strata: Sequence[Cells]
    sign: int = 1
    halves: bool = False
    way: str = ""
    unit: str = SLOPE
    largest: float = math.inf
    needs: tuple[str, ...] = ()  # measures besides

    @property
    def students(self) -> Cells:
        """Of all strata."""
        return list(chain.from_iterable(self.strata))

    def seeds(self, grid: GridValues) -> list[int]:
        """Those that have every cell."""
        return grid.seeds_of(self.students, self.x, self.y, *self.needs)

    def values(self, numbers: Resampled, seeds: Sequence[int]) -> Tensor:
        """(B, R)."""
        ways = HALVES if self.halves else ((None, None),)
        found = []
        for of_x, of_y in ways:
            x, *besides = (
                numbers.students(measure, self.students, seeds, of_x)
                for measure in (self.x, *self.needs)
            )
            found.append(
                self._of(x, numbers.students(self.y, self.students, seeds, of_y), *besides)
            )
        return self.sign * torch.stack(found).mean(0)

    @property
    def _sizes(self) -> list[int]:
        return list(map(len, self.strata))

    @abstractmethod
    def _of(self, x: Tensor, y: Tensor, *besides: Tensor) -> Tensor:
        """(B, R); each (B, R, S) of S students."""


@dataclass(frozen=True)
class RankCorrelation(Association):
    """Spearman's, the mean over strata by their cells."""

    unit: str = CORRELATION
    largest: float = 1.0

    def _of(self, x: Tensor, y: Tensor, *besides: Tensor) -> Tensor:
        parts = zip(*(v.split(self._sizes, dim=-1) for v in (x, y)), strict=True)
        found = [part.shape[-1] * spearman(part, other) for part, other in parts]
        return torch.stack(found).sum(0) / sum(self._sizes)


@dataclass(frozen=True)
class Slope(Association):
    """Of y on x, with an intercept for each stratum, given what it `needs` besides."""

    def _of(self, x: Tensor, y: Tensor, *besides: Tensor) -> Tensor:
        return slope_within(x, y, self._sizes, *besides)


@dataclass(frozen=True)
class Minus:
    """One comparison minus another in the replicates that have both."""

    words: str
    first: Comparison
    second: Comparison

    @property
    def way(self) -> str:
        """Of both."""
        return self.first.way

    @property
    def unit(self) -> str:
        """Of both."""
        return self.first.unit

    @property
    def largest(self) -> float:
        """Where the two are as far apart as can be."""
        return self.first.largest + self.second.largest

    @property
    def students(self) -> Cells:
        """Of both."""
        return [*self.first.students, *self.second.students]

    def seeds(self, grid: GridValues) -> list[int]:
        """Those of both."""
        return sorted({*self.first.seeds(grid)} & {*self.second.seeds(grid)})

    def values(self, numbers: Resampled, seeds: Sequence[int]) -> Tensor:
        """(B, R)."""
        return self.first.values(numbers, seeds) - self.second.values(numbers, seeds)
