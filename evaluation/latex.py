"""A table for a paper: LaTeX with the package booktabs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.files import write_text
from evaluation.tables import Column, Row, beside, is_number

SPECIAL = str.maketrans({
    **{sign: f"\\{sign}" for sign in "&%$#_{}"}, "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}", "\\": r"\textbackslash{}",
})  # fmt: skip
RULE = (
    "% needs \\usepackage{booktabs}; bold: the best of a column, and what it is in the interval of"
)
ENDS = ("_low", "_high")


def write_latex(
    stem: Path, rows: Sequence[Row], names: Sequence[str], columns: Sequence[Column]
) -> Path:
    """Write `stem`.tex and return its path: the columns `names` that name a row, then the numbers
    that some row has.

    A number stands with its standard deviation over seeds, else with its 95% interval, where the
    row has one. Bold is the best of a column that says which is better, and every number whose
    interval holds that one: what the images cannot tell from it.
    """
    path = beside(stem, ".tex")
    write_text(path, latex_table(rows, names, columns))
    return path


def write_estimates(stem: Path, rows: Sequence[Row], names: Sequence[str]) -> Path:
    """The same of rows that are each an estimate between `low` and `high`, with its p."""
    renamed = [row | {f"estimate{end}": row[end[1:]] for end in ENDS} for row in rows]
    return write_latex(stem, renamed, names, (Column("estimate"), Column("p")))


def latex_table(rows: Sequence[Row], names: Sequence[str], columns: Sequence[Column]) -> str:
    """The text of the table; see `write_latex`."""
    numbers = [column for column in columns if _stands(column.key, rows)]
    best = {number.key: _best(number, rows) for number in numbers}
    lines = [
        [*map(_escaped, names), *(_escaped(number.key) for number in numbers)],
        *(
            [*(_escaped(str(row[name])) for name in names),
             *(_number(row, number.key, best[number.key]) for number in numbers)]
            for row in rows
        ),
    ]  # fmt: skip
    head, *body = (" & ".join(line) + r" \\" for line in lines)
    begin = rf"\begin{{tabular}}{{{'l' * len(names)}{'r' * len(numbers)}}}"
    ruled = [r"\toprule", head, r"\midrule", *body, r"\bottomrule"]
    return "\n".join([RULE, begin, *ruled, r"\end{tabular}", ""])


def _stands(key: str, rows: Sequence[Row]) -> bool:
    """Whether some row has it, and it is no end of another number's interval."""
    of = next((key.removesuffix(end) for end in ENDS if key.endswith(end)), None)
    return any(is_number(row.get(key)) for row in rows) and not any(of in row for row in rows)


def _best(column: Column, rows: Sequence[Row]) -> float | None:
    values = [row[column.key] for row in rows if is_number(row.get(column.key))]
    return {"higher": max, "lower": min}[column.better](values) if column.better else None


def _number(row: Mapping[str, Any], key: str, best: float | None) -> str:
    value = row.get(key)
    if not is_number(value):
        return "--"
    text, bold, spread = _written(value), value == best, row.get(f"{key}_std")
    if is_number(spread):  # ends beside it are means of one seed's, and no interval over seeds
        beside = rf" $\pm$ {_written(spread)}"
    elif all(is_number(row.get(key + end)) for end in ENDS):
        low, high = (row[key + end] for end in ENDS)
        bold = bold or (best is not None and low <= best <= high)
        beside = rf" {{\small [{_written(low)}, {_written(high)}]}}"
    else:
        beside = ""
    return (rf"\textbf{{{text}}}" if bold else text) + beside


def _written(value: float) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _escaped(text: str) -> str:
    return text.translate(SPECIAL)
