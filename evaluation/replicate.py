"""A replicate's finished runs, and what each says of each test image: what figures are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
from torch import Tensor

from common.errors import UserError
from engine.cells import Cell, StudentCell, TeacherCell
from engine.run import RunDirectory
from evaluation.answers import Answers, AttentionMaps
from evaluation.grid import Grid, named
from evaluation.outputs import OutputStore
from evaluation.overlap_table import target_of
from metrics.agreement import ensemble_logits
from metrics.contrasts import over_all_images
from metrics.overlap import RecentMasks, SetOverlap, binarize, equal_area_masks, masks_overlap


class MissingError(UserError):
    """A run that a figure needs is not there."""


@dataclass(frozen=True)
class Looking:
    """How two models' maps are compared: those of the class `target`, as masks of the pixels above
    `threshold` of a map's range or, where `share` is given, of that share of all pixels."""

    target: str = "label"
    threshold: float | None = None
    share: float | None = None

    def masks(self) -> RecentMasks:
        """A maker of such masks."""
        if self.share is not None:
            return RecentMasks(partial(equal_area_masks, share=self.share))
        assert self.threshold is not None
        return RecentMasks(partial(binarize, threshold=self.threshold))


@dataclass(frozen=True)
class Ensemble:
    """What a student's teachers say together, by their mean logits. (n,) each: classes; whether
    they are right; largest minus second mean logit; whether all teachers name one class."""

    predictions: Tensor
    right: Tensor
    margin: Tensor
    unanimous: Tensor

    @classmethod
    def of(cls, teachers: Sequence[Answers]) -> Ensemble:
        """UserError where logits were too many to be kept."""
        logits = [teacher.logits for teacher in teachers if teacher.logits is not None]
        if len(logits) < len(teachers):
            raise UserError("the teachers' logits take too much room: use fewer with --max-images")
        mean = ensemble_logits(torch.stack(logits))
        first, second = mean.topk(2, dim=1).values.unbind(dim=1)
        votes = torch.stack([teacher.predictions for teacher in teachers])
        predictions = mean.argmax(dim=1)
        right = predictions == teachers[0].labels
        return cls(predictions, right, first - second, (votes == votes[0]).all(dim=0))


@dataclass
class Replicate:
    """Students of a seed and the teachers of a seed that taught them, asked about the same test
    images as `like`, a run that replicates share. A student's teachers are asked as they taught.

    Whatever is said of each image is (n,) float64, n test images. MissingError where a run is not
    finished; UserError where a student has learnt from other teachers, or images are others.
    """

    grid: Grid
    store: OutputStore
    seed: int
    teacher_seed: int
    like: RunDirectory
    used: dict[Cell, RunDirectory] = field(default_factory=dict)
    _masks: dict[Looking, RecentMasks] = field(default_factory=dict)

    def right(self, cell: Cell) -> Tensor:
        """1 where the model is right, else 0."""
        return self._answers(self._run(cell)).correct.double()

    def agrees(self, cell: StudentCell) -> Tensor:
        """1 where the student names the class of its teachers' mean logits, else 0."""
        predictions = self._answers(self._run(cell)).predictions
        return (predictions == self.ensemble(cell).predictions).double()

    def ensemble(self, cell: StudentCell) -> Ensemble:
        """Its teachers together."""
        student = self._run(cell)
        return Ensemble.of([self._answers(teacher, student) for teacher in self._teachers(cell)])

    def overlap(self, cell: StudentCell, looking: Looking) -> SetOverlap:
        """Of its teachers' maps, of the images at `mapped`."""
        kept = self._maps(cell)
        masks = self._masks.setdefault(looking, looking.masks())
        size = int(kept[0].image_size)
        maps = [answers.select(target_of(looking.target, answers, kept)) for answers in kept]
        return masks_overlap([masks.of(heatmap, size) for heatmap in maps])

    def above_chance(self, cell: StudentCell, looking: Looking) -> Tensor:
        """(n,) what each image adds to the mean IoU above chance of its teachers."""
        corrected = self.overlap(cell, looking).corrected
        if corrected is None:
            raise UserError("there are fewer images than teachers, and no chance to compare with")
        return self.spread(corrected, cell)

    def mapped(self, cell: StudentCell) -> Tensor:
        """(m,) rows of the images whose maps are kept, of its teachers."""
        return torch.searchsorted(self._reference.index, self._maps(cell)[0].index)

    def spread(self, values: Tensor, cell: StudentCell) -> Tensor:
        """(m,) values of those images as what each of all images adds to their mean."""
        return over_all_images(values, self.mapped(cell), self.images)

    @property
    def images(self) -> int:
        """How many there are."""
        return len(self._reference.labels)

    @cached_property
    def _reference(self) -> Answers:
        return self.store.answers(self.like)

    def _answers(self, run: RunDirectory, student: RunDirectory | None = None) -> Answers:
        answers = self.store.answers(run, like=student or self.like)
        if not answers.same_images(self._reference):
            raise UserError(
                f"{named(student or run)} is tested on other images than {self.like.path}"
            )
        return answers

    def _maps(self, cell: StudentCell) -> list[AttentionMaps]:
        teachers = self._teachers(cell)
        looked = [self.store.maps(run, like=self._run(cell)) for run in teachers]
        kept = [maps for maps in looked if maps is not None]
        if len(kept) < len(looked):
            raise UserError(f"no attention maps are known of the teachers of {cell}")
        return kept

    def _teachers(self, cell: StudentCell) -> list[RunDirectory]:
        student = self._run(cell)
        if student.teacher_seed != self.teacher_seed:
            raise UserError(
                f"{named(student)} has learnt from teachers of seed {student.teacher_seed}, others "
                f"of its replicate from those of {self.teacher_seed}"
            )
        return [self._run(teacher) for teacher in cell.teachers]

    def _run(self, cell: Cell) -> RunDirectory:
        if cell not in self.used:
            seed = self.teacher_seed if isinstance(cell, TeacherCell) else self.seed
            run = self.grid.runs.of(cell, seed)
            if not self.grid.is_there(run):
                raise MissingError(f"{named(run)} is not finished ({run.path})")
            self.used[cell] = run
        return self.used[cell]
