"""Reads what the claims are about from the outputs and records of finished runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from common.errors import UserError, one_line
from engine.cells import PAPER_LETTERS
from engine.records import Record
from engine.run import RunDirectory
from evaluation.answers import Answers
from evaluation.calculate_agreement import MOST_TRAINING_IMAGES
from evaluation.grid import Grid, named
from evaluation.grid_values import (
    AFFINITY,
    CLEAN_GAP,
    ENSEMBLE,
    FIDELITY,
    GAP,
    GRID_STUDENTS,
    OVERLAP,
    TOP1,
    GridValues,
    SeededStudent,
)
from evaluation.outputs import OutputStore
from evaluation.overlaps import USUAL, Overlaps, read_overlaps
from evaluation.per_image import Gap, Mean, PerImage, Ratio
from metrics.agreement import ensemble_logits


def read_grid_values(
    grid: Grid, store: OutputStore, runs: Sequence[RunDirectory]
) -> GridValues | None:
    """Values of the plain students among `runs` that answered the same images as the first, and
    of their teachers; None where there are none. Others are named on stderr."""
    students = [run for run in runs if run.cell in GRID_STUDENTS]
    return _Reader(grid, store, students).values() if students else None


def last_figures(run: RunDirectory) -> Record:
    """Those of a run's last epoch; none, with a word on stderr, where its record is damaged."""
    try:
        return run.read_metrics()["last"]
    except (UserError, OSError) as error:
        print(f"without its training record: {named(run)}: {one_line(error)}", file=sys.stderr)
        return {}


def trained_top1(run: RunDirectory, checkpoint: str) -> float | None:
    """Top-1 in the epoch of the checkpoint, of the images and views that trained; None of adopted
    weights, and, with a word on stderr, where a record is damaged."""
    try:
        records = run.read_epochs(until=epoch_of(run, checkpoint))
        return records[-1]["train"]["top1"] if records else None
    except (UserError, OSError) as error:
        print(f"without its gap: {named(run)}: {one_line(error)}", file=sys.stderr)
        return None


def epoch_of(run: RunDirectory, checkpoint: str) -> int:
    """After which epoch a finished run's checkpoint, "last", "best" or "epoch<k>", was saved;
    UserError where its record is damaged or does not say it."""
    if checkpoint.startswith("epoch"):
        return int(checkpoint.removeprefix("epoch"))
    epoch = run.read_metrics()[checkpoint].get("epoch")
    if type(epoch) is not int:
        raise UserError(f"{run.metrics} does not say its {checkpoint} epoch")
    return epoch


def training_store(store: OutputStore) -> OutputStore:
    """The same, asked about no more training images than the report asks about."""
    most = store.options.max_images or MOST_TRAINING_IMAGES
    return OutputStore(replace(store.options, max_images=most))


@dataclass(frozen=True)
class _Reader:
    grid: Grid
    store: OutputStore
    students: Sequence[RunDirectory]

    def values(self) -> GridValues:
        overlaps = read_overlaps(self.grid, self.store, self.students, PAPER_LETTERS)
        students: dict[str, dict[SeededStudent, PerImage]] = {}
        seeds = {}
        for run in self.students:
            if not self.store.answers(run).same_images(self._first):
                others = f"it is tested on other images than {named(self.students[0])}"
                print(f"left out of the claims: {named(run)}: {others}", file=sys.stderr)
                continue
            seeds[run.cell, run.seed] = run.teacher_seed
            for measure, values in (*self._alone(run), *self._taught(run, overlaps)):
                students.setdefault(measure, {})[run.cell, run.seed] = values
        return GridValues(len(self._first.labels), students, overlaps, seeds)

    @cached_property
    def _first(self) -> Answers:
        return self.store.answers(self.students[0])

    @cached_property
    def _training(self) -> OutputStore:
        return training_store(self.store)

    def _alone(self, run: RunDirectory) -> Iterator[tuple[str, PerImage]]:
        """What is known of a student without its teachers."""
        right = Mean.of_all(self.store.answers(run).correct)
        yield TOP1, right
        trained = trained_top1(run, self.store.options.checkpoint)
        if trained is not None:
            yield GAP, Gap(trained, right)

    def _taught(self, run: RunDirectory, overlaps: Overlaps) -> Iterator[tuple[str, PerImage]]:
        """What is known of a student and its teachers."""
        teachers = self.grid.runs.teachers_of(run)
        if not teachers or not all(map(self.grid.is_there, teachers)):
            return
        answers = self.store.answers(run)
        predicted = ensemble_predictions(
            [self.store.answers(teacher, like=run) for teacher in teachers]
        )
        if predicted is not None:
            yield FIDELITY, Mean.of_all(answers.predictions == predicted)
            yield ENSEMBLE, Mean.of_all(predicted == answers.labels)
        overlap = overlaps.get(USUAL, {}).get((run.cell.teachers, run.teacher_seed))
        if overlap is not None:
            yield OVERLAP, overlap
        yield from self._under_other_images(run, Mean.of_all(answers.correct))

    def _under_other_images(self, run: RunDirectory, right: Mean) -> Iterator[tuple[str, PerImage]]:
        """What takes training images, or another view; a word on stderr where they cannot be
        had."""
        try:
            train = self._training.answers(run, split="train").correct
            viewed = self.store.answers(run, view=run.cell.view).correct
        except (UserError, OSError) as error:
            what = f"without its clean gap and affinity: {named(run)}"
            print(f"{what}: {one_line(error)}", file=sys.stderr)
            return
        yield CLEAN_GAP, Gap(train.double().mean().item(), right)
        yield AFFINITY, Ratio(Mean.of_all(viewed), right)


def ensemble_predictions(kept: Sequence[Answers]) -> torch.Tensor | None:
    """(n,) classes that the mean of several models' logits predicts, or one model; None where the
    logits are not kept."""
    if len(kept) == 1:
        return kept[0].predictions
    logits = [answers.logits for answers in kept if answers.logits is not None]
    return ensemble_logits(torch.stack(logits)).argmax(1) if len(logits) == len(kept) else None
