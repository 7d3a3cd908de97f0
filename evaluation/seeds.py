"""Rows of single runs, gathered into one row a cell: mean, spread and number of seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from evaluation.table import Row, is_number


def over_seeds(rows: Sequence[Row], by: Sequence[str] = ("cell",)) -> list[Row]:
    """One row for each value of the columns `by`, in the order of their first appearance.

    A number becomes its mean over the seeds that have it, with its standard deviation under
    `<name>_std` (None for a single one). Anything else, and `seed` itself, is left out.
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
    for name in dict.fromkeys(name for own in group for name in own):
        found = [own.get(name) for own in group]
        if (
            name == "seed"
            or name in by
            or not all(isinstance(v, int | float | None) for v in found)
        ):
            continue
        values = [value for value in found if is_number(value)]
        row[name] = statistics.fmean(values) if values else None
        row[f"{name}_std"] = statistics.stdev(values) if len(values) > 1 else None
    return row
