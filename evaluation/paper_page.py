"""runs/<set>/report/paper.md: the paper's tables beside the same numbers of these runs, and one
figure for each of its sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from common.files import write_text
from evaluation.cells_page import figure_text
from evaluation.figures import saved
from evaluation.measures import OWN_VIEW
from evaluation.paper_claims import paper_rows
from evaluation.paper_statements import statement_rows
from evaluation.paper_tables import COMPARISON, HALVES, WHOLE, column, datasets, published
from evaluation.section_figures import Section, drawn_sections
from evaluation.tables import Column, Row
from metrics.intervals import spearman

NOTE = (
    "Cell by cell: the paper's number (one run), then that of these runs, mean ± 95% interval by "
    "Student's t over seeds, with the standard deviation in brackets (one seed: the value alone). "
    "Below each table, how alike the cells are ordered: Spearman's rank correlation of the two "
    "columns, over the cells that both have."
)
DIFFERENT = (
    "The paper's ECE is the unweighted mean over 10 bins of augmented training images, its IoU is "
    "of class-sum maps pooled over batches, its top-1 that of the epoch best on the test images; "
    "here: 15 weighted bins of test images, maps of the class that the ensemble predicts, and the "
    "best epoch with the last beside it (docs/measures.md)."
)
OWN_NUMBERS = (
    "Above 0 is what the paper's text says (of the gap of halves: near 0). n = 8 cells, of one run "
    "each (table G.5: one run minus another): by our rules there is no verdict without seeds, so "
    "only the direction is told. First the figures by which claims are judged (docs/claims.md), "
    "then statements that are no claim there."
)
HALVED = "halves"  # the variant of students whose teachers are asked about halves
DEFAULT = "CIFAR100"  # the paper's numbers that stand beside those of another set
NOTHING: Row = {"seeds": 0}  # of a cell that was not trained
LEAST = 3  # cells, of a rank correlation
TOP1 = (
    Column("top1_best", "top-1", 1, "%"),
    Column("top1_last", "top-1 of the last epoch", 1, "%"),
)


@dataclass(frozen=True)
class Beside:
    """A measure of the paper and the report's column that stands beside it, and others to show."""

    measure: str
    column: Column
    more: tuple[Column, ...] = ()

    def scaled(self, value: float) -> float:
        """The paper's fraction in the column's unit."""
        return 100 * value if self.column.unit else value


FIRST = (
    Beside("affinity", Column("affinity", "affinity")),
    Beside("top1", *TOP1[:1], TOP1[1:]),
    Beside("ece", Column("ece", "ECE")),
)
SECOND = (
    Beside("gap", Column("gap_points", "gap", 1, "points")),
    Beside("iou", Column("iou_teachers", "IoU of the teachers")),
    Beside("fidelity", OWN_VIEW["fidelity", "training"], (OWN_VIEW["fidelity", "test"],)),
)


def publish_paper(rows: Sequence[Row], folder: Path, dataset: str) -> list[Path]:
    """Write the page and its figures for the report's rows; returns the paths."""
    sections = drawn_sections(rows)
    page = folder / "paper.md"
    write_text(page, paper_page(rows, sections, dataset))
    files = [
        saved(section.figure, folder / f"{section.name}.{kind}", dpi=150)
        for section in sections
        for kind in ("png", "pdf")
    ]
    return [page, *files]


def paper_page(rows: Sequence[Row], sections: Sequence[Section], dataset: str) -> str:
    """Markdown of the report's rows beside the paper's tables, then the sections' figures."""
    has_paper = dataset in datasets()
    shown = dataset if has_paper else DEFAULT
    of_others = (
        f"The paper has no table of {dataset}: its numbers of {shown} stand here, for shape."
    )
    lines = [
        f"# The paper's tables beside {dataset}",
        "",
        NOTE,
        *([] if has_paper else ["", of_others]),
    ]
    by_cell = {row["cell"]: row for row in rows}
    lines += ["", "## Tables 1 and H.6: affinity, accuracy, calibration", "", DIFFERENT]
    lines += _table(shown, FIRST, WHOLE, by_cell)
    lines += ["", "## Tables C.2 to C.4: gap, overlap of the teachers, fidelity"]
    lines += _table(shown, SECOND, WHOLE, by_cell)
    lines += ["", "## The same, of teachers that see one half of each image each (`+halves`)"]
    lines += _table(shown, SECOND, HALVES, by_cell)
    lines += ["", "## Table G.5: methods", "", *_methods(shown, by_cell)]
    lines += ["", *own_numbers()]
    for section in sections:
        lines += ["", f"## {section.title}", "", f"![{section.name}]({section.name}.png)"]
        lines += ["", section.caption]
    return "\n".join([*lines, ""])


