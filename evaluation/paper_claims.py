"""What the paper's own tables say, by the figures that the claims are judged by. It has one number
of a cell: there is nothing to judge by."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import torch

from engine.cells import PAPER_LETTERS, StudentCell, parse_student
from evaluation.claims import MIXED, PURE, Figures, Letters, about_students, by_view, mixture
from evaluation.comparisons import IOU, MeanDifference, Resampled
from evaluation.grid_values import (
    AFFINITY,
    FIDELITY,
    GAP,
    OVERLAP,
    TOP1,
    GridValues,
    SeededStudent,
    students_of,
)
from evaluation.paper_tables import column, datasets
from evaluation.per_image import PerImage, Printed
from evaluation.tables import Row
from evaluation.verdicts import Claim

PRINTED = {
    TOP1: "top1", FIDELITY: "fidelity", GAP: "gap", OVERLAP: "iou", AFFINITY: "affinity"
}  # fmt: skip
ONE = 1  # the replicate


def paper_rows(*, with_undirected: bool = True) -> list[Row]:
    """A row for each figure: its value in each of the paper's data sets that has it. Without the
    undirected, only of claims whose sign the paper says."""
    return [dict(row) for row, directed in _rows() if directed or with_undirected]


@cache
def _rows() -> tuple[tuple[Row, bool], ...]:
    """All rows, each with whether its claim is directed: two pages of a report show them."""
    found: dict[tuple[str, str], tuple[Row, bool]] = {}
    for dataset in datasets():
        grid = printed_grid(dataset)
        numbers = Resampled(grid, torch.ones(1, 1, dtype=torch.float64))
        claims = (*_about_overlap(grid), *about_students(grid))
        for claim in claims:
            for comparison in claim.comparisons if claim.seeds(grid) else ():
                about: Row = {"claim": claim.name, "text": claim.text, "figure": comparison.words}
                row, _ = found.setdefault((claim.name, comparison.words), (about, claim.directed))
                row[dataset] = comparison.values(numbers, [ONE]).item()
    return tuple(found.values())


def printed_grid(dataset: str) -> GridValues:
    """The eight cells of two teachers of one of the paper's data sets."""
    students: dict[str, dict[SeededStudent, PerImage]] = {
        measure: {
            (parse_student(cell), ONE): Printed(value)
            for cell, value in column(dataset, name).items()
        }
        for measure, name in PRINTED.items()
    }
    return GridValues(1, students, {}, dict.fromkeys(students[TOP1], ONE))


def _about_overlap(grid: GridValues) -> Iterator[Claim]:
    """There the overlap is of the maps under each student's view."""

    def of(letters: Letters, name: str) -> list[StudentCell]:
        cells = students_of((1, 2), 2, PAPER_LETTERS)
        return [c for c in cells if c.letter in letters and mixture(c.teachers) == name]

    def minus(letters: Letters, more: str, less: str) -> MeanDifference:
        words, (high, low) = (
            f"IoU: {more} minus {less} teachers",
            (of(letters, n) for n in (more, less)),
        )
        return MeanDifference(words, OVERLAP, high, low, unit=IOU)

    def pure(letters: Letters, _: bool) -> Figures:
        return ((minus(letters, *PURE),),)

    def mixed(letters: Letters, _: bool) -> Figures:
        return tuple((minus(letters, name, MIXED),) for name in PURE)

    yield from by_view(
        "6.1 overlap", "a strong view lowers the overlap of the teachers' attention", pure
    )
    yield from by_view("6.1 mixed overlap", "mixed teachers overlap least", mixed)
