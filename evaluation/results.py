"""How a measurement is handed over: table on the screen, CSV, JSON and figure beside the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from common.files import write_bytes
from evaluation.figures import Figure, rendered
from evaluation.tables import (
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
    columns: Sequence[str],
    figures: Figure | Mapping[str, Figure],
    *notes: str,
    by: Sequence[str] = ("cell",),
) -> None:
    """Write `stem`.csv, .json and figures; then print the columns that some row has, and the notes.

    Of a table that is too long for a screen only the number of rows is printed. The files keep the
    rows of earlier measurements, of other cells or asked for in another way. Where a cell has
    several seeds, a second table gives mean ± standard deviation over them.
    """
    paths = write_table(stem, updated(read_rows(beside(stem, ".json"), by), rows))
    named = figures if isinstance(figures, Mapping) else {"": figures}
    for suffix, figure in named.items():
        paths.append(beside(stem, f"{suffix}.png"))
        write_bytes(paths[-1], rendered(figure, "png", dpi=110))
    columns = [name for name in columns if any(name in row for row in rows)]
    print(_screen(rows, columns))
    gathered = over_seeds(rows, by)
    if any(row["seeds"] > 1 for row in gathered):
        print("mean ± standard deviation over seeds:")
        print(_screen([_rounded(row, columns, by) for row in gathered]))
    for note in notes:
        print(note)
    print("results:", ", ".join(map(str, paths)))


def _screen(rows: Sequence[Row], columns: Sequence[str] | None = None) -> str:
    if len(rows) > MOST_PRINTED:
        return f"{len(rows)} rows: in the files below"
    return format_table(rows, columns)


def _rounded(row: Row, columns: Sequence[str], by: Sequence[str]) -> Row:
    numbers = [name for name in columns if name in row and name not in by]
    kept = {name: row[name] for name in (*by, "seeds")}
    return kept | {name: with_spread(row, name, DECIMALS) for name in numbers}
