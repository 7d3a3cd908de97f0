"""runs/<set>/report/objectives.md: students by different objectives, over replicates."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from common.files import write_text
from engine.cells import StudentCell, parse_student
from evaluation.figures import COLOURS, MARKERS, Figure, own_style, saved
from evaluation.grid_figures import FIDELITY_AXIS, PAGE, TINY, TOP1_AXIS, name_axes
from evaluation.judging import SHARED
from evaluation.latex import write_latex
from evaluation.options import MeasureOptions, ObjectiveOptions
from evaluation.tables import Column, Row, format_table, write_table

REFERENCE = "kl"  # the objective from which the others' differences are taken
CONTRASTS = ("top1", "fidelity_ensemble")
COLUMNS = (
    Column("top1", "top-1", 1, "%"),
    Column("gap_points", "gap", 1, "points"),
    Column("clean_gap_points", "clean gap", 1, "points"),
    Column("fidelity_taught", "fidelity to what was taught", 1, "%"),
    Column("fidelity_ensemble", "fidelity to the ensemble", 1, "%"),
    Column("ece", "ECE"),
    Column("iou_T_S", "IoU with the teachers"),
)
DIFFERENCES = tuple(
    Column(f"{name}_minus_{REFERENCE}", f"{what} minus {REFERENCE}'s", 1, "%")
    for name, what in zip(CONTRASTS, ("top-1", "fidelity"), strict=True)
)
RULE = (
    "Each loss once, with its published setting, and none is tuned further. Figures are of the "
    "last epoch and of test images, means over replicates with Student's interval of 95%; that of "
    "a difference knows the choice of test images too. Gap: training top-1 under the student's "
    "view minus test top-1; clean gap: both under the test view. Fidelity: to what was taught, and "
    "to the mean of the teachers' logits. IoU: of the attention masks of student and teachers. "
    "Nothing is corrected for the number of objectives."
)
OTHERWISE = (
    "Here they are of another epoch or of other images ({asked}): the gap and the fidelity to what "
    "was taught, which are those of the training record, are left out."
)
RANKS = (
    "Rank correlation of fidelity to the ensemble and top-1 over the objectives, with teachers, "
    "view and seed held. Fidelity is taken from one half of the test images, top-1 from the other. "
    "Below 0: students that follow their teachers less are more often right, as the paper says."
)


def publish_page(
    options: ObjectiveOptions, means: Sequence[Row], correlations: Sequence[Row]
) -> None:
    """Write the page, its figure and the CSV of both tables; print the correlations."""
    folder = options.folder / "report"
    paths = [folder / f"{options.name}.md", *write_table(folder / options.name, means)]
    write_text(paths[0], page(options, means, correlations))
    for ending in ("png", "pdf"):
        paths.append(saved(objectives_figure(means), folder / f"{options.name}.{ending}", dpi=150))
    paths += write_table(folder / f"{options.name}_ranks", correlations)
    if options.latex == "yes":
        columns = [*COLUMNS, *DIFFERENCES]
        paths.append(write_latex(folder / options.name, means, ("cell", "replicates"), columns))
    if correlations:
        print(RANKS, format_table(correlations), sep="\n")
    print("results:", ", ".join(map(str, paths)))


def as_recorded(options: MeasureOptions) -> bool:
    """Whether runs are asked about what their last record is of: the last epoch, and their own test
    images, all of them."""
    plain = MeasureOptions()
    return replace(options, maps=plain.maps, view_seed=plain.view_seed).asked == plain.asked


def page(options: ObjectiveOptions, means: Sequence[Row], correlations: Sequence[Row]) -> str:
    """Markdown: a table for each cell without its variant, the figure, the correlations."""
    lines = [f"# Objectives compared, on {options.dataset}", "", RULE, ""]
    if not as_recorded(options):
        lines += [OTHERWISE.format(asked=options.asked), ""]
    if any(row.get("teachers") == "shared" for row in means):
        lines += [SHARED, ""]
    for cell, rows in _by_plain(means).items():
        n = max(row["replicates"] for row in rows)
        lines += [f"## {cell}, n = {n}", "", *_table(rows, n), ""]
    lines += [f"![Top-1 against fidelity, a point an objective]({options.name}.png)", ""]
    if correlations:
        column = Column("rank_correlation", decimals=2)
        lines += ["## Does who follows the teachers do better?", "", RANKS, ""]
        lines += ["| cell | rank correlation | n |", "|---|---|---|"]
        lines += [f"| {row['cell']} | {_with_interval(row, column)} | {row['replicates']} |"
                  for row in correlations]  # fmt: skip
    return "\n".join([*lines, ""])


def _by_plain(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """By the cell without its variant."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        cell = parse_student(row["cell"])
        groups.setdefault(str(StudentCell(cell.teachers, cell.letter)), []).append(row)
    return groups


