"""runs/<set>/report/: the claims as Markdown, CSV, JSON and figures (PNG and PDF)."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from dataloader.errors import UserError
from dataloader.files import write_bytes, write_text
from dataloader.views import VIEW_LETTERS
from engine.cells import StudentCell, teacher_cells
from engine.run import RunDirectory
from evaluation.calculate_claims import ClaimsOptions
from evaluation.claims import judged
from evaluation.controls import Controls
from evaluation.grid import Grid, open_grid
from evaluation.grid_figures import (
    STRENGTH_PANELS,
    StrengthCurves,
    agreement_figure,
    grid_figure,
    learning_figure,
    strength_figure,
    strong_views_figure,
)
from evaluation.grid_values import GRID_STUDENTS, GridValues, read_grid_values
from evaluation.outputs import OutputStore
from evaluation.table import Row, format_table, write_table

COLUMNS = ("claim", "figure", "estimate", "low", "high", "seeds", "verdict")
RULE = (
    "Above 0 is what the paper says. Supported: the whole 95% interval is above 0; contradicted: "
    "below; else: cannot tell. Intervals know the spread over seeds and the choice of test images; "
    "they are not corrected for the number of claims."
)


CAPTIONS = {
    "strong_views": "Mean over the cells; bars: standard deviation over seeds of that mean.",
    "grid": "A point a student cell, mean over seeds; filled: strong students.",
    "strength": "Against the strength of the strong view; bars: standard deviation over seeds.",
    "learning": "Top-1 on the test images after each epoch, mean over cells and seeds.",
    "agreement_matrix": "All models, the students of the first seed.",
}


def publish_claims(options: ClaimsOptions) -> None:
    """Print the rows; write report/claims.md, .csv, .json and the figures."""
    grid, store, runs = open_grid(options)
    values = read_grid_values(grid, store, runs)
    rows = judged(values) if values else []
    if values is None or not rows:
        raise UserError(
            f"{options.folder}: no claim can be asked of these cells: train weak and strong "
            "students of the same teachers first (bash script/cifar100.sh)"
        )
    print(format_table(rows, COLUMNS))
    print(RULE)
    control_rows = Controls(grid, store, runs).rows()
    print(format_table(control_rows))
    folder = options.folder / "report"
    paths = write_table(folder / "claims", rows) + write_table(folder / "controls", control_rows)
    drawn = dict(figures(grid, store, runs, values))
    for name, figure in drawn.items():
        paths += _save(folder / name, figure)
    write_text(folder / "claims.md", markdown(rows, control_rows, list(drawn), options.dataset))
    print("results:", ", ".join(map(str, [folder / "claims.md", *paths])))


def figures(
    grid: Grid, store: OutputStore, runs: Sequence[RunDirectory], values: GridValues
) -> Iterator[tuple[str, Figure]]:
    """Each by its file's name."""
    yield "strong_views", strong_views_figure(values)
    yield "grid", grid_figure(values)
    students = [run for run in runs if run.cell in GRID_STUDENTS]
    if curves := strength_curves(grid.runs.all()):
        yield "strength", strength_figure(curves)
    yield "learning", learning_figure(learning_curves(students))
    least = min(run.seed for run in students)
    teachers = [grid.runs.of_teacher(cell) for cell in teacher_cells()]
    models = [run for run in teachers if run.is_finished()]
    models += [run for run in students if run.seed == least]
    answers = [store.answers(run, like=students[0]).predictions for run in models]
    yield "agreement_matrix", agreement_figure([str(run.cell) for run in models], answers)


def strength_curves(runs: Sequence[RunDirectory]) -> StrengthCurves:
    """Of the finished students that were trained under several strengths of the strong view, as
    variants of one plain cell."""
    curves: dict[str, dict[float, dict[str, list[float]]]] = {}
    for run in runs:
        if not (isinstance(run.cell, StudentCell) and run.cell.variant and run.is_finished()):
            continue
        strength = run.saved_settings().get("strength")
        if strength is None:
            continue
        plain = "_".join(part.split("+")[0] for part in str(run.cell).split("_"))
        last = run.read_metrics()["last"]
        at = curves.setdefault(plain, {}).setdefault(strength, {n: [] for n in STRENGTH_PANELS})
        at["top1"].append(100 * last["test"]["top1"])
        at["gap"].append(last["gap_points"])
        if "fidelity_ensemble" in last["test"]:
            at["fidelity"].append(100 * last["test"]["fidelity_ensemble"])
    return {cell: strengths for cell, strengths in curves.items() if len(strengths) > 1}


def learning_curves(students: Sequence[RunDirectory]) -> dict[str, list[list[float]]]:
    """Test top-1 by epoch of the runs of each number of teachers and view."""
    curves: dict[str, list[list[float]]] = {}
    for count, letter in itertools.product(range(4), "ws"):
        chosen = [r for r in students if (len(r.cell.teachers), r.cell.letter) == (count, letter)]
        if lines := [_test_top1(run) for run in chosen]:
            name = f"{count} teacher{'' if count == 1 else 's'}, {VIEW_LETTERS[letter]} student"
            curves[name] = lines
    return curves


def markdown(
    rows: Sequence[Row], control_rows: Sequence[Row], figures: Sequence[str], dataset: str
) -> str:
    """The claims' table and its rule, the named figures, and the controls' table."""
    lines = [f"# The paper's claims on {dataset}", "", RULE, ""]
    lines += ["| claim | says | figure | estimate | 95% interval | seeds | verdict |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for row in rows:
        known = row["low"] is not None
        interval = f"{row['low']:.3f} to {row['high']:.3f}" if known else "unknown"
        lines.append(
            f"| {row['claim']} | {row['text']} | {row['figure']} | {row['estimate']:.3f} "
            f"| {interval} | {row['seeds']} | {row['verdict']} |"
        )
    lines += ["", f"n = {rows[0]['images']} test images. Claim 1: seeds are the teachers' numbers."]
    for name in figures:
        lines += ["", f"![{CAPTIONS[name]}]({name}.png)", "", CAPTIONS[name]]
    lines += [
        "",
        "## Controls",
        "",
        "Mean and standard deviation over n cells, pairs or models.",
        "",
    ]
    lines += [
        "| control | view | figure | mean | standard deviation | n |",
        "|---|---|---|---|---|---|",
    ]
    for row in control_rows:
        spread = "unknown" if row["std"] is None else f"{row['std']:.3f}"
        lines.append(
            f"| {row['control']} | {row['view']} | {row['figure']} | {row['mean']:.3f} "
            f"| {spread} | {row['n']} |"
        )
    return "\n".join([*lines, ""])


def _test_top1(run: RunDirectory) -> list[float]:
    """After each epoch."""
    epochs = run.read_epochs(until=run.read_metrics()["last"]["epoch"])
    return [record["validation"]["top1"] for record in epochs]


def _save(stem: Path, figure: Figure) -> list[Path]:
    paths = [stem.with_suffix(suffix) for suffix in (".png", ".pdf")]
    for path in paths:
        buffer = io.BytesIO()
        figure.savefig(buffer, format=path.suffix[1:], dpi=150)
        write_bytes(path, buffer.getvalue())
    return paths
