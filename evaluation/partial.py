"""What cannot be measured is named and left out, and the rest goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TypeVar

from dataloader.errors import UserError, one_line
from engine.run import RunDirectory

Item = TypeVar("Item")
Result = TypeVar("Result")


def of_each(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    name: Callable[[Item], str],
    *,
    needed: bool = True,
) -> list[Result]:
    """What `work` makes of each item. One that is damaged, or whose files are gone, is named on
    stderr and left out. If one is `needed`: UserError where none is left, which says the reason
    alone where all have the same."""
    results, failures = [], []
    for item in items:
        try:
            results.append(work(item))
        except (UserError, OSError) as error:
            failures.append((name(item), one_line(error)))
    reasons = {reason for _, reason in failures}
    if needed and not results and len(reasons) == 1:
        raise UserError(reasons.pop())
    for left_out, reason in failures:
        print(f"left out: {left_out}: {reason}", file=sys.stderr)
    if needed and failures and not results:
        raise UserError("nothing is left to measure: see the lines above")
    return results


def named(run: RunDirectory) -> str:
    """Cell and seed of a run."""
    return f"{run.cell} seed {run.seed}"
