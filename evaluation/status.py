"""What there is of a data set's runs: done, in work, stopped or missing, its size and age.

python -m evaluation.status
python -m evaluation.status --compare T1w_Sw T1w_Sw+T5
python -m evaluation.status --delete T1w_Sw+T5
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # imports start at this checkout, installed or not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from common.errors import UserError, one_line, run_program
from common.settings import NO_YES, Settings, option
from engine.cells import Cell, expand, grid_order, parse_cell
from engine.config import StudentConfig
from engine.flags import parse
from engine.lock import RunLock, in_work
from engine.records import read_epochs
from engine.run import RunDirectory, Runs
from evaluation.options import check_place
from evaluation.tables import Row, counted, format_table

ABOUT = "What is done, in work, stopped and missing of a data set's runs."
UNITS = ("B", "kB", "MB", "GB", "TB")
PERIODS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
IN_WORK = "in work"
COLUMNS = ("cell", "seed", "state", "epochs", "eta", "top1", "size", "age")
NOTE = (
    "eta: at the pace so far; top1: % of the test images at the last epoch; age: of the last change"
)
NAMING = ("cell", "seed", "teacher_seed")  # settings in which any two cells or seeds differ


@dataclass(frozen=True, kw_only=True)
class StatusOptions(Settings):
    """What the status can be asked."""

    dataset: str = option("CIFAR100", "data set of the runs (or DATASET)", names_folder=True)
    output_dir: str = option("runs", "folder that holds the runs")
    cells: tuple[str, ...] = option(
        (), "cells, or groups T, 0T to 3T, of which some may be missing"
    )
    compare: tuple[str, ...] = option((), "two cells: the settings and results that differ")
    delete: str | None = option(None, "a cell whose runs are deleted, after a question")
    yes: str = option("no", "delete without the question", choices=NO_YES)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_place(self.dataset, self.output_dir)
        if len(self.compare) not in (0, 2):
            raise UserError("--compare takes two cells, such as T1w_Sw T1w_Sw+T5")


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table, or compare or delete what the flags name."""
    dataset = os.environ.get("DATASET") or StatusOptions.dataset
    options = parse(StatusOptions, argv, ABOUT, dataset=dataset)
    runs = Runs(Path(options.output_dir), options.dataset)
    if options.delete:
        delete(runs, parse_cell(options.delete), asks=options.yes == "no")
    elif options.compare:
        for line in compared(runs, *map(parse_cell, options.compare)):
            print(line)
    else:
        rows = list(status(runs, expand(options.cells)))
        print(format_table(rows, COLUMNS))
        print(f"{counted(len(rows), 'run')}, {_total(rows)} on disk; {NOTE}")


def status(runs: Runs, asked: Sequence[Cell]) -> Iterator[Row]:
    """A row for each run that has begun, of the cells that are asked for or of all, and for each
    that is missing: asked for, or the teacher of a student that is there."""
    begun = [run for cell in asked for run in runs.of_cell(cell)] if asked else runs.all()
    there = {(run.cell, run.seed) for run in begun}
    missing: set[tuple[Cell, int | None]] = {
        (cell, None) for cell in asked if not any(cell == known for known, _ in there)
    }
    taught_by = [teacher for run in begun for teacher in runs.teachers_of(run)]
    missing |= {(teacher.cell, teacher.seed) for teacher in taught_by if not teacher.has_begun()}
    for run in sorted(begun, key=lambda run: (grid_order(run.cell), run.seed)):
        yield row_of(run)
    for cell, seed in sorted(missing, key=lambda missed: (grid_order(missed[0]), missed[1] or 0)):
        yield {"cell": str(cell), "seed": seed, "state": "missing"}


def row_of(run: RunDirectory) -> Row:
    """State, epochs, time left, accuracy, size and age of a run."""
    row: Row = {"cell": str(run.cell), "seed": run.seed, "state": state_of(run)}
    files = [path.stat() for path in run.path.rglob("*") if path.is_file()]
    bytes_used = sum(file.st_size for file in files)
    try:
        epochs, done = run.saved_settings().get("epochs"), len(run.epochs.read_text().splitlines())
        row["epochs"] = f"{done}/{epochs}"
        if row["state"] == IN_WORK and isinstance(epochs, int):
            row["eta"] = _eta(run, epochs)
    except (OSError, UserError):
        row.setdefault("epochs", None)
    if run.is_finished():
        top1 = _top1(run)
        row["top1"] = None if top1 is None else f"{top1:.1f}"
    newest = max((file.st_mtime for file in files), default=time.time())
    return row | {"bytes": bytes_used, "size": _size(bytes_used), "age": _age(time.time() - newest)}


