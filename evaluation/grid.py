"""The finished runs that a measurement is about, and a word on those that are not there."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from common.errors import UserError, one_line
from engine.cells import (
    TEACHER_NUMBERS,
    Cell,
    TeacherCell,
    expand,
    grid_order,
    joined,
    student_cells,
    teacher_cells,
)
from engine.compute import pick_device
from engine.config import FIRST_SEED, OWN_VIEW, TRAINED
from engine.run import RunDirectory, Runs
from evaluation.options import MeasureOptions
from evaluation.outputs import OutputStore

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


def of_parts(parts: Mapping[str, Callable[[], Iterable[Result]]], what: str) -> list[Result]:
    """All that the parts of a page make, each part a `what` of its name; as `of_each`, and none is
    needed."""
    made = of_each(
        parts, lambda name: list(parts[name]()), f"the {what} of {{}}".format, needed=False
    )
    return list(itertools.chain.from_iterable(made))


def named(run: RunDirectory) -> str:
    """Cell and seed of a run."""
    return f"{run.cell} seed {run.seed}"


def asks_as_trained(student: RunDirectory) -> bool:
    """Whether its teachers are asked about the part of the images that they were trained on."""
    return student.saved_settings().get("teachers_see", TRAINED) in (TRAINED, OWN_VIEW)


def name_of_overlap(student: RunDirectory) -> tuple[str, int]:
    """The name and the seed of the row of its teachers' overlap: shared by students, and so named
    after the teachers, or its own."""
    if asks_as_trained(student):
        return joined(student.cell.teachers), student.teacher_seed
    return str(student.cell), student.seed


SCRIPT_STEMS = {
    "CIFAR100": "cifar100",
    "CIFAR100_imb100": "cifar100_imb",
    "ImageNet": "ImageNet",
    "ImageNet_LT": "ImageNet_LT",
}
NAMED_CELLS = 3  # of those that are missing; more are counted


@dataclass(frozen=True)
class Grid:
    """A data set's runs, as a measurement sees them, which may have to do without some."""

    runs: Runs
    left_out: frozenset[Path] = frozenset()

    def is_there(self, run: RunDirectory) -> bool:
        """Whether the run is finished and not left out."""
        return run.is_finished() and run.path not in self.left_out

    def finished(self, cells: Sequence[Cell], seeds: Sequence[int] = ()) -> list[RunDirectory]:
        """The finished runs of `cells` with one of the `seeds` (none: all there are).

        Those missing or in progress are told on stderr, with the script that makes them.
        UserError when none is finished.
        """
        asked = sorted(set(cells), key=grid_order)
        begun = [run for cell in asked for run in self._of_cell(cell, seeds)]
        for run in begun:
            if not run.is_finished():
                print(f"in progress, left out: {run.path}", file=sys.stderr)
        for line in self._advice(begun, asked, seeds):
            print(line, file=sys.stderr)
        if done := [run for run in begun if run.is_finished()]:
            return done
        raise UserError(f"none of the cells asked for is finished in {self.runs.folder}")

    def teachers(self, student: RunDirectory) -> list[RunDirectory]:
        """The finished runs of a student's teachers; UserError names the first that is not
        there."""
        runs = self.runs.teachers_of(student)
        for run in runs:
            if run.path in self.left_out:
                raise UserError(f"teacher {run.cell} is left out ({run.path})")
            if not run.is_finished():
                script = self._script(run.cell, str(run.cell), run.seed)
                raise UserError(
                    f"teacher {run.cell} is not finished ({run.path}): made by {script}"
                )
        return runs

    def all_teachers(self, seed: int) -> list[RunDirectory]:
        """The finished runs of the groups' teachers of a replicate, those that are there."""
        runs = [self.runs.of(cell, seed) for cell in teacher_cells()]
        return [run for run in runs if self.is_there(run)]

    def with_teachers(self, runs: Sequence[RunDirectory]) -> list[RunDirectory]:
        """The students among `runs` whose teachers are there; the others are named on stderr.

        UserError when none is left.
        """
        ready = []
        for run in runs:
            try:
                ready += [run] if self.teachers(run) else []
            except UserError as error:
                print(f"left out: {run.cell}, whose {error}", file=sys.stderr)
        if not ready:
            raise UserError(f"no student with its teachers is finished in {self.runs.folder}")
        return ready

    def _of_cell(self, cell: Cell, seeds: Sequence[int]) -> list[RunDirectory]:
        return [run for run in self.runs.of_cell(cell) if not seeds or run.seed in seeds]

    def _advice(
        self, begun: Sequence[RunDirectory], cells: Sequence[Cell], seeds: Sequence[int]
    ) -> list[str]:
        """Of the cells those that have not begun, with one of the seeds or, if none is asked for,
        with any: a line for each command that trains them."""
        there = {(run.cell, run.seed if seeds else FIRST_SEED) for run in begun}
        by_script: dict[tuple[str, int], list[Cell]] = {}
        for seed, cell in itertools.product(seeds or [FIRST_SEED], cells):
            if (cell, seed) not in there:
                by_script.setdefault((self._script(cell, "", seed), seed), []).append(cell)
        return [
            f"not there: {_named(of_script)}{f', seed {seed}' if seeds else ''}, made by "
            f"{self._script(of_script[0], ' '.join(map(str, of_script)), seed)}"
            for (_, seed), of_script in by_script.items()
        ]

    def _script(self, cell: Cell, cells: str, seed: int = FIRST_SEED) -> str:
        """The command that trains a cell, told of `cells` where its script trains others unless it
        is told; a set without scripts of its own borrows CIFAR-100's."""
        of_seed = f"SEEDS={seed} " if seed != FIRST_SEED else ""
        dataset = self.runs.dataset
        if cell.variant is not None:
            role = "teacher" if isinstance(cell, TeacherCell) else "student"
            flag = f" --seed {seed}" if seed != FIRST_SEED else ""
            return (
                f"python train_{role}.py --dataset {dataset} --cell {cell}{flag} and its settings"
            )
        stem = SCRIPT_STEMS.get(dataset, SCRIPT_STEMS["CIFAR100"])
        prefix = "" if dataset in SCRIPT_STEMS else f"DATASET={dataset} "
        told = "" if self._is_default(cell) else f'CELLS="{cells}" '
        if isinstance(cell, TeacherCell):
            return f"{of_seed}{told}{prefix}bash script/{stem}-T.sh"
        # Only the CIFAR grids have a script for three teachers; elsewhere CELLS names them.
        three = "3T_" if len(cell.teachers) == len(TEACHER_NUMBERS) and "cifar" in stem else ""
        return f"{of_seed}{told}{prefix}bash script/{three}{stem}.sh"

    def _is_default(self, cell: Cell) -> bool:
        """Whether a script trains it that is not told what to train: a cell of the groups, of
        ImageNet of two teachers."""
        few = self.runs.dataset.startswith("ImageNet")
        if isinstance(cell, TeacherCell):
            return cell.number <= (2 if few else len(TEACHER_NUMBERS))
        count = len(cell.teachers)
        return (
            count <= len(TEACHER_NUMBERS)
            and cell in student_cells(count)
            and (count == 2 or not few)
        )


def open_grid(options: MeasureOptions) -> tuple[Grid, OutputStore, list[RunDirectory]]:
    """The grid, the store of its outputs and the finished runs that the options ask for."""
    pick_device(options.device)  # once, instead of for each run
    grid = Grid(Runs(options.folder.parent, options.dataset))
    runs = grid.finished(expand(options.cells), options.seeds)
    if not os.access(options.folder, os.W_OK | os.X_OK):
        raise UserError(f"{options.folder} may not be written to, and results are kept there")
    return grid, OutputStore(options), runs


def _named(cells: Sequence[Cell]) -> str:
    names = " ".join(map(str, cells[:NAMED_CELLS]))
    return names if len(cells) <= NAMED_CELLS else f"{len(cells)} cells ({names} ...)"
