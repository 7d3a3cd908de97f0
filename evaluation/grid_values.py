"""What the claims are about: of each student and teacher set, a value for each test image."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from common.errors import UserError, one_line
from engine.cells import Cell, StudentCell, TeacherCell, student_cells, teacher_cells
from engine.records import Record
from engine.run import RunDirectory
from evaluation.answers import Answers
from evaluation.grid import Grid, named
from evaluation.outputs import OutputStore
from evaluation.overlap_table import target_of
from evaluation.tables import is_number
from metrics.agreement import ensemble_logits
from metrics.overlap import RecentMasks, masks_overlap

GRID_STUDENTS = tuple(cell for k in range(4) for cell in student_cells(k))

Teachers = tuple[TeacherCell, ...]
SeededStudent = tuple[Cell, int]


@dataclass(frozen=True)
class PerImage:
    """values (m,) float64 of the images at `index` (m,) among all n."""

    values: Tensor
    index: Tensor

    def mean(self, weights: Tensor) -> Tensor:
        """Weighted means over the images. (R, n) -> (R,)."""
        chosen = weights[:, self.index]
        return (chosen @ self.values) / chosen.sum(dim=1)


@dataclass(frozen=True)
class GridValues:
    """top1, fidelity (to the ensemble): 0 or 1 for each image of a student of a seed; training
    top1, a fraction, of the same; corrected, plain: IoU of a set of teachers, above chance and as
    it is. Of what is not known there is no entry."""

    images: int
    top1: Mapping[SeededStudent, PerImage]
    train_top1: Mapping[SeededStudent, float]
    fidelity: Mapping[SeededStudent, PerImage]
    corrected: Mapping[Teachers, PerImage]
    plain: Mapping[Teachers, PerImage]

    def seeds_of(self, cells: Iterable[StudentCell]) -> list[int]:
        """The seeds that have every one of `cells`."""
        seeds = [{seed for cell, seed in self.top1 if cell == wanted} for wanted in cells]
        return sorted(set.intersection(*seeds)) if seeds else []

    def known(self, values: Mapping[SeededStudent, object], cell: StudentCell) -> bool:
        """Whether `values` has every seed of the cell."""
        return all((cell, seed) in values for seed in self.seeds_of([cell]))

    def of_views(self, letters: Collection[str]) -> GridValues:
        """Of the students whose models were all trained on these views."""
        kept = {key: own for key, own in self.top1.items() if key[0].letters <= set(letters)}
        return replace(self, top1=kept)

    @property
    def cells(self) -> list[StudentCell]:
        """The students that some seed has, in the order of the grid."""
        begun = {cell for cell, _ in self.top1}
        return [cell for cell in GRID_STUDENTS if cell in begun]


def read_grid_values(
    grid: Grid, store: OutputStore, runs: Sequence[RunDirectory]
) -> GridValues | None:
    """Values of the plain students among `runs` that answered the same images as the first, and
    of their teachers; None where there are none."""
    students = [run for run in runs if run.cell in GRID_STUDENTS]
    if not students:
        return None
    first = store.answers(students[0])
    top1, train_top1, fidelity = {}, {}, {}
    for run in students:
        answers, key = store.answers(run), (run.cell, run.seed)
        if not torch.equal(answers.labels, first.labels):
            continue
        top1[key] = _all_images(answers.correct)
        last = last_figures(run)
        if is_number(last.get("gap_points")):  # of adopted weights nobody knows it
            train_top1[key] = last["test"]["top1"] + last["gap_points"] / 100
        ensemble = _ensemble(grid, store, run)
        if ensemble is not None:
            fidelity[key] = _all_images(answers.predictions == ensemble)
    corrected, plain = _overlaps(grid, store, students)
    return GridValues(len(first.labels), top1, train_top1, fidelity, corrected, plain)


def last_figures(run: RunDirectory) -> Record:
    """Those of a run's last epoch; none, with a word on stderr, where its record is damaged."""
    try:
        return run.read_metrics()["last"]
    except (UserError, OSError) as error:
        print(f"without its training record: {named(run)}: {one_line(error)}", file=sys.stderr)
        return {}


def _ensemble(grid: Grid, store: OutputStore, run: RunDirectory) -> Tensor | None:
    """(n,) classes that the teachers' mean logits predict; None without teachers or logits."""
    teachers = grid.runs.teachers_of(run)
    if not teachers or not all(map(grid.is_there, teachers)):
        return None
    kept = [store.answers(teacher, like=run) for teacher in teachers]
    return _predictions(kept)


def _predictions(kept: Sequence[Answers]) -> Tensor | None:
    if len(kept) == 1:
        return kept[0].predictions
    logits = [answers.logits for answers in kept if answers.logits is not None]
    return ensemble_logits(torch.stack(logits)).argmax(1) if len(logits) == len(kept) else None


def _overlaps(
    grid: Grid, store: OutputStore, students: Sequence[RunDirectory]
) -> tuple[dict[Teachers, PerImage], dict[Teachers, PerImage]]:
    """IoU above chance, and plain, of the students' sets of teachers and of all pairs of a view."""
    wanted = [run.cell.teachers for run in students if len(run.cell.teachers) > 1]
    pairs = itertools.combinations(teacher_cells(), 2)
    wanted += [pair for pair in pairs if len({teacher.letter for teacher in pair}) == 1]
    masks, corrected, plain = RecentMasks(), {}, {}
    seed = students[0].teacher_seed
    for teachers in dict.fromkeys(wanted):
        runs = [grid.runs.of(cell, seed) for cell in teachers]
        if not all(map(grid.is_there, runs)):
            continue
        looked = [store.maps(run, like=students[0]) for run in runs]
        kept = [maps for maps in looked if maps is not None]
        if len(kept) < len(looked):
            continue
        size = int(kept[0].image_size)
        maps = [own.select(target_of("ensemble", own, kept)) for own in kept]
        found = masks_overlap([masks.of(own, size) for own in maps])
        places = torch.searchsorted(store.answers(students[0]).index, kept[0].index)
        if found.corrected is not None:
            corrected[teachers] = PerImage(found.corrected, places)
        plain[teachers] = PerImage(found.per_image, places)
    return corrected, plain


def _all_images(values: Tensor) -> PerImage:
    return PerImage(values.double(), torch.arange(len(values)))
