"""runs/<set>/report/: the claims as Markdown, CSV, JSON and figures (PNG and PDF)."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dataloader.errors import UserError
from dataloader.files import write_bytes, write_text
from engine.cells import StudentCell
from evaluation.calculate_claims import ClaimsOptions
from evaluation.claims import judged
from evaluation.grid import open_grid
from evaluation.grid_values import GridValues, PerImage, Teachers, read_grid_values
from evaluation.table import Row, format_table, write_table

COLUMNS = ("claim", "figure", "estimate", "low", "high", "seeds", "verdict")
RULE = (
    "Above 0 is what the paper says. Supported: the whole 95% interval is above 0; contradicted: "
    "below; else: cannot tell. Intervals know the spread over seeds and the choice of test images; "
    "they are not corrected for the number of claims."
)
# A marker and a colour for each number of teachers (Okabe and Ito 2008), filled: strong students.
LOOKS = {0: ("*", "#000000"), 1: ("o", "#0072B2"), 2: ("s", "#D55E00"), 3: ("^", "#009E73")}


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
    folder = options.folder / "report"
    paths = write_table(folder / "claims", rows)
    paths += _save(folder / "grid", grid_figure(values))
    write_text(folder / "claims.md", markdown(rows, options.dataset))
    print("results:", ", ".join(map(str, [folder / "claims.md", *paths])))


def markdown(rows: Sequence[Row], dataset: str) -> str:
    """The claims' table, its rule and its figure."""
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
    caption = "A point a student cell, mean over seeds; filled: strong students; *: no teacher."
    return "\n".join([*lines, "", f"![{caption}](grid.png)", "", caption, ""])


def grid_figure(values: GridValues) -> Figure:
    """Top-1 and gap against fidelity, and fidelity against IoU above chance: a point a cell."""
    figure = Figure(figsize=(9.6, 4.0), layout="constrained")
    panels = figure.subplots(1, 3)
    evenly = torch.full((1, values.images), 1 / values.images, dtype=torch.float64)
    seeds = {cell: values.seeds_of([cell]) for cell in values.cells}

    def over_seeds(of_seed: Callable[[StudentCell, int], float], cell: StudentCell) -> float:
        return sum(of_seed(cell, seed) for seed in seeds[cell]) / len(seeds[cell])

    def percent(kept: PerImage) -> float:
        return 100 * kept.mean(evenly).item()

    def top1(cell: StudentCell) -> float:
        return over_seeds(lambda c, seed: percent(values.top1[c, seed]), cell)

    def train(cell: StudentCell) -> float:
        return over_seeds(lambda c, seed: 100 * values.train_top1[c, seed], cell)

    def fidelity(cell: StudentCell) -> float:
        return over_seeds(lambda c, seed: percent(values.fidelity[c, seed]), cell)

    taught = [c for c in values.cells if all((c, seed) in values.fidelity for seed in seeds[c])]
    seen: list[tuple[StudentCell, Teachers]] = [
        (c, c.teachers) for c in taught if c.teachers in values.corrected
    ]
    for cell, teachers in seen:
        _point(panels[0], cell, values.corrected[teachers].mean(evenly).item(), fidelity(cell))
    for cell in taught:
        _point(panels[1], cell, fidelity(cell), top1(cell))
        _point(panels[2], cell, fidelity(cell), train(cell) - top1(cell))
    _name(panels[0], "teachers' IoU above chance", "fidelity, %")
    _name(panels[1], "fidelity, %", "test top-1, %")
    _name(panels[2], "fidelity, %", "training minus test top-1, points")
    for count, (marker, colour) in LOOKS.items():
        if count and any(len(cell.teachers) == count for cell in taught):
            label = f"{count} teacher{'s' if count > 1 else ''}"
            panels[1].scatter([], [], marker=marker, c=colour, label=label)
    if taught:
        figure.legend(loc="outside lower center", ncols=4, title="filled: strong student")
    return figure


def _point(axes: Axes, cell: StudentCell, x: float, y: float) -> None:
    marker, colour = LOOKS[len(cell.teachers)]
    filled = colour if cell.letter == "s" else "none"
    axes.scatter(x, y, marker=marker, edgecolors=colour, facecolors=filled, s=34)


def _name(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def _save(stem: Path, figure: Figure) -> list[Path]:
    paths = [stem.with_suffix(suffix) for suffix in (".png", ".pdf")]
    for path in paths:
        buffer = io.BytesIO()
        figure.savefig(buffer, format=path.suffix[1:], dpi=150)
        write_bytes(path, buffer.getvalue())
    return paths