def _table(rows: Sequence[Row], n: int) -> list[str]:
    """A line for each objective, with its number of replicates where that is not n."""
    columns = [column for column in (*COLUMNS, *DIFFERENCES)
               if any(row.get(column.key) is not None for row in rows)]  # fmt: skip
    lines = [f"| objective | {' | '.join(column.title for column in columns)} |"]
    lines += ["|---" * (len(columns) + 1) + "|"]
    for row in rows:
        texts = [_with_interval(row, column) for column in columns]
        fewer = "" if row["replicates"] == n else f" (n = {row['replicates']})"
        lines.append(f"| {_objective(row)}{fewer} | {' | '.join(texts)} |")
    return lines


def _objective(row: Row) -> str:
    return parse_student(row["cell"]).variant or "plain"


def _with_interval(row: Row, column: Column) -> str:
    """The mean and its interval, as far as they are known, and of how many replicates they are
    where not all of the row's know it."""
    numbers = [row.get(f"{column.key}{end}") for end in ("", "_low", "_high")]
    mean, low, high = (
        None if number is None else f"{column.factor * number:.{column.decimals}f}"
        for number in numbers
    )
    if mean is None:
        return "-"
    notes = [] if low is None else [f"{low} to {high}"]
    if f"{column.key}_n" in row:
        notes.append(f"n = {row[f'{column.key}_n']}")
    return f"{mean} ({', '.join(notes)})" if notes else mean


@own_style()
def objectives_figure(means: Sequence[Row]) -> Figure:
    """Top-1 against fidelity: a panel for each cell without its variant, a point an objective, with
    the interval over replicates. An objective looks the same in all panels."""
    panels = _by_plain(means)
    places = list(dict.fromkeys(_objective(row) for rows in panels.values() for row in rows))
    figure = Figure(figsize=(PAGE, 3.6), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    x, y = (next(c for c in COLUMNS if c.key == name) for name in reversed(CONTRASTS))
    for axes, (cell, rows) in zip(grid, panels.items(), strict=True):
        for row in rows:
            place = places.index(_objective(row))
            axes.errorbar(
                x.factor * row[x.key], y.factor * row[y.key], _bar(row, y), _bar(row, x),
                marker=MARKERS[place // len(COLOURS) % len(MARKERS)], markersize=5,
                color=COLOURS[place % len(COLOURS)], elinewidth=0.6, linestyle="",
                label=_objective(row),
            )  # fmt: skip
        axes.set_title(cell, fontsize=9)
        name_axes(axes, FIDELITY_AXIS, TOP1_AXIS)
    drawn = [zip(*axes.get_legend_handles_labels(), strict=True) for axes in grid]
    handles = {label: handle for handle, label in itertools.chain(*drawn)}
    figure.legend([handles[name] for name in places], places, loc="outside lower center",
                  ncols=5, fontsize=TINY + 1)  # fmt: skip
    return figure


def _bar(row: Row, column: Column) -> list[list[float]] | None:
    """Lengths below and above the mean; None of one replicate."""
    if row[f"{column.key}_low"] is None:
        return None
    mean = row[column.key]
    return [[column.factor * (mean - row[f"{column.key}_low"])],
            [column.factor * (row[f"{column.key}_high"] - mean)]]  # fmt: skip
