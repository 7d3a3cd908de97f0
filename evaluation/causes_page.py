"""runs/<set>/report/causes.md: the arms of script/causes.sh, judged over finished replicates."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence

from common.errors import UserError
from common.files import write_text
from engine.cells import StudentCell
from engine.run import RunDirectory, Runs
from evaluation import described, judging
from evaluation.grid import Grid, of_each, open_grid
from evaluation.judging import SHARED, Measured, check_images, judged_rows, ratio_sentence
from evaluation.latex import write_estimates
from evaluation.options import MeasureOptions
from evaluation.replicate import MissingError, Replicate
from evaluation.study_figures import EXPLORATORY, FIGURES, Figure, measured_by
from evaluation.tables import Row, format_table, write_table

CAUSES = [dataclasses.replace(figure, rank=EXPLORATORY)
          for figure in FIGURES if figure.endpoint not in ("1", "2")]  # fmt: skip
RULE = (
    "Figures are explained in docs/study.md. Intervals of 95% know the spread over replicates and "
    "the choice of test images; nothing is corrected for the number of figures. Training images "
    "are not drawn anew: all is said given these."
)


def publish_causes(options: MeasureOptions) -> None:
    """Print and write the figures that the finished runs allow. UserError where there is none."""
    students = _students(Runs(options.folder.parent, options.dataset))
    if not students:
        raise UserError(
            f"{options.folder} holds no students of two teachers: bash script/causes.sh"
        )
    grid, store, runs = open_grid(dataclasses.replace(options, cells=tuple(map(str, students))))
    like = _reference(grid, runs)
    replicates = [Replicate(grid, store, seed, teachers, like) for seed, teachers in _seeds(runs)]
    check_images(replicates[0].images)
    measured = {figure.name: list(_measured(figure, replicates)) for figure in CAUSES}
    rows = judged_rows(measured, CAUSES)
    if not rows:
        raise UserError(f"{options.folder} lacks the cells of each figure: bash script/causes.sh")
    tables = of_each(
        replicates, lambda replicate: _described(replicate, students), _named, needed=False
    )
    shared = len({replicate.teacher_seed for replicate in replicates}) < len(replicates)
    folder = options.folder / "report"
    write_text(folder / "causes.md", _page(options.dataset, shared, rows, tables,
                                           ratio_sentence(measured)))  # fmt: skip
    paths = write_table(folder / "causes", rows)
    if options.latex == "yes":
        paths.append(write_estimates(folder / "causes", rows, ("figure", "unit", "verdict")))
    print(format_table(rows, ("figure", "estimate", "low", "high", "p", "replicates", "verdict")))
    print("results:", ", ".join(map(str, [folder / "causes.md", *paths])))


def _reference(grid: Grid, runs: Sequence[RunDirectory]) -> RunDirectory:
    """A teacher, which is asked about what it was trained on, of those that are there."""
    for run in runs:
        if grid.is_there(teacher := grid.runs.teachers_of(run)[0]):
            return teacher
    raise UserError(f"no first teacher of a student in {grid.runs.folder} is finished")


def _students(runs: Runs) -> list[StudentCell]:
    """Finished students of two teachers: those of an arm and plain ones, to compare."""
    cells = dict.fromkeys(run.cell for run in runs.all() if run.is_finished())
    return [cell for cell in cells if isinstance(cell, StudentCell) and len(cell.teachers) == 2]


def _seeds(runs: Sequence[RunDirectory]) -> Iterator[tuple[int, int]]:
    """Each replicate's seed and that of its teachers."""
    for seed in sorted({run.seed for run in runs}):
        yield seed, next(run.teacher_seed for run in runs if run.seed == seed)


def _measured(figure: Figure, replicates: Sequence[Replicate]) -> Iterator[Measured]:
    """Of the replicates that have its cells; what else keeps it from being known goes to stderr."""
    for replicate in replicates:
        try:
            yield Measured.of(measured_by(figure, replicate))
        except MissingError:
            continue
        except (UserError, OSError) as error:
            print(f"left out: {figure.name}: {error}", file=sys.stderr)


def _described(replicate: Replicate, students: Sequence[StudentCell]) -> list[Row]:
    there = [cell for cell in students if _is_there(replicate.grid, replicate, cell)]
    return described.described(replicate, there)


def _is_there(grid: Grid, replicate: Replicate, cell: StudentCell) -> bool:
    runs = [grid.runs.of(cell, replicate.seed)]
    runs += [grid.runs.of(teacher, replicate.teacher_seed) for teacher in cell.teachers]
    return all(map(grid.is_there, runs))


def _named(replicate: Replicate) -> str:
    return f"the cells of seed {replicate.seed}"


def _page(
    dataset: str, shared: bool, rows: Sequence[Row], tables: Sequence[Sequence[Row]], ratio: str
) -> str:
    lines = [f"# Causes, on {dataset}", "", RULE, *(["", SHARED] if shared else [])]
    lines += ["", *judging.markdown(rows), *(["", ratio] if ratio else [])]
    lines += ["", f"n: replicates; {rows[0]['images']} test images."]
    return "\n".join([*lines, *described.sections(tables), ""])
