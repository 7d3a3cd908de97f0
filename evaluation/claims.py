"""The paper's claims, each as a number with an interval and a verdict that follows from it.

A claim is a statistic of the grid: a function from weights of the test images (R, n) to its value
for each resample and seed (R, S). The expected sign of every one is written so that a value above
0 is what the paper says. The rule: *supported* where the whole interval is above 0, *contradicted*
where it is below, else *cannot tell*; with one seed there is no verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dataloader.views import VIEW_LETTERS
from engine.cells import PAPER_LETTERS, STRONG, WEAK, StudentCell, TeacherCell, student_cells
from evaluation.grid_values import GridValues, PerImage, SeededStudent
from evaluation.tables import Row
from metrics.bootstrap import resample_weights
from metrics.intervals import Estimate, jackknife_values, over_seeds_and_images, spearman

RESAMPLES = 500
LEAST_CELLS = 3  # that a rank correlation is taken of

Statistic = Callable[[Tensor], Tensor]  # weights (R, n) -> (R, S)
Values = Callable[[StudentCell, int, Tensor], Tensor]  # of a student's seed: weights -> (R,)


@dataclass(frozen=True)
class Claim:
    """What the paper says, and the figure that would be above 0 if so, at most `largest`."""

    number: str
    text: str
    figure: str
    statistic: Statistic
    largest: float = 1.0


def judged(grid: GridValues) -> list[Row]:
    """A row for each claim that the grid's cells allow: estimate, interval, n and verdict."""
    weights = _weights(grid)
    evenly = torch.full((1, grid.images), 1 / grid.images, dtype=torch.float64)
    return [_row(claim, grid.images, evenly, weights) for claim in claims(grid)]


def _weights(grid: GridValues) -> Tensor:
    """(R, n) of the resamples that hold an image of those whose maps are kept: of no images there
    is no mean."""
    weights = resample_weights(grid.images, resamples=RESAMPLES, seed=0)
    for index in {tuple(own.index.tolist()) for own in grid.plain.values()}:
        weights = weights[weights[:, list(index)].sum(dim=1) > 0]
    return weights


def verdict(estimate: Estimate) -> str:
    """In words, by the rule at the top of this file."""
    if estimate.seeds == 1:
        return "no verdict: one seed"
    if estimate.low > 0:
        return "supported"
    return "contradicted" if estimate.high < 0 else "cannot tell"


def claims(grid: GridValues) -> Iterator[Claim]:
    """Those that can be asked of the cells that are there. The paper's are of two views: students
    of others, which few seeds may have, change no verdict."""
    papers = grid.of_views(PAPER_LETTERS)
    yield from _about_teachers(papers)
    yield from _correlations(papers)
    yield from _about_accuracy(papers)


def _row(claim: Claim, images: int, evenly: Tensor, weights: Tensor) -> Row:
    estimate = over_seeds_and_images(claim.statistic(evenly)[0], claim.statistic(weights))
    low, high = max(estimate.low, -claim.largest), min(estimate.high, claim.largest)
    known = estimate.seeds > 1
    return {
        "claim": claim.number,
        "text": claim.text,
        "figure": claim.figure,
        "estimate": estimate.mean,
        "low": low if known else None,
        "high": high if known else None,
        "seeds": estimate.seeds,
        "images": images,
        "verdict": verdict(estimate),
    }


def _about_teachers(grid: GridValues) -> Iterator[Claim]:
    """Claim 1. The units are teachers, not students: each pair shares its members with others, so
    the spread is the jackknife's over teachers' numbers."""
    text = "a strong view lowers the overlap of the teachers' attention"
    for number, overlaps, what in (("1", grid.corrected, "IoU above chance"),
                                   ("1, plain", grid.plain, "IoU")):  # fmt: skip
        if all(_pair(a, b, letter) in overlaps for a, b in _PAIRS for letter in PAPER_LETTERS):
            figure = f"{what} of two weak teachers minus that of two strong ones"
            yield Claim(number, text, figure, _pairs_of_teachers(overlaps))


def _correlations(grid: GridValues) -> Iterator[Claim]:
    """Claims 2 and 3, and 3c that joins them: Spearman's rank correlation over the cells of a
    number of teachers, since three masks overlap less than two; the mean over those numbers, by
    their cells."""
    top1, fidelity, gap = _top1(grid), _of(grid.fidelity), _gap(grid)

    def overlap(cell: StudentCell, seed: int, weights: Tensor) -> Tensor:
        return grid.corrected[cell.teachers].mean(weights)

    taught = [cell for cell in grid.cells if grid.known(grid.fidelity, cell)]
    graded = [cell for cell in taught if grid.known(grid.train_top1, cell)]
    seen = [cell for cell in taught if cell.teachers in grid.corrected]
    cases = (
        ("2", "lower overlap goes with lower fidelity", "IoU above chance and fidelity",
         overlap, fidelity, 1, seen),
        ("3a", "lower fidelity goes with a smaller generalisation gap", "fidelity and gap",
         fidelity, gap, 1, graded),
        ("3b", "lower fidelity goes with higher accuracy", "fidelity and top-1",
         fidelity, top1, -1, taught),
        ("3c", "lower overlap goes with higher accuracy", "IoU above chance and top-1",
         overlap, top1, -1, seen),
    )  # fmt: skip
    for number, text, what, x, y, sign, cells in cases:
        for suffix, strata, over in (
            ("", _strata(cells, lambda c: len(c.teachers)), ""),
            (", view held", _strata(cells, lambda c: (len(c.teachers), c.letter)),
             ", students of one view at a time"),
        ):  # fmt: skip
            seeds = grid.seeds_of([cell for stratum in strata for cell in stratum])
            if seeds:
                figure = f"{'minus the ' if sign < 0 else ''}rank correlation of {what}{over}"
                statistic = _rank_correlation(x, y, strata, seeds, sign)
                yield Claim(f"{number}{suffix}", text, figure, statistic)