def _top1(run: RunDirectory) -> float | None:
    """In percent; None, with a word on stderr, where the record is damaged."""
    try:
        return 100 * run.read_metrics()["last"]["test"]["top1"]
    except (OSError, UserError) as error:
        print(f"without its top-1: {run.cell} seed {run.seed}: {one_line(error)}", file=sys.stderr)
        return None


def _eta(run: RunDirectory, epochs: int) -> str | None:
    """Time left at the mean of the epochs that are done, less what the one under way has taken;
    None before the first."""
    records = read_epochs(run.epochs, epochs)
    if not records:
        return None
    pace = statistics.fmean(record["seconds"] for record in records)
    taken = time.time() - run.epochs.stat().st_mtime
    return _age(pace * (epochs - len(records)) - min(taken, pace))


def state_of(run: RunDirectory) -> str:
    """done; in work, where a process trains it; else stopped, by an error or by somebody: the same
    command goes on."""
    if run.is_finished():
        return "done"
    return "stopped" if in_work(run.path) is None else IN_WORK


def compared(runs: Runs, first: Cell, second: Cell) -> Iterator[str]:
    """Lines on what differs between two cells: settings, then top-1 over their seeds."""
    pairs = [_finished(runs, cell) for cell in (first, second)]
    a, b = (pair[0].saved_settings() for pair in pairs)
    fields = {f.name: f for f in dataclasses.fields(StudentConfig)}
    for name in sorted({*a, *b} - {*NAMING}):
        known = fields.get(name)
        values = [
            settings.get(name, None if known is None else known.default) for settings in (a, b)
        ]
        operational = known is not None and known.metadata["operational"]
        if not operational and _plain(values[0]) != _plain(values[1]):
            yield f"{name}: {values[0]} in {first}, {values[1]} in {second}"
    for cell, finished in zip((first, second), pairs, strict=True):
        top1 = [value for run in finished if (value := _top1(run)) is not None]
        if not top1:
            yield f"{cell}: top-1 is not known"
            continue
        spread = f" ± {statistics.stdev(top1):.1f}" if len(top1) > 1 else ""
        seeds = counted(len(top1), "seed")
        yield f"{cell}: top-1 {statistics.fmean(top1):.1f}{spread} %, {seeds}"


def delete(runs: Runs, cell: Cell, *, asks: bool) -> None:
    """Delete the cell's runs once the user has typed its name. UserError where there are none, one
    is in work, or the answer is another."""
    found = runs.of_cell(cell)
    if not found:
        raise UserError(f"no run of {cell} in {runs.folder}")
    print(f"{', '.join(str(run.path) for run in found)}: {_total([row_of(run) for run in found])}")
    for student in _taught_by(runs, cell):
        print(f"{student.path} has learnt from it, and can then not be compared with it")
    if asks and _answer(f"type {cell} to delete: ") != str(cell):
        raise UserError(f"{cell} stays: its name was not typed")
    with ExitStack() as held:
        for run in found:
            held.callback(RunLock.of(run.path).release)
        for run in found:
            run.delete()
            print(f"deleted: {run.path}")


def _taught_by(runs: Runs, cell: Cell) -> list[RunDirectory]:
    return [run for run in runs.all() if cell in run.cell.teachers]


def _answer(question: str) -> str:
    print(question, end="", flush=True)
    return sys.stdin.readline().strip() if sys.stdin is not None else ""


def _finished(runs: Runs, cell: Cell) -> list[RunDirectory]:
    found = [run for run in runs.of_cell(cell) if run.is_finished()]
    if not found:
        raise UserError(f"no run of {cell} is finished in {runs.folder}")
    return found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _total(rows: Sequence[Row]) -> str:
    return _size(sum(row.get("bytes", 0) for row in rows))


def _size(number: float) -> str:
    for unit in UNITS[:-1]:
        if number < 1000:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.0f} {UNITS[-1]}"


def _age(seconds: float) -> str:
    period, unit = next((period for period in PERIODS if seconds >= period[0]), PERIODS[-1])
    return f"{max(0, seconds) / period:.0f} {unit}"


if __name__ == "__main__":
    sys.exit(run_program(main, if_interrupted="nothing more was done"))
