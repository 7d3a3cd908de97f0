"""From comparisons over replicates to verdicts.

A claim is a figure, or several, of which the paper says that they are above 0. *Supported*: they
are; *contradicted*: one is below 0; by a p below .05 that is corrected (Holm 1979) for the
number of claims that are looked at in the same way. Else *cannot tell*. One replicate of the
training gives no verdict, whatever its images say.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from evaluation.comparisons import HALVES, Comparison, Resampled
from evaluation.grid_values import GridValues
from evaluation.tables import Row
from metrics.bootstrap import resample_counts
from metrics.conventions import LEVEL
from metrics.intervals import ReplicateInterval, holm, over_replicates, shared_variance

RESAMPLES = 500
# How the cells are looked at. Claims of one look are corrected for their number together; what is
# only shown has no verdict.
LOOKS = ALL, HELD, SHOWN = ("all cells", "a view held", "shown")
GIVEN = "given these teachers"


@dataclass(frozen=True)
class Claim:
    """What the paper says, and the figures that are all above 0 if so. Each is measured in one or
    several ways, which then have to agree (`figures`: figure, then way). Of a figure whose sign the
    paper does not say, the claim is that it is not 0: it is not `directed`."""

    name: str
    text: str
    look: str
    figures: tuple[tuple[Comparison, ...], ...]
    directed: bool = True

    @property
    def comparisons(self) -> list[Comparison]:
        """All, in order."""
        return [way for ways in self.figures for way in ways]

    def seeds(self, grid: GridValues) -> list[int]:
        """The replicates that have all that it needs."""
        common = [set(comparison.seeds(grid)) for comparison in self.comparisons]
        return sorted(set.intersection(*common)) if common else []


@dataclass(frozen=True)
class Estimated:
    """A comparison's interval; its standard deviation over replicates (None: of one), and that of
    the images' choice, which replicates share."""

    comparison: Comparison
    interval: ReplicateInterval
    std: float | None
    image_std: float

    @property
    def sign(self) -> int:
        """Of the estimate."""
        return (self.interval.estimate > 0) - (self.interval.estimate < 0)


@dataclass(frozen=True)
class Decision:
    """A claim's p before correction, and the sign that it speaks for; 0: for none."""

    p: float
    sign: int


@dataclass(frozen=True)
class Judged:
    """A claim over so many replicates."""

    claim: Claim
    figures: tuple[tuple[Estimated, ...], ...]
    replicates: int
    shared: bool

    @property
    def tested(self) -> bool:
        """Whether it has a verdict."""
        return self.replicates > 1 and self.claim.look != SHOWN

    @property
    def decision(self) -> Decision:
        """All figures together."""
        return jointly([agreeing(ways) for ways in self.figures])


def agreeing(ways: Sequence[Estimated]) -> Decision:
    """Of one figure measured in several ways: the larger p, where all signs are one."""
    signs = {way.sign for way in ways}
    if len(signs) > 1:
        return Decision(1.0, 0)
    return Decision(max(way.interval.p for way in ways), signs.pop())


def jointly(figures: Sequence[Decision]) -> Decision:
    """Of several figures that a claim needs all of: for it, by the largest p, where all are above
    0; against it, by the least p of those below times their number, where one is."""
    if all(figure.sign > 0 for figure in figures):
        return Decision(max(figure.p for figure in figures), 1)
    against = [figure.p for figure in figures if figure.sign < 0]
    if not against:
        return Decision(1.0, 0)
    return Decision(min(1.0, len(figures) * min(against)), -1)


def judged(claims: Iterable[Claim], grid: GridValues) -> list[Row]:
    """A row for each figure and way of the claims that the grid's replicates allow; none of one
    image, of which there are no halves."""
    if grid.images < len(HALVES):
        return []
    evenly = Resampled(grid, torch.ones(1, grid.images, dtype=torch.float64))
    resampled = Resampled(grid, _counts(grid))
    known = [(claim, seeds) for claim in claims if (seeds := claim.seeds(grid))]
    found = [_judged(claim, seeds, evenly, resampled) for claim, seeds in known]
    rows: list[Row] = []
    for look in LOOKS:
        family = [judged for judged in found if judged.claim.look == look]
        corrected = iter(holm([judged.decision.p for judged in family if judged.tested]))
        for judged in family:
            p = next(corrected) if judged.tested else None
            rows += [row | {"images": grid.images} for row in _rows(judged, p)]
    return rows


def verdict(judged: Judged, corrected: float | None) -> str:
    """In words, by the rule at the top of this file."""
    if judged.claim.look == SHOWN:
        return "not judged"
    if corrected is None:
        return "no verdict: one replicate"
    sign = judged.decision.sign if corrected < LEVEL else 0
    if not judged.claim.directed:
        words = "not 0" if sign else "cannot tell"
    else:
        words = {1: "supported", 0: "cannot tell", -1: "contradicted"}[sign]
    return f"{words}, {GIVEN}" if judged.shared else words


def _judged(claim: Claim, seeds: Sequence[int], evenly: Resampled, resampled: Resampled) -> Judged:
    figures = tuple(
        tuple(
            _estimated(way, way.values(evenly, seeds)[0], way.values(resampled, seeds))
            for way in ways
        )
        for ways in claim.figures
    )
    students = [cell for comparison in claim.comparisons for cell in comparison.students]
    shared = evenly.grid.share_teachers(students, seeds)
    return Judged(claim, figures, len(seeds), shared)


def _estimated(comparison: Comparison, values: Tensor, resampled: Tensor) -> Estimated:
    per_replicate, common = values.tolist(), shared_variance(resampled)
    std = statistics.stdev(per_replicate) if len(per_replicate) > 1 else None
    return Estimated(comparison, over_replicates(per_replicate, common), std, common**0.5)


def _rows(judged: Judged, corrected: float | None) -> Iterator[Row]:
    for found in (found for ways in judged.figures for found in ways):
        interval, largest = found.interval, found.comparison.largest
        yield {
            "claim": judged.claim.name,
            "text": judged.claim.text,
            "look": judged.claim.look,
            "figure": found.comparison.words,
            "way": found.comparison.way,
            "unit": found.comparison.unit,
            "estimate": interval.estimate,
            "low": max(interval.low, -largest),
            "high": min(interval.high, largest),
            "p": interval.p,
            "holm": corrected,
            "replicates": judged.replicates,
            "teachers": "shared" if judged.shared else "own",
            "std": found.std,
            "image_std": found.image_std,
            "verdict": verdict(judged, corrected),
        }


def _counts(grid: GridValues) -> Tensor:
    """(B, n) of the resamples that hold an image of every part that a mean is taken over: images
    whose maps are kept, and each half."""
    counts = resample_counts(grid.images, resamples=RESAMPLES, seed=0)
    every = [part.taken for known in grid.overlaps.values() for part in known.values()]
    every += torch.nn.functional.one_hot(torch.arange(grid.images) % 2, 2).T.double()
    parts = torch.stack(list({part.numpy().tobytes(): part for part in every}.values()))
    return counts[(counts @ parts.T > 0).all(dim=1)]