def _table(
    dataset: str, columns: Sequence[Beside], images: str, by_cell: Mapping[str, Row]
) -> list[str]:
    """A line a cell of the paper's table, two columns a measure; then the rank correlations. None
    where no cell is here: the paper has its numbers."""
    printed = {beside: column(dataset, beside.measure, images) for beside in columns}
    known = [beside for beside in columns if printed[beside]]
    if not known:
        return ["", f"The paper does not give these of {dataset}."]
    suffix = "" if images == WHOLE else f"+{HALVED}"
    here = {cell: by_cell.get(f"{cell}{suffix}", NOTHING) for cell in printed[known[0]]}
    if all(row is NOTHING for row in here.values()):
        return ["", "None of its cells is trained here."]
    heads = [head for beside in known for head in _heads(beside)]
    lines = ["", f"| cell | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for cell, row in here.items():
        texts = [text for beside in known for text in _texts(beside, printed[beside][cell], row)]
        lines.append(f"| {cell} | {' | '.join(texts)} |")
    return [*lines, "", "; ".join(_order(beside, printed[beside], here) for beside in known) + "."]


def _heads(beside: Beside) -> list[str]:
    return [f"{beside.column.title}: paper", "here", *(more.title for more in beside.more)]


def _texts(beside: Beside, printed: float, row: Row) -> list[str]:
    theirs = f"{beside.scaled(printed):.{beside.column.decimals}f}"
    return [theirs, *(figure_text(row, shown) for shown in (beside.column, *beside.more))]


def _order(beside: Beside, printed: Mapping[str, float], here: Mapping[str, Row]) -> str:
    """The rank correlation of the paper's column and ours, in words."""
    values = {cell: row.get(beside.column.reported) for cell, row in here.items()}
    pairs = [(printed[cell], value) for cell, value in values.items() if value is not None]
    if len(pairs) < LEAST:
        return f"{beside.column.heading}: not enough cells"
    theirs, ours = torch.tensor(pairs, dtype=torch.float64).T
    rho = spearman(theirs, ours).item()
    return f"{beside.column.heading}: rank correlation {rho:.2f}, n = {len(pairs)} cells"


def _methods(dataset: str, by_cell: Mapping[str, Row]) -> list[str]:
    """The paper's comparison of methods, ours by their cells."""
    lines = [
        "| method | top-1, %: paper | here | top-1 of the last epoch, % |",
        "|---|---|---|---|",
    ]
    for number in published():
        if (number.table, number.dataset) == (COMPARISON, dataset):
            row = by_cell.get(number.cell, NOTHING)
            texts = [f"{100 * number.value:.1f}", *(figure_text(row, shown) for shown in TOP1)]
            lines.append(f"| {number.cell} | {' | '.join(texts)} |")
    return lines


def own_rows() -> list[Row]:
    """What the paper's tables say of its statements: a row each, its figure of each data set that
    has it."""
    return [*paper_rows(with_undirected=False), *statement_rows()]


def own_numbers() -> list[str]:
    """Those rows as a part of a page."""
    sets = datasets()
    lines = ["## What the paper's own numbers say", "", OWN_NUMBERS, ""]
    lines.append(f"| section | the paper says | figure | {' | '.join(sets)} | direction |")
    lines.append("|---" * (len(sets) + 4) + "|")
    for row in own_rows():
        values = [row[name] for name in sets if name in row]
        texts = [f"{row[name]:+.3f}" if name in row else "-" for name in sets]
        told = f"{sum(value > 0 for value in values)} of {len(values)} above 0"
        about = f"{row['claim']} | {row['text']} | {row['figure']}"
        lines.append(f"| {about} | {' | '.join(texts)} | {told} |")
    return lines
