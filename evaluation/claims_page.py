"""runs/<set>/report/: the claims as Markdown, CSV, JSON and figures (PNG, PDF and SVG)."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from common.errors import UserError
from common.files import write_text
from engine.cells import expand, teacher_cells
from engine.run import RunDirectory
from evaluation.claims import claims
from evaluation.claims_figures import ClaimsFigures, Drawn
from evaluation.controls import Controls
from evaluation.figures import saved
from evaluation.grid import Grid, named, of_each, open_grid
from evaluation.grid_reader import read_grid_values
from evaluation.grid_values import GRID_STUDENTS
from evaluation.judging import check_images
from evaluation.latex import write_estimates
from evaluation.options import ClaimsOptions
from evaluation.outputs import OutputStore
from evaluation.paper_claims import paper_rows
from evaluation.paper_tables import datasets
from evaluation.tables import Row, counted, format_table, write_table
from evaluation.verdicts import ALL, GIVEN, HELD, LOOKS, SHOWN, judged

COLUMNS = (
    "claim", "figure", "way", "estimate", "low", "high", "p", "holm", "replicates", "verdict"
)  # fmt: skip
RULE = (
    "Above 0 is what the paper says. Supported: every figure of a claim is above 0; contradicted: "
    "one is below; with a p below .05 after Holm's correction for the claims of its table. "
    "Else: cannot tell. Of a difference of two views the paper says no sign: not 0, or cannot "
    "tell. Intervals (95%, not corrected) and p are over replicates and the choice of test images."
)
WHAT_IT_IS_ABOUT = (
    "All are about these training images. Cells of a replicate share initial weights and teachers: "
    "what is compared is paired, and cells are not independent."
)
DPI = {".png": 150, ".pdf": 150, ".svg": 80}  # of a figure's files; an SVG's images are small
TITLES = {
    ALL: "Over all cells",
    HELD: "With a view held: that of the students or of the teachers by itself, and the difference",
    SHOWN: "Shown, not judged",
}
PAPERS_TITLE = "By the paper's own tables"
FIGURES_TITLE, CONTROLS_TITLE = "Figures", "Controls"
PAPERS_NOTE = (
    "The same figures of the numbers that the paper prints (tables 1 and C.2 to C.4): one number a "
    "cell, no replicates, so no verdict. IoU is there with chance in it, under each student's view."
)


def publish_claims(options: ClaimsOptions) -> None:
    """Print the rows; write report/claims.md, .csv, .json, the paper's, the controls and the
    figures."""
    grid, store, runs = answering(*_open(options))
    values = read_grid_values(grid, store, runs)
    rows = judged(claims(values), values) if values else []
    if values is not None:
        check_images(values.images)
    if values is None or not rows:
        raise UserError(
            f"{options.folder}: no claim can be asked of these cells: train weak and strong "
            "students of the same teachers first (bash script/cifar100.sh)"
        )
    control_rows, papers = Controls(grid, store, runs).rows(), paper_rows()
    folder = options.folder / "report"
    tables = {"claims": rows, "paper_claims": papers, "controls": control_rows}
    paths = [path for name, table in tables.items() for path in write_table(folder / name, table)]
    if options.latex == "yes":
        paths.append(
            write_estimates(folder / "claims", rows, ("claim", "figure", "way", "verdict"))
        )
    drawn = list(ClaimsFigures(grid, store, runs, values, rows).drawn())
    for figure in drawn:
        files = [folder / f"{figure.name}{kind}" for kind in DPI]
        paths += [saved(figure.figure, file, DPI[file.suffix]) for file in files]
    write_text(folder / "claims.md", markdown(rows, papers, control_rows, drawn, options.dataset))
    print(format_table([row for row in rows if row["look"] != SHOWN], COLUMNS))
    print(RULE)
    print("results:", ", ".join(map(str, [folder / "claims.md", *paths])))


def _open(options: ClaimsOptions) -> tuple[Grid, OutputStore, list[RunDirectory]]:
    """What the options ask for; where these do not name cells, the students of every other choice
    of the groups' teachers too, those that are there."""
    grid, store, runs = open_grid(options)
    if options.cells != ClaimsOptions.cells:
        return grid, store, runs
    named_cells = set(expand(options.cells))
    others = [cell for cell in GRID_STUDENTS if cell not in named_cells]
    there = [run for cell in others for run in grid.runs.of_cell(cell) if run.is_finished()]
    return grid, store, [*runs, *(r for r in there if r.seed in (options.seeds or [r.seed]))]


def answering(
    grid: Grid, store: OutputStore, runs: Sequence[RunDirectory]
) -> tuple[Grid, OutputStore, list[RunDirectory]]:
    """The same, of the students that answer their test images and the teachers that answer the
    first one's: what is damaged, or whose images are gone, is named on stderr and left out."""

    def asked(run: RunDirectory, like: RunDirectory) -> RunDirectory:
        store.answers(run, like=like)
        return run

    students = of_each(runs, lambda run: asked(run, run), named)
    begun = itertools.chain.from_iterable(map(grid.runs.of_cell, teacher_cells()))
    teachers = [run for run in begun if run.is_finished()]
    able = of_each(teachers, lambda run: asked(run, students[0]), named, needed=False)
    gone = frozenset(run.path for run in teachers if run not in able)
    return replace(grid, left_out=gone), store, students