def _about_accuracy(grid: GridValues) -> Iterator[Claim]:
    """Claims 4 to 6: differences of mean top-1 between groups of cells, in points."""
    there = set(grid.cells)
    twins = [cell for cell in grid.cells if StudentCell(cell.teachers, WEAK) in there
             and StudentCell(cell.teachers, STRONG) in there]  # fmt: skip
    weak, strong = ([cell for cell in twins if cell.letter == own] for own in PAPER_LETTERS)
    students = {k: student_cells(k, letters=PAPER_LETTERS) for k in range(4)}
    what = "strong minus weak students, the same teachers"
    cases = [("4", "strong students beat weak ones", what, strong, weak)]
    for k in (1, 2, 3):
        cases.append((f"5, {k}T", "more teachers help", f"{k} teachers minus {k - 1}",
                      students[k], students[k - 1]))  # fmt: skip
    for k in (2, 3):
        groups = {m: [c for c in students[k] if mixture(c.teachers) == m] for m in _MIXTURES}
        text = "students of mixed teachers lie between"
        weak, mixed, strong = (groups[name] for name in _MIXTURES)
        cases.append((f"6, {k}T low", text, "mixed minus weak teachers", mixed, weak))
        cases.append((f"6, {k}T high", text, "strong minus mixed teachers", strong, mixed))
    for number, text, figure, more, less in cases:
        seeds = grid.seeds_of([*more, *less]) if more and less else []
        if seeds:
            yield Claim(number, text, f"top-1, points: {figure}",
                        _difference(_top1(grid), more, less, seeds), 100.0)  # fmt: skip


_MIXTURES = ("weak", "mixed", "strong")
_PAIRS = ((1, 2), (1, 3), (2, 3))


def mixture(teachers: Sequence[TeacherCell]) -> str:
    """The view of several teachers, or "mixed"."""
    letters = {teacher.letter for teacher in teachers}
    return "mixed" if len(letters) > 1 else VIEW_LETTERS[letters.pop()]


def _pair(a: int, b: int, letter: str) -> tuple[TeacherCell, ...]:
    return TeacherCell(a, letter), TeacherCell(b, letter)


def _pairs_of_teachers(overlaps: Mapping[tuple[TeacherCell, ...], PerImage]) -> Statistic:
    def statistic(weights: Tensor) -> Tensor:
        without = [  # teacher 3, 2 and 1 in turn
            overlaps[_pair(a, b, WEAK)].mean(weights) - overlaps[_pair(a, b, STRONG)].mean(weights)
            for a, b in _PAIRS
        ]
        return jackknife_values(torch.stack(without)).T

    return statistic


def _difference(
    values: Values, more: Sequence[StudentCell], less: Sequence[StudentCell], seeds: Sequence[int]
) -> Statistic:
    def statistic(weights: Tensor) -> Tensor:
        high, low = (_matrix(values, cells, seeds, weights) for cells in (more, less))
        return 100 * (high.mean(2) - low.mean(2))

    return statistic


def _rank_correlation(
    x: Values, y: Values, strata: Sequence[Sequence[StudentCell]], seeds: Sequence[int], sign: int
) -> Statistic:
    def statistic(weights: Tensor) -> Tensor:
        found = [
            len(cells) * spearman(*(_matrix(v, cells, seeds, weights) for v in (x, y)))
            for cells in strata
        ]
        return sign * torch.stack(found).sum(0) / sum(map(len, strata))

    return statistic


def _matrix(
    values: Values, cells: Sequence[StudentCell], seeds: Sequence[int], weights: Tensor
) -> Tensor:
    """(R, S, C)."""
    rows = [torch.stack([values(cell, seed, weights) for cell in cells], 1) for seed in seeds]
    return torch.stack(rows, 1)


def _strata(
    cells: Sequence[StudentCell], key: Callable[[StudentCell], object]
) -> list[list[StudentCell]]:
    found: dict[object, list[StudentCell]] = {}
    for cell in cells:
        found.setdefault(key(cell), []).append(cell)
    return [group for group in found.values() if len(group) >= LEAST_CELLS]


def _of(values: Mapping[SeededStudent, PerImage]) -> Values:
    return lambda cell, seed, weights: values[cell, seed].mean(weights)


def _top1(grid: GridValues) -> Values:
    return _of(grid.top1)


def _gap(grid: GridValues) -> Values:
    def gap(cell: StudentCell, seed: int, weights: Tensor) -> Tensor:
        return grid.train_top1[cell, seed] - grid.top1[cell, seed].mean(weights)

    return gap
