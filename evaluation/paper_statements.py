"""What the paper's own numbers say of its statements that are no claim of ours, on halves,
affinity, calibration and the number of teachers (`paper_claims` has the claims): each a figure that
is above 0 if they say what its text does (the gap of halves: near 0)."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch

from engine.cells import STRONG, WEAK, StudentCell, parse_student
from evaluation.paper_tables import COMPARISON, HALVES, column, datasets, published
from evaluation.tables import Row
from metrics.intervals import spearman

POINTS = 100  # from fractions
TWO, THREE = "T1s_T2w_Ss", "T1s_T2w_T3w_Ss"  # the cells that table G.5 compares
ONE = "T1w_Ss"

Numbers = Mapping[str, float]  # of each cell


@dataclass(frozen=True)
class Statement:
    """A section's statement, and its figure of a data set; None where the paper lacks a number."""

    section: str
    text: str
    figure: str
    value: Callable[[str], float | None]


def _halves(measure: str, sign: int, unit: int = 1) -> Callable[[str], float | None]:
    """Mean over the cells of `sign` times (whole minus halves)."""

    def value(dataset: str) -> float | None:
        whole, halves = column(dataset, measure), column(dataset, measure, HALVES)
        differences = [whole[cell] - value for cell, value in halves.items()]
        return unit * sign * statistics.fmean(differences) if differences else None

    return value


def _ranks(x: str, y: str, sign: int) -> Callable[[str], float | None]:
    """`sign` times Spearman's rank correlation of two columns."""

    def value(dataset: str) -> float | None:
        a, b = column(dataset, x), column(dataset, y)
        if not (a and b):
            return None
        pairs = torch.tensor([(a[cell], b[cell]) for cell in a], dtype=torch.float64)
        return sign * spearman(*pairs.T).item()

    return value


def _weak_minus_strong(measure: str) -> Callable[[str], float | None]:
    """Mean over the teachers of the weak student's minus the strong one's."""

    def value(dataset: str) -> float | None:
        numbers = column(dataset, measure)
        cells = {cell: parse_student(cell) for cell in numbers}
        strong = [cell for cell in cells.values() if cell.letter == STRONG]
        return statistics.fmean(_step(numbers, cell) for cell in strong) if strong else None

    return value


def _step(numbers: Numbers, strong: StudentCell) -> float:
    weak = StudentCell(strong.teachers, WEAK)
    return numbers[str(weak)] - numbers[str(strong)]


def _more_teachers(more: str, less: str) -> Callable[[str], float | None]:
    """Top-1 of one cell of table G.5 minus another's, points."""

    def value(dataset: str) -> float | None:
        top1 = {
            number.cell: number.value
            for number in published()
            if (number.table, number.dataset) == (COMPARISON, dataset)
        }
        return POINTS * (top1[more] - top1[less]) if {more, less} <= top1.keys() else None

    return value


STATEMENTS = (
    Statement("6.1 affinity", "stronger views, by affinity, go with higher accuracy",
              "minus the rank correlation of affinity and top-1", _ranks("affinity", "top1", -1)),
    Statement("C halves", "teachers of halves overlap less",
              "IoU, whole minus halves", _halves("iou", 1)),
    Statement("C halves", "... and are followed less",
              "fidelity, whole minus halves", _halves("fidelity", 1)),
    Statement("C halves", "... at a comparable gap (near 0)",
              "gap, points, halves minus whole", _halves("gap", -1, POINTS)),
    Statement("G teachers", "more teachers are better",
              f"top-1, points: {TWO} minus {ONE}", _more_teachers(TWO, ONE)),
    Statement("G teachers", "more teachers are better",
              f"top-1, points: {THREE} minus {TWO}", _more_teachers(THREE, TWO)),
    Statement("H calibration", "strong views calibrate",
              "ECE, weak minus strong students", _weak_minus_strong("ece")),
    Statement("H calibration", "stronger views, by affinity, calibrate",
              "rank correlation of affinity and ECE", _ranks("affinity", "ece", 1)),
)  # fmt: skip


def statement_rows() -> Iterator[Row]:
    """A row a statement: its figure in each of the paper's data sets that has it."""
    for statement in STATEMENTS:
        row: Row = {"claim": statement.section, "text": statement.text, "figure": statement.figure}
        values = {dataset: statement.value(dataset) for dataset in datasets()}
        yield row | {dataset: value for dataset, value in values.items() if value is not None}
