"""A figure for each section of the paper that has one, of the report's rows: a point a student
cell, the mean over its seeds with its 95% interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.cells import StudentCell, parse_cell
from evaluation.figures import Axes, Figure, own_style
from evaluation.grid_figures import LOOKS, WIDTH, face, legend, name_axes
from evaluation.measures import OWN_VIEW
from evaluation.tables import Column, Row, counted
from metrics.intervals import half_width

HEIGHT = 2.6  # inches, of a row of panels
STANDARDISED = "standardised"  # the variant whose logits are z-scores
TOP1 = Column("top1_last", "test top-1", 1, "%")
GAP = Column("gap_points", "gap", 1, "points")
IOU = Column("iou_teachers", "IoU of the teachers")
FIDELITY = Column("fidelity_ensemble", "fidelity to the ensemble", 1, "%")
AFFINITY = Column("affinity", "affinity of the student")
ENTROPY = Column("entropy_nats", "entropy of the student", 3, "nats")
ECE = Column("ece", "ECE")

Panel = tuple[Column, Column]  # what is drawn along x and y


@dataclass(frozen=True)
class Section:
    """A section's title, the stem of its figure's files, and what is written below it."""

    name: str
    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Scatter:
    """A section whose figure has a point for each student of so many teachers."""

    name: str
    title: str
    caption: str
    teachers: tuple[int, ...]
    panels: tuple[Panel, ...]


SCATTERS = (
    Scatter(
        "section_6_1", "6.1 and D: overlap, accuracy and affinity",
        "The teachers' IoU against the student's top-1 (the paper's figure 2) and the affinity of "
        "its view (D.6); two teachers.",
        (2,), ((IOU, TOP1), (AFFINITY, IOU)),
    ),
    Scatter(
        "section_6_2", "6.2 and B.5: fidelity and mutual information as the student was trained",
        "Fidelity and mutual information (MI) under the student's own view, of at most 10,000 "
        "training images and of test images, and top-1 (figures 3 and B.5); two teachers, whose "
        "logits are averaged.",
        (2,), tuple((column, TOP1) for column in OWN_VIEW.values()),
    ),
    Scatter(
        "section_F", "F: three teachers",
        "As sections 6.1 and 6.2, of three teachers (figure F.8); fidelity under the test view.",
        (3,), ((IOU, TOP1), (FIDELITY, TOP1)),
    ),
    Scatter(
        "section_H", "H: entropy, gap, calibration and number of teachers",
        "The student's entropy against its gap, and ECE against its gap (figure H.9), of all "
        "numbers of teachers; reliability by number of teachers is drawn with the claims.",
        (0, 1, 2, 3), ((ENTROPY, GAP), (ECE, GAP)),
    ),
)  # fmt: skip
KEY = "Filled: strong students; bars: 95% interval over seeds, where there are several."


def drawn_sections(rows: Sequence[Row]) -> list[Section]:
    """The sections that the rows of plain cells, and of those with standardised logits, allow."""
    cells = {row["cell"]: (parse_cell(row["cell"]), row) for row in rows}
    students = {
        cell: row
        for cell, row in cells.values()
        if isinstance(cell, StudentCell) and len(cell.teachers) in LOOKS
    }
    plain = {cell: row for cell, row in students.items() if cell == cell.plain}
    drawn = [_scattered(section, plain) for section in SCATTERS]
    drawn.append(_standardised(students))
    return sorted(
        (section for section in drawn if section is not None), key=lambda section: section.title
    )


def _scattered(section: Scatter, students: Mapping[StudentCell, Row]) -> Section | None:
    of = {cell: row for cell, row in students.items() if len(cell.teachers) in section.teachers}
    known = [panel for panel in section.panels if any(_known(row, *panel) for row in of.values())]
    if not known:
        return None
    figure = scatter_figure(of, known)
    return Section(section.name, section.title, f"{section.caption} {KEY}", figure)


@own_style()
def scatter_figure(students: Mapping[StudentCell, Row], panels: Sequence[Panel]) -> Figure:
    """Panels side by side, two in a row, of the students that have both columns."""
    lines = -(-len(panels) // 2)
    figure = Figure(figsize=(WIDTH, HEIGHT * lines + 0.4), layout="constrained")
    grid = figure.subplots(lines, 2, squeeze=False).flat
    for axes, (x, y) in zip(grid, panels, strict=False):
        for cell, row in students.items():
            if _known(row, x, y):
                _point(axes, cell, row, x, y)
        name_axes(axes, x.title, y.title)
    for axes in list(grid)[len(panels) :]:
        axes.set_axis_off()
    first = figure.axes[0]
    for count in sorted({len(cell.teachers) for cell in students}):
        marker, colour = LOOKS[count]
        first.scatter([], [], marker=marker, c=colour, label=counted(count, "teacher"))
    legend(figure, first, 4, "filled: strong student")
    return figure


def _standardised(students: Mapping[StudentCell, Row]) -> Section | None:
    """Section 6.3: the cells that were trained with standardised logits beside those without."""
    variants = {cell.plain: row for cell, row in students.items() if cell.variant == STANDARDISED}
    pairs = {cell: (students[cell], row) for cell, row in variants.items() if cell in students}
    if not pairs:
        return None
    caption = (
        "Gap and fidelity (test view) of students that learn from the teachers' logits as they are "
        "and, hatched, from z-scores of these and of their own (figure 4). Bars: 95% interval over "
        "seeds."
    )
    title = "6.3: standardised logits"
    return Section("section_6_3", title, caption, side_by_side_figure(pairs, (GAP, FIDELITY)))


@own_style()
def side_by_side_figure(
    pairs: Mapping[StudentCell, tuple[Row, Row]], columns: Sequence[Column]
) -> Figure:
    """A panel a column, two bars a cell: plain, then hatched the variant."""
    figure = Figure(figsize=(WIDTH, 2 * HEIGHT + 0.6), layout="constrained")
    for axes, column in zip(figure.subplots(len(columns), 1), columns, strict=True):
        for place, rows in enumerate(pairs.values()):
            for row, offset, hatch in zip(rows, (-0.2, 0.2), ("", "///"), strict=True):
                if _known(row, column):
                    value, width = row[column.reported], _half(row, column)
                    axes.bar(place + offset, value, 0.38, yerr=width, hatch=hatch, color="0.75",
                             edgecolor="k", capsize=2)  # fmt: skip
        name_axes(axes, "", column.title)
        axes.set_xticks(range(len(pairs)), list(map(str, pairs)), rotation=30, ha="right")
    return figure


def _point(axes: Axes, cell: StudentCell, row: Row, x: Column, y: Column) -> None:
    marker, colour = LOOKS[len(cell.teachers)]
    axes.errorbar(
        row[x.reported], row[y.reported], yerr=_half(row, y), xerr=_half(row, x), marker=marker,
        markersize=5, markeredgecolor=colour, markerfacecolor=face(colour, cell.letter),
        ecolor=colour, elinewidth=0.6, linestyle="",
    )  # fmt: skip


def _half(row: Row, column: Column) -> float:
    """Half the width of a mean's interval over seeds; 0 of one seed."""
    name = column.reported
    std, n = row.get(f"{name}_std"), row[f"{name}_n" if f"{name}_n" in row else "seeds"]
    return 0.0 if std is None or n < 2 else half_width(std, n)


def _known(row: Row, *columns: Column) -> bool:
    return all(row.get(column.reported) is not None for column in columns)
