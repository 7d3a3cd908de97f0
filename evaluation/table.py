"""Results as rows: printed with aligned columns, written as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dataloader.errors import DamagedError
from dataloader.files import read_json, write_json, write_text

Row = dict[str, Any]


def format_table(rows: Sequence[Row], columns: Sequence[str] | None = None) -> str:
    """The rows as lines of aligned columns; a missing value is a dash, a float has 3 decimals."""
    names = list(columns or _all_columns(rows))
    cells = [names, *([_text(row.get(name)) for name in names] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(_aligned(line, widths) for line in cells)


def write_table(stem: Path, rows: Sequence[Row]) -> list[Path]:
    """Write the rows to `stem`.csv and `stem`.json; returns both paths."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _all_columns(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(_flat, rows))
    paths = [stem.with_suffix(".csv"), stem.with_suffix(".json")]
    write_text(paths[0], text.getvalue())
    write_json(paths[1], list(rows))
    return paths


def read_rows(path: Path) -> list[Row]:
    """The rows of a table's JSON file; none where there is no file or it holds anything else."""
    try:
        content = read_json(path)
    except (FileNotFoundError, DamagedError):
        return []
    return [row for row in content if isinstance(row, dict)] if isinstance(content, list) else []


def _all_columns(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _flat(row: Row) -> Row:
    """A row of CSV has no room for a mapping but as its text."""
    return {
        name: json.dumps(value) if isinstance(value, dict) else value for name, value in row.items()
    }


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = line
    parts = [first.ljust(widths[0])]
    parts += [text.rjust(width) for text, width in zip(rest, widths[1:], strict=True)]
    return "  ".join(parts).rstrip()
