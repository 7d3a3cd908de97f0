"""runs/<set>/report/: the claims as Markdown, CSV, JSON and figures (PNG and PDF)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from common.errors import UserError
from common.files import write_text
from engine.cells import teacher_cells
from engine.run import RunDirectory
from evaluation.claims import judged
from evaluation.claims_figures import ClaimsFigures, Drawn
from evaluation.controls import Controls
from evaluation.figures import saved
from evaluation.grid import Grid, named, of_each, open_grid
from evaluation.grid_values import read_grid_values
from evaluation.options import ClaimsOptions
from evaluation.outputs import OutputStore
from evaluation.tables import Row, format_table, write_table

COLUMNS = ("claim", "figure", "estimate", "low", "high", "seeds", "verdict")
RULE = (
    "Above 0 is what the paper says. Supported: the whole 95% interval is above 0; contradicted: "
    "below; else: cannot tell. Intervals know the spread over seeds and the choice of test images; "
    "they are not corrected for the number of claims."
)


def publish_claims(options: ClaimsOptions) -> None:
    """Print the rows; write report/claims.md, .csv, .json, the controls and the figures."""
    grid, store, runs = answering(*open_grid(options))
    values = read_grid_values(grid, store, runs)
    rows = judged(values) if values else []
    if values is None or not rows:
        raise UserError(
            f"{options.folder}: no claim can be asked of these cells: train weak and strong "
            "students of the same teachers first (bash script/cifar100.sh)"
        )
    control_rows = Controls(grid, store, runs).rows()
    folder = options.folder / "report"
    paths = write_table(folder / "claims", rows) + write_table(folder / "controls", control_rows)
    drawn = list(ClaimsFigures(grid, store, runs, values, rows).drawn())
    for own in drawn:
        files = [folder / f"{own.name}.{kind}" for kind in ("png", "pdf")]
        paths += [saved(own.figure, file, dpi=150) for file in files]
    write_text(folder / "claims.md", markdown(rows, control_rows, drawn, options.dataset))
    print(format_table(rows, COLUMNS))
    print(RULE)
    print("results:", ", ".join(map(str, [folder / "claims.md", *paths])))


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
    rows: Sequence[Row], control_rows: Sequence[Row], figures: Sequence[Drawn], dataset: str
) -> str:
    """The claims' table and its rule, the figures with their captions, and the controls' table."""
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
    for own in figures:
        lines += ["", f"![{own.name}]({own.name}.png)", "", own.caption]
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
