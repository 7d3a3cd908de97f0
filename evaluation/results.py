"""How a measurement is handed over: table on the screen, CSV, JSON and figure beside the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluation.figures import Figure, saved
from evaluation.latex import write_latex
from evaluation.tables import (
    Column,
    Row,
    beside,
    format_table,
    over_seeds,
    read_rows,
    updated,
    with_spread,
    write_table,
)

DECIMALS = 3
MOST_PRINTED = 100  # rows of a table; nobody reads more on a screen


def publish(
    stem: Path,
    rows: Sequence[Row],
    columns: Sequence[Column],
    figures: Figure | Mapping[str, Figure],
    *notes: str,
    by: Sequence[str] = ("cell",),
    latex: bool = False,
) -> None:
    """Write `stem`.csv, .json, figures and, if asked to, the rows in LaTeX (.tex, named as the
    first figure: of this question alone); then print what names a row, the columns that some row
    has, and the notes.

    Of a table that is too long for a screen only the number of rows is printed. The files keep the
    rows of earlier measurements, of other cells or asked for in another way. Where a cell has
    several seeds, a second table gives mean ± standard deviation over them.
    """
    paths = keep(stem, rows, by)
    named = figures if isinstance(figures, Mapping) else {"": figures}
    for suffix, figure in named.items():
        paths.append(saved(figure, beside(stem, f"{suffix}.png"), dpi=110))
    if latex:
        path = beside(stem, next(iter(named), ""))
        paths.append(write_latex(path, rows, [by[0], "seed", *by[1:]], columns))
    keys = [column.key for column in columns if any(column.key in row for row in rows)]
    print(screen(rows, [by[0], "seed", *by[1:], *keys]))
    gathered = over_seeds(rows, by)
    if any(row["seeds"] > 1 for row in gathered):
        print("mean ± standard deviation over seeds:")
        print(screen([_rounded(row, keys, by) for row in gathered]))
    for note in notes:
        print(note)
    print("results:", ", ".join(map(str, paths)))


def keep(stem: Path, rows: Sequence[Row], by: Sequence[str]) -> list[Path]:
    """Write `stem`.csv and .json, with the rows of earlier measurements that say something else;
    returns both paths."""
    return write_table(stem, updated(read_rows(beside(stem, ".json"), by), rows))


def screen(rows: Sequence[Row], columns: Sequence[str] | None = None) -> str:
    """The table, or the number of its rows where they are more than a screen has."""
    if len(rows) > MOST_PRINTED:
        return f"{len(rows)} rows: in the files below"
    return format_table(rows, columns)


def _rounded(row: Row, keys: Sequence[str], by: Sequence[str]) -> Row:
    numbers = [name for name in keys if name in row]
    kept = {name: row[name] for name in (*by, "seeds")}
    return kept | {name: with_spread(row, name, DECIMALS) for name in numbers}
