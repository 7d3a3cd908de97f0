"""Results as rows: where they come from, over seeds, printed with aligned columns,
written as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from common.errors import UserError, shown
from common.files import read_json, sha256, write_json, write_text

Row = dict[str, Any]

LARGEST = 1e100  # of a number: sums of more overflow
TEXTS = ("cell", "pair", "view", "asked", "commit")  # the columns that hold no number


@dataclass(frozen=True)
class Column:
    """A number of a measurement's rows, and what the report makes of it.

    key: its name in the measurement's files. The report has it if it has a heading, for the page of
    cells, or a name of its own for the report's table. decimals, unit: there; what is a fraction
    here has unit "%" there. per_image: makes the (N,) numbers whose mean it is. better: "higher" or
    "lower", where one of both is.
    """

    key: str
    heading: str = ""
    decimals: int = 3
    unit: str = ""
    name: str = ""
    per_image: Callable[..., Any] | None = None
    better: str = ""

    @property
    def reported(self) -> str:
        """Its name in the report's table; empty where it has no place there."""
        return self.name or (self.key if self.heading else "")

    @property
    def title(self) -> str:
        """The heading with the unit."""
        return f"{self.heading}, {self.unit}" if self.unit else self.heading

    @property
    def factor(self) -> float:
        """From the measurement's number to the report's."""
        return 100 if self.unit == "%" else 1


def counted(count: int, what: str) -> str:
    """ "1 seed", "2 seeds", "no seeds"."""
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"


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
    paths = [beside(stem, ".csv"), beside(stem, ".json")]
    write_text(paths[0], text.getvalue())
    write_json(paths[1], list(rows))
    return paths


def beside(stem: Path, ending: str) -> Path:
    """The file of that ending: a point in the stem's name is the name's own."""
    return stem.with_name(stem.name + ending)


def read_rows(path: Path, by: Sequence[str] = ("cell",)) -> list[Row]:
    """The rows of a table's JSON file, named by the columns `by`; none where there is no file.

    What is no row of such a table (edited by hand, or of another version) is named on stderr and
    left out.
    """
    try:
        content = read_json(path)
    except FileNotFoundError:
        return []
    except UserError as error:
        _leave_out(f"{error}")
        return []
    if not isinstance(content, list):
        _leave_out(f"{path}: it is no list of rows")
        return []
    odd = {number: _oddity(row, by) for number, row in enumerate(content, start=1)}
    for number, reason in odd.items():
        if reason:
            _leave_out(f"{path}, row {number}: {reason}")
    return [row for number, row in enumerate(content, start=1) if not odd[number]]


def is_number(value: Any) -> TypeGuard[float]:
    """Whether it is finite, and means of such numbers are."""
    return type(value) in (int, float) and abs(value) < LARGEST


def _leave_out(what: str) -> None:
    print(f"left out: {what}", file=sys.stderr)


def _oddity(row: Any, by: Sequence[str]) -> str | None:
    """Why it is no row of a table; None where it is one."""
    if not isinstance(row, dict):
        return f"{shown(row)} is no row"
    for name in (*by, "seed"):
        if name not in row:
            return f"it has no {name}"
    for name, value in row.items():
        if not _fits(name, value):
            return f"{shown(name)} is {shown(value)}"
    return None


def _fits(name: str, value: Any) -> bool:
    """Whether the column can hold the value."""
    if name in TEXTS:
        return isinstance(value, str)
    if name == "seed":
        return type(value) is int
    if name == "checkpoints":
        return isinstance(value, dict) and all(
            isinstance(checkpoint, str) for checkpoint in value.values()
        )
    return value is None or is_number(value)


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


def over_seeds(rows: Sequence[Row], by: Sequence[str] = ("cell",)) -> list[Row]:
    """One row for each value of the columns `by`, in the order of their first appearance.

    A number becomes its mean over the seeds that have it, with its standard deviation under
    `<name>_std` (None for a single one) and, where only some of the seeds have it, their number
    under `<name>_n`. Anything else, and `seed` itself, is left out.
    """
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in by), []).append(row)
    return [
        {**dict(zip(by, key, strict=True)), "seeds": len(group), **_spread(group, by)}
        for key, group in groups.items()
    ]


def with_spread(row: Row, name: str, decimals: int) -> str | None:
    """The mean of column `name` with ± its standard deviation where there is one."""
    if row.get(name) is None:
        return None
    spread = row.get(f"{name}_std")
    text = f"{row[name]:.{decimals}f}"
    return text if spread is None else f"{text} ± {spread:.{decimals}f}"


def _spread(group: Sequence[Row], by: Sequence[str]) -> Row:
    row: Row = {}
    for name in dict.fromkeys(name for row in group for name in row):
        found = [row.get(name) for row in group]
        if (
            name == "seed"
            or name in by
            or not all(isinstance(v, int | float | None) for v in found)
        ):
            continue
        values = [value for value in found if is_number(value)]
        row[name] = statistics.fmean(values) if values else None
        row[f"{name}_std"] = statistics.stdev(values) if len(values) > 1 else None
        if 0 < len(values) < len(group):
            row[f"{name}_n"] = len(values)
    return row


# The columns that say what a row is about: a newer row with the same ones takes its place.
IDENTITY = ("cell", "seed", "pair", "view", "asked", "bin")


@dataclass
class CheckpointHashes:
    """SHA-256 of checkpoints, each computed once for each state of its file."""

    _known: dict[tuple[Path, int, int], str] = field(default_factory=dict)

    def of(self, path: Path) -> str:
        """Hexadecimal; OSError where there is no file."""
        state = path.stat()
        key = (path, state.st_mtime_ns, state.st_size)
        if key not in self._known:
            self._known[key] = sha256(path)
        return self._known[key]

    def changed(self, row: Row, folder: Path) -> str | None:
        """Why the row no longer holds: a checkpoint below `folder` that is gone or changed, or
        none recorded; None where it does."""
        if not row.get("checkpoints"):
            return "it does not say which checkpoints it is of"
        for name, expected in row["checkpoints"].items():
            path = folder / name
            if not path.is_file():
                return f"{path} is gone"
            if self.of(path) != expected:
                return f"{path} changed"
        return None


def updated(rows: Sequence[Row], newer: Sequence[Row]) -> list[Row]:
    """The rows, those about the same thing as a newer one replaced by it."""
    return list({_identity(row): row for row in (*rows, *newer)}.values())


def _identity(row: Row) -> tuple:
    return tuple(row.get(name) for name in IDENTITY)