def markdown(
    rows: Sequence[Row],
    papers: Sequence[Row],
    control_rows: Sequence[Row],
    figures: Sequence[Drawn],
    dataset: str,
) -> str:
    """The claims' tables and their rule, the paper's own numbers, the figures with their captions,
    and the controls' table."""
    lines = [f"# The paper's claims on {dataset}", "", RULE, "", WHAT_IT_IS_ABOUT]
    lines += ["", f"n = {rows[0]['images']} test images."]
    for look in LOOKS:
        lines += _section(look, [row for row in rows if row["look"] == look])
    lines += ["", f"## {PAPERS_TITLE}", "", PAPERS_NOTE, "", *_papers_table(papers)]
    lines += ["", f"## {FIGURES_TITLE}"] if figures else []
    for figure in figures:
        lines += ["", f"![{figure.name}]({figure.name}.png)", "", figure.caption]
    note = "Mean and standard deviation over n cells, pairs or models."
    lines += ["", f"## {CONTROLS_TITLE}", "", note, "", *_controls_table(control_rows)]
    return "\n".join([*lines, ""])


def heading(look: str, rows: Sequence[Row]) -> str:
    """Of a table, with what its numbers hold for alone."""
    if all(row["replicates"] == 1 for row in rows):
        return f"{TITLES[look]}, {GIVEN}, one replicate"
    shared = any(row["teachers"] == "shared" for row in rows)
    return f"{TITLES[look]}, {GIVEN}" if shared else TITLES[look]


def _section(look: str, rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    lines = ["", f"## {heading(look, rows)}"]
    if look != SHOWN:
        return [*lines, "", *_judged_table(rows)]
    masks = [row for row in rows if row["way"]]
    ranks = [row for row in rows if not row["way"]]
    return [*lines, *_side_by_side(masks), *_side_by_side(ranks)]


def _judged_table(rows: Sequence[Row]) -> list[str]:
    columns = ["claim", "says", "figure", "estimate", "95% interval", "p", "p, Holm", "replicates"]
    lines = [_counts(rows), "", *_head([*columns, "verdict"])]
    for row in rows:
        figure = ", ".join(filter(None, [row["figure"], row["way"]]))
        cells = [row["claim"], row["text"], figure, f"{row['estimate']:.3f}", _interval(row)]
        cells += [_chance(row["p"]), _chance(row["holm"]), str(row["replicates"]), row["verdict"]]
        lines.append(_line(cells))
    return lines


def _side_by_side(rows: Sequence[Row]) -> list[str]:
    """A line for each figure, a column for each way to measure it."""
    ways = list(dict.fromkeys(row["way"] for row in rows))
    figures: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in rows:
        figures.setdefault((row["claim"], row["figure"]), {})[row["way"]] = row
    lines = ["", *_head(["claim", "figure", *(way or "estimate" for way in ways), "replicates"])]
    for (claim, figure), by_way in figures.items():
        values = [f"{by_way[way]['estimate']:.3f} ({_interval(by_way[way])})" for way in ways]
        lines.append(_line([claim, figure, *values, str(by_way[ways[0]]["replicates"])]))
    return lines if rows else []


def _interval(row: Row) -> str:
    return f"{row['low']:.3f} to {row['high']:.3f}"


def _counts(rows: Sequence[Row]) -> str:
    """How many claims have which verdict."""
    verdicts = {row["claim"]: row["verdict"] for row in rows}
    counts = [f"{count} {verdict}" for verdict, count in Counter(verdicts.values()).most_common()]
    return f"{counted(len(verdicts), 'claim')}: {'; '.join(counts)}."


def _papers_table(rows: Sequence[Row]) -> list[str]:
    sets = datasets()
    lines = _head(["claim", "figure", *sets])
    for row in rows:
        values = ["-" if row.get(name) is None else f"{row[name]:.3f}" for name in sets]
        lines.append(_line([row["claim"], row["figure"], *values]))
    return lines


def _controls_table(rows: Sequence[Row]) -> list[str]:
    lines = _head(["control", "view", "figure", "mean", "standard deviation", "n"])
    for row in rows:
        spread = "unknown" if row["std"] is None else f"{row['std']:.3f}"
        values = [f"{row['mean']:.3f}", spread, str(row["n"])]
        lines.append(_line([row["control"], row["view"], row["figure"], *values]))
    return lines


def _head(columns: Sequence[str]) -> list[str]:
    return [_line(columns), "|---" * len(columns) + "|"]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _chance(p: float | None) -> str:
    """A p value, or a dash."""
    if p is None:
        return "-"
    return "< .001" if p < 0.001 else f"{p:.3f}"
