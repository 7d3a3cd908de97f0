"""The grid's results so far, a row a cell, mean and spread over its seeds:

python -m metrics.report --dataset CIFAR100
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.cells import grid_order, parse_cell
from engine.errors import RunError, run_program
from engine.run import RunDirectory, find_runs
from metrics.table import Row, format_table, read_json, write_table

COLUMNS = ("cell", "seeds", "top1_last", "top1_best", "gap_points", "fidelity_ensemble")


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table of a data set's finished runs and write it beside them."""
    options = _parser().parse_args(argv)
    folder = Path(options.output_dir) / options.dataset
    runs = find_runs(Path(options.output_dir), options.dataset)
    unfinished = [run for run in runs if not run.is_finished()]
    for run in unfinished:
        print(f"in progress, left out: {run.path}", file=sys.stderr)
    rows = grid_rows([read_json(run.metrics) for run in runs if run.is_finished()])
    if not rows:
        raise RunError(f"no run in {folder} is finished yet")
    print(format_table([_printed(row) for row in rows], COLUMNS))
    print(legend(read_selected_on(runs)))
    paths = write_table(folder / "results", rows)
    print("results:", ", ".join(map(str, paths)))


def grid_rows(finished: Sequence[dict[str, Any]]) -> list[Row]:
    """A row for each cell from its runs' metrics.json, teachers first, then 0T to 3T students.

    Top-1 and fidelity in percent, gap in percentage points, at the last epoch unless named best.
    """
    by_cell: dict[str, list[Row]] = defaultdict(list)
    for metrics in finished:
        by_cell[metrics["cell"]].append(_figures(metrics))
    ordered = sorted(by_cell, key=lambda name: grid_order(parse_cell(name)))
    return [{"cell": name, **_spread(by_cell[name])} for name in ordered]


def legend(selected_on: set[str]) -> str:
    """What the columns mean, and on which images the best epoch was chosen."""
    where = " and ".join(sorted(selected_on))
    return (
        "top-1 and fidelity in % of the test images; top1_best is at the epoch that is best on "
        f"the {where} images;\ngap: training minus validation top-1 at the last epoch, points; "
        "fidelity: top-1 agreement with the teachers' mean logits"
    )


def read_selected_on(runs: Sequence[RunDirectory]) -> set[str]:
    """The splits that chose the best epoch of the finished runs."""
    return {read_json(run.metrics)["selected_on"] for run in runs if run.is_finished()}


def _figures(metrics: dict[str, Any]) -> Row:
    last, best = metrics["last"], metrics["best"]
    fidelity = last["test"].get("fidelity_ensemble")
    return {
        "top1_last": 100 * last["test"]["top1"],
        "top1_best": 100 * best["test"]["top1"],
        "gap_points": last["gap_points"],
        "fidelity_ensemble": None if fidelity is None else 100 * fidelity,
    }


def _spread(seeds: Sequence[Row]) -> Row:
    """Mean over seeds of each figure, and the standard deviation where there are several."""
    row: Row = {"seeds": len(seeds)}
    for name in seeds[0]:
        values = [figures[name] for figures in seeds]
        known = None not in values
        row[name] = statistics.fmean(values) if known else None
        row[f"{name}_std"] = statistics.stdev(values) if known and len(values) > 1 else None
    return row


def _printed(row: Row) -> Row:
    """The row with one decimal, and ± the standard deviation where there is one."""
    printed = dict(row)
    for name in COLUMNS[2:]:
        if row[name] is not None:
            spread = row[f"{name}_std"]
            printed[name] = f"{row[name]:.1f}" + (f" ± {spread:.1f}" if spread is not None else "")
    return printed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--dataset", default="CIFAR100")
    parser.add_argument("--output-dir", default="runs", help="folder that holds the runs")
    return parser


if __name__ == "__main__":
    sys.exit(run_program(main, None))
