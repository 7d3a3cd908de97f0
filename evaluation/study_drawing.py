"""The study's figures: its endpoints with every replicate's value, and its cells."""

from __future__ import annotations

import itertools
import statistics
import textwrap
from collections.abc import Mapping, Sequence

from engine.cells import STRONG, WEAK, StudentCell, joined, parse_student
from evaluation import described
from evaluation.figures import COLOURS, MARKERS, NEUTRAL, Axes, Figure, own_style
from evaluation.grid_figures import (
    FIDELITY_AXIS,
    IOU_AXIS,
    PAGE,
    SMALL,
    TOP1_AXIS,
    face,
    legend,
    name_axes,
)
from evaluation.study_figures import DOSES, EXPLORATORY, PAIRS, PLACEBO, PRIMARY, students
from evaluation.tables import Row, counted
from metrics.intervals import half_width

LINE = 0.4  # inches, of a figure's row
WORDS = 50  # characters of a line that says in words what a figure is
VIEWS = {WEAK: "weak", STRONG: "strong", None: "mixed"}  # of a student's teachers
SHADES = dict(zip(VIEWS, (*COLOURS[:2], NEUTRAL), strict=True))
BESIDE = {**{pair: f"{dose:g}" for dose, pair in DOSES.items()}, PLACEBO: "placebo"}
ALONE = {pair: "".join(teacher.letter for teacher in pair) for pair in PAIRS}

Values = dict[tuple[str, str], list[float]]  # of a figure and a cell, a replicate each


@own_style()
def endpoints_figure(rows: Sequence[Row], values: Mapping[str, Sequence[float]]) -> Figure:
    """The judged rows that were chosen beforehand, those of one unit together: a dot for the value
    of each replicate, by figure, then the mean with its interval, and the verdict."""
    chosen = sorted(
        (row for row in rows if row["rank"] != EXPLORATORY), key=lambda row: str(row["unit"])
    )
    units = {u: list(of_u) for u, of_u in itertools.groupby(chosen, lambda row: row["unit"])}
    heights = [len(of_unit) + 1 for of_unit in units.values()]
    figure = Figure(figsize=(PAGE, LINE * (sum(heights) + 2)), layout="constrained")
    panels = figure.subplots(len(units), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (unit, of_unit) in zip(panels, units.items(), strict=True):
        for place, row in enumerate(of_unit):
            _estimate(axes, place, row, values[row["figure"]])
        axes.axvline(0, color="black", linewidth=0.8)
        name_axes(axes, unit, "")
        names = [_in_words(row) for row in of_unit]
        axes.set_yticks(range(len(names)), names, fontsize=SMALL)
        axes.set_ylim(len(names) - 0.4, -0.6)
        right = axes.secondary_yaxis("right")
        right.set_yticks(range(len(names)), [row["verdict"] for row in of_unit], fontsize=SMALL)
        right.tick_params(length=0)
    return figure


def _in_words(row: Row) -> str:
    return textwrap.fill(f"{row['endpoint']}  {row['figure']}: {row['what']}", WORDS)


def _estimate(axes: Axes, place: int, row: Row, values: Sequence[float]) -> None:
    colour = COLOURS[1] if row["rank"] == PRIMARY else COLOURS[0]
    axes.plot(values, [place + 0.25] * len(values), "o", color=NEUTRAL, markersize=2.5)
    bar = None if len(values) < 2 else [[row["estimate"] - row["low"]],
                                        [row["high"] - row["estimate"]]]  # fmt: skip
    axes.errorbar(row["estimate"], place, xerr=bar, marker="D", markersize=4.5, color=colour,
                  capsize=3)  # fmt: skip


@own_style()
def cells_figure(replicates: Sequence[Sequence[Row]]) -> Figure:
    """Left: top-1 against fidelity of the students of one and two plain teachers. Right: fidelity
    against the teachers' overlap, of two teachers that were trained alone or one beside the other.
    Means over replicates with 95% intervals; filled: strong students."""
    values: Values = {}
    for row in itertools.chain(*replicates):
        values.setdefault((row["figure"], row["cell"]), []).append(row["value"])
    figure = Figure(figsize=(PAGE, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    _top1_against_fidelity(left, values)
    _fidelity_against_overlap(right, values)
    legend(figure, left, 5, "filled: strong student")
    return figure


def _top1_against_fidelity(axes: Axes, values: Values) -> None:
    top1, fidelity = described.OF_CELLS
    cells = [parse_student(name) for figure, name in values if figure == fidelity]
    for cell in cells:
        if not (cell.variant or any(teacher.variant for teacher in cell.teachers)):
            x, y = (values[figure, str(cell)] for figure in (fidelity, top1))
            _cross(axes, x, y, SHADES[_view(cell)], cell, f"point0-{cell}")
    for letter, view in VIEWS.items():
        axes.scatter([], [], marker="s", color=SHADES[letter], label=f"{view} teachers")
    for count in (1, 2):
        axes.scatter([], [], marker=MARKERS[count], color="k", label=counted(count, "teacher"))
    name_axes(axes, FIDELITY_AXIS, TOP1_AXIS)


def _fidelity_against_overlap(axes: Axes, values: Values) -> None:
    overlap = next(iter(described.OVERLAPS))
    for pair, name in {**ALONE, **BESIDE}.items():
        x = values.get((overlap, joined(pair)), [])
        for cell in students(pair) if x else ():
            y = values[described.OF_CELLS[1], str(cell)]
            colour = COLOURS[2] if pair in BESIDE else SHADES[_view(cell)]
            _cross(axes, x, y, colour, cell, f"point1-{cell}")
            left = pair == PLACEBO  # whose overlap is near that of another dose
            axes.annotate(name, (statistics.fmean(x), statistics.fmean(y)), (-4 if left else 4, 3),
                          textcoords="offset points", ha="right" if left else "left",
                          fontsize=SMALL - 1)  # fmt: skip
    axes.margins(x=0.15)  # room for the names
    name_axes(axes, IOU_AXIS, FIDELITY_AXIS)


def _view(cell: StudentCell) -> str | None:
    """The letter of its teachers' view, None for several."""
    first, *others = {teacher.letter for teacher in cell.teachers}
    return None if others else first


def _cross(
    axes: Axes, x: Sequence[float], y: Sequence[float], colour: str, cell: StudentCell, name: str
) -> None:
    """The mean of a cell's replicates with the interval of both its coordinates; an SVG knows the
    point by its name."""
    place = statistics.fmean(x), statistics.fmean(y)
    if len(x) > 1:
        across, up = (half_width(statistics.stdev(values), len(values)) for values in (x, y))
        axes.errorbar(*place, xerr=across, yerr=up, color=colour, elinewidth=0.6, linestyle="")
    axes.scatter(*place, marker=MARKERS[len(cell.teachers)], edgecolors=colour, s=24, zorder=3,
                 facecolors=face(colour, cell.letter) if cell.letter != WEAK else "white",
                 gid=name)  # fmt: skip
