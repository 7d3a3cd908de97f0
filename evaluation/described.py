"""What is shown of cells and pairs of teachers without a verdict: means over replicates."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

import torch

from engine.cells import Cell, StudentCell, joined
from evaluation.replicate import Looking, Replicate
from evaluation.study_figures import (
    DOSED,
    HALVES,
    OF_LABEL,
    PLACEBO,
    SAME_HALF,
    Teachers,
    standardised,
)
from evaluation.tables import Row
from metrics.conventions import THRESHOLD

OF_CELLS = ("top-1, %", "fidelity, %")
OVERLAPS = {
    "IoU above chance, label, equal area": OF_LABEL,
    f"IoU above chance, ensemble's class, threshold {THRESHOLD}":
        Looking("ensemble", threshold=THRESHOLD),
}  # fmt: skip
OF_PAIRS = ("teachers' top-1, %", "teachers' agreement, %", "ensemble's top-1, %",
            "ensemble's margin", *OVERLAPS, "left out in standardising, %")  # fmt: skip
COMPARED = {DOSED: PLACEBO, HALVES: SAME_HALF}  # standardised
OF_HALVES = (
    "Two teachers that see other halves of an image overlap by 0 in the image's own coordinates, "
    "by construction. IoU here compares places of the halves, as the paper does."
)


def described(replicate: Replicate, students: Sequence[StudentCell]) -> list[Row]:
    """Rows of figure, cell and value: of the students and their teachers, and of every two
    teachers that teach together."""
    teachers = dict.fromkeys(teacher for cell in students for teacher in cell.teachers)
    pairs = {cell.teachers: cell for cell in students
             if len(cell.teachers) == 2 and cell.variant is None}  # fmt: skip
    cells: list[Cell] = [*teachers, *students]
    rows = [_of_cell(replicate, cell) for cell in cells]
    rows += [_of_pair(replicate, cell) for cell in pairs.values()]
    rows += [_of_two_pairs(replicate, *two) for two in COMPARED.items() if pairs.keys() >= {*two}]
    return [row for part in rows for row in part]


def _of_cell(replicate: Replicate, cell: Cell) -> Iterator[Row]:
    yield _row(OF_CELLS[0], str(cell), 100 * replicate.right(cell).mean())
    if isinstance(cell, StudentCell) and cell.teachers:
        yield _row(OF_CELLS[1], str(cell), 100 * replicate.agrees(cell).mean())


def _of_pair(replicate: Replicate, cell: StudentCell) -> Iterator[Row]:
    ensemble, name = replicate.ensemble(cell), joined(cell.teachers)
    rights = torch.stack([replicate.right(teacher) for teacher in cell.teachers])
    shares = (rights.mean(), ensemble.unanimous.double().mean(), ensemble.right.double().mean())
    for figure, share in zip(OF_PAIRS, shares, strict=False):
        yield _row(figure, name, 100 * share)
    yield _row(OF_PAIRS[3], name, ensemble.margin.mean())
    for figure, looking in OVERLAPS.items():
        yield _row(figure, name, replicate.above_chance(cell, looking).mean())


def _of_two_pairs(replicate: Replicate, a: Teachers, b: Teachers) -> Iterator[Row]:
    try:
        left_out = standardised(replicate, a, b).left_out
    except ValueError:  # no stratum is in both, or a student is missing
        return
    yield _row(OF_PAIRS[-1], joined(a), 100 * torch.tensor(left_out))


def _row(figure: str, cell: str, value: torch.Tensor) -> Row:
    return {"figure": figure, "cell": cell, "value": value.item()}


def sections(replicates: Sequence[Sequence[Row]]) -> list[str]:
    """Two parts of a page: the pairs, and the cells."""
    lines: list[str] = []
    for title, figures in (("Teachers together", OF_PAIRS), ("Cells", OF_CELLS)):
        lines += ["", f"## {title}", "", "Mean ± standard deviation over replicates.", ""]
        lines += _table(replicates, figures)
    if any(row["cell"] == joined(HALVES) for rows in replicates for row in rows):
        lines += ["", OF_HALVES]
    return lines


def _table(replicates: Sequence[Sequence[Row]], figures: Sequence[str]) -> list[str]:
    """A line for each cell that has one of the figures, over the replicates that have it."""
    values: dict[str, dict[str, list[float]]] = {}
    for row in (row for rows in replicates for row in rows if row["figure"] in figures):
        values.setdefault(row["cell"], {}).setdefault(row["figure"], []).append(row["value"])
    lines = [f"| cell | {' | '.join(figures)} |", "|---" * (len(figures) + 1) + "|"]
    for cell, by_figure in values.items():
        texts = [_spread(by_figure.get(figure, [])) for figure in figures]
        lines.append(f"| {cell} | {' | '.join(texts)} |")
    return lines


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    mean = f"{statistics.fmean(values):.3f}"
    return f"{mean} ± {statistics.stdev(values):.3f}" if len(values) > 1 else mean
