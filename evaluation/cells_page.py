"""runs/<set>/report/cells.md: each cell's figures over its seeds with 95% intervals."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence

from engine.cells import StudentCell, parse_cell
from evaluation.measures import (
    AFFINITY,
    AGREEMENT,
    ALIGNMENTS,
    CALIBRATION,
    DISAGREEMENT,
    ENTROPIES,
    FIDELITIES,
    INFORMATION,
    OVERLAP,
    RUN_ACCURACY,
    RUN_AGREEMENT,
    RUN_INFORMATION,
)
from evaluation.tables import Column, Row
from metrics.intervals import half_width

NOTE = (
    "Mean ± 95% interval by Student's t over n seeds, with the standard deviation in brackets (one "
    "seed: the value alone, of IoU with its 95% interval over images in square brackets); test "
    "images; the last epoch unless named; the best one is chosen on the {selected_on} images. "
    "**Bold**: top-1 differs from that of the student of the same view without a teacher; the 95% "
    "interval of the difference, paired by seed, leaves out 0. Nothing is corrected for the number "
    "of cells. Every column, fidelity to each teacher under each view "
    "among them, is in ../results.csv."
)
PARTS: Mapping[str, tuple[str, Sequence[Column]]] = {
    "Accuracy and calibration": (
        "Gap: training minus validation top-1.", (*RUN_ACCURACY, *CALIBRATION, *AFFINITY)
    ),
    "Agreement with the teachers": (
        "Fidelity: the share of images on which both name the same class; test view of the test "
        "images unless the heading says otherwise (another view of the test images, test view of "
        "the training images). Kappa and error consistency: fidelity above what chance and "
        "accuracy give. Where the student alone is right minus where the ensemble alone is: top-1 "
        "of the student minus the ensemble. Those two, and where both are wrong and apart "
        "(with different classes), are all that fidelity lacks.",
        (*RUN_AGREEMENT, *FIDELITIES, *AGREEMENT, *DISAGREEMENT),
    ),
    "Information": (
        "In nats; of the student and the ensemble of its teachers.",
        (*RUN_INFORMATION, *ENTROPIES, *INFORMATION),
    ),
    "Representations": (
        "Linear CKA, without bias, of what the models' classifiers are given, on test images: 0 on "
        "average where features have nothing in common, 1 where they are the same up to rotation "
        "and scale. S is the student.",
        ALIGNMENTS,
    ),
    "Attention": (
        "Overlap of the masks, and that of masks of different images.",
        tuple(itertools.chain.from_iterable(OVERLAP.values())),
    ),
}  # fmt: skip


def cells_page(
    rows: Sequence[Row],
    top1: Mapping[str, Mapping[int, float]],
    dataset: str,
    selected_on: str = "test",
) -> str:
    """Rows of the report as Markdown; top1: of each cell by seed; selected_on: the images that
    chose the best epoch."""
    lines = [f"# The cells of {dataset}", "", NOTE.format(selected_on=selected_on)]
    for title, (note, columns) in PARTS.items():
        shown = [column for column in columns if column.heading and _of_some(rows, column.reported)]
        if shown:
            lines += ["", f"## {title}", "", note, "", *_table(rows, shown, top1)]
    return "\n".join([*lines, ""])


def _table(
    rows: Sequence[Row], columns: Sequence[Column], top1: Mapping[str, Mapping[int, float]]
) -> list[str]:
    """The rows that have one of the columns."""
    titles = " | ".join(column.title for column in columns)
    lines = [f"| cell | n | {titles} |", "|---" * (len(columns) + 2) + "|"]
    for row in rows:
        if all(row.get(column.reported) is None for column in columns):
            continue
        texts = [figure_text(row, column) for column in columns]
        if columns[0] is RUN_ACCURACY[0] and _differs(row["cell"], top1):
            texts[0] = f"**{texts[0]}**"
        lines.append(f"| {row['cell']} | {row['seeds']} | " + " | ".join(texts) + " |")
    return lines


def _of_some(rows: Sequence[Row], name: str) -> bool:
    return any(row.get(name) is not None for row in rows)


def figure_text(row: Row, column: Column) -> str:
    """A column's mean in a row over seeds, with its interval, deviation and n; a dash without."""
    name, decimals = column.reported, column.decimals
    value, std = row.get(name), row.get(f"{name}_std")
    if value is None:
        return "-"
    n = row[f"{name}_n"] if f"{name}_n" in row else row["seeds"]
    of = "" if n == row["seeds"] else f", n = {n}"
    text = f"{value:.{decimals}f}"
    if std is None:
        return text + _over_images(row, name, decimals)
    return f"{text} ± {half_width(std, n):.{decimals}f} ({std:.{decimals}f}{of})"


def _over_images(row: Row, name: str, decimals: int) -> str:
    """The interval over test images of one seed's mean, where it is known."""
    low, high = (row.get(f"{name}_{end}") for end in ("low", "high"))
    if low is None or high is None:
        return ""
    return f" [{low:.{decimals}f} to {high:.{decimals}f}]"


def _differs(name: str, top1: Mapping[str, Mapping[int, float]]) -> bool:
    cell = parse_cell(name)
    if not (isinstance(cell, StudentCell) and cell.teachers):
        return False
    values, alone = top1.get(name, {}), top1.get(f"S{cell.letter}", {})
    differences = [values[seed] - alone[seed] for seed in sorted(values.keys() & alone.keys())]
    if len(differences) < 2:
        return False
    width = half_width(statistics.stdev(differences), len(differences))
    return abs(statistics.fmean(differences)) > width
