"""What agreement and overlap are where nothing was taught, and how far they hang on a choice.

Every row is a mean with its standard deviation over `n` cells, pairs or models, by the view that
trained them.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dataloader.images import evenly_spaced
from dataloader.views import GRID_LETTERS
from engine.compute import Compute
from engine.run import RunDirectory
from evaluation.answers import Answers, AttentionMaps
from evaluation.grid import Grid, of_parts
from evaluation.grid_values import GRID_STUDENTS
from evaluation.options import TARGETS
from evaluation.outputs import OutputStore
from evaluation.overlap_table import target_of
from evaluation.tables import Row
from metrics.agreement import cohen_kappa, error_consistency
from metrics.attention import (
    CLASS_SUM,
    PREDICTED,
    ClassMaps,
    classifier_weight,
    forward_with_features,
    maps_from_features,
    says_where,
    source_of,
)
from metrics.overlap import masks_overlap, packed_masks, rank_correlation_per_image, set_overlap

OTHER_TARGETS = tuple(target for target in TARGETS if target != "ensemble")  # all else is of that
MOST_PAIRS = 3  # of a cell's seeds
SHIFTED_IMAGES = 256  # whose maps are made once more with another classifier

Values = dict[str, float]


@dataclass(frozen=True)
class Controls:
    """The controls of a grid's finished runs, all asked about the first student's images."""

    grid: Grid
    store: OutputStore
    runs: Sequence[RunDirectory]

    def rows(self) -> list[Row]:
        """A row for each control, view and figure."""
        parts = {
            "seeds": self._same_cell,
            "teachers of one view": self._same_view,
            "teachers never heard": self._unrelated,
            "shifted classifiers": self._shifted,
        }
        return of_parts(parts, "control")

    def _same_cell(self) -> Iterator[Row]:
        """How far the same training repeats itself: with another seed, and the teachers of that
        seed unless they are shared. It is no bound of fidelity, which may be higher."""
        students = [run for run in self.runs if run.cell in GRID_STUDENTS]
        by_cell = {cell: [run for run in students if run.cell == cell] for cell in GRID_STUDENTS}
        for view, letter in _letters():
            of_cells = []
            for runs in (runs for cell, runs in by_cell.items() if cell.letter == letter):
                pairs = itertools.islice(itertools.combinations(runs, 2), MOST_PAIRS)
                values = [self._alike(a, b) | self._look_alike(a, b) for a, b in pairs]
                if values:
                    of_cells.append(_means(values))
            yield from _spread("two students that differ in their seed", view, of_cells)

    def _same_view(self) -> Iterator[Row]:
        """Two teachers of a view likewise, and their overlap under every other target."""
        for view, letter in _letters():
            values = [
                self._alike(a, b) | self._look_alike(a, b) | self._by_target(a, b)
                for replicate in self._teachers(letter)
                for a, b in itertools.combinations(replicate, 2)
            ]
            yield from _spread("two teachers of one view", view, values)

    def _unrelated(self) -> Iterator[Row]:
        """Students of one teacher: with it, and with others of its view that they never heard.
        Balanced: each teacher that has students of its own is the one that they heard as often as
        every other, so that it does not matter how good or usual it is."""
        for view, letter in _letters():
            heard: list[Values] = []
            others: list[Values] = []
            for taught in self._of_one_teacher(letter):
                for teacher, other in itertools.product(taught, repeat=2):
                    alike = _means([self._alike(other, student) for student in taught[teacher]])
                    if len(taught) > 1:
                        (heard if other == teacher else others).append(alike)
            yield from _spread("a student of one teacher, and that teacher", view, heard)
            yield from _spread("the same, and others of the view", view, others)

    def _of_one_teacher(self, letter: str) -> list[dict[RunDirectory, list[RunDirectory]]]:
        """For each view of the students: teachers of the view of `letter`, with the students of
        each alone."""
        by_view: dict[str, dict[RunDirectory, list[RunDirectory]]] = {}
        for run in self.runs:
            if run.cell not in GRID_STUDENTS or len(run.cell.teachers) != 1:
                continue
            (teacher,) = self.grid.runs.teachers_of(run)
            if self.grid.is_there(teacher) and teacher.cell.letter == letter:
                by_view.setdefault(run.cell.letter, {}).setdefault(teacher, []).append(run)
        return list(by_view.values())

    def _shifted(self) -> Iterator[Row]:
        """Maps of a teacher and of the same with one vector added to all classifier rows, which
        changes no prediction: what overlaps less than fully is not about the model."""
        for view, letter in _letters():
            values = [self._own_overlap(run) for run in self._teachers(letter)[0]]
            yield from _spread("a teacher, and it with a shifted classifier", view,
                               [value for value in values if value])  # fmt: skip

    def _teachers(self, letter: str) -> list[list[RunDirectory]]:
        """Those of the view of `letter`, of each replicate that teaches one of the students."""
        seeds = dict.fromkeys(run.teacher_seed for run in self.runs)
        of_seeds = [self.grid.all_teachers(seed) for seed in seeds]
        return [[run for run in runs if run.cell.letters == {letter}] for runs in of_seeds]

    def _answers(self, run: RunDirectory) -> Answers:
        return self.store.answers(run, like=self.runs[0])

    def _maps(self, *runs: RunDirectory) -> list[AttentionMaps] | None:
        kept = [self.store.maps(run, like=self.runs[0]) for run in runs]
        known = [answers for answers in kept if answers is not None]
        return known if len(known) == len(kept) else None

    def _alike(self, a: RunDirectory, b: RunDirectory) -> Values:
        p, q = self._answers(a), self._answers(b)
        return {
            "agreement": (p.predictions == q.predictions).double().mean().item(),
            "Cohen's kappa": cohen_kappa(p.predictions, q.predictions),
            "error consistency": error_consistency(p.correct, q.correct),
        }

    def _look_alike(self, a: RunDirectory, b: RunDirectory) -> Values:
        kept = self._maps(a, b)
        if kept is None:
            return {}
        maps = [answers.select(target_of("ensemble", answers, kept)) for answers in kept]
        masks = [packed_masks(heatmap, int(kept[0].image_size)) for heatmap in maps]
        found = masks_overlap(masks)
        return {
            "IoU": found.per_image.mean().item(),
            "IoU above chance": _mean_of(found.corrected),
            "rank correlation of the maps": rank_correlation_per_image(*maps).mean().item(),
            "mask area": torch.stack([mask.area for mask in masks]).mean().item(),
        }

    def _by_target(self, a: RunDirectory, b: RunDirectory) -> Values:
        kept = self._maps(a, b)
        if kept is None:
            return {}
        size, values = int(kept[0].image_size), {}
        for target in OTHER_TARGETS:
            maps = [answers.select(target_of(target, answers, kept)) for answers in kept]
            found = set_overlap(maps, size)
            values[f"IoU, target {target}"] = found.per_image.mean().item()
            values[f"IoU above chance, target {target}"] = _mean_of(found.corrected)
        return values

    def _own_overlap(self, run: RunDirectory) -> Values:
        model = self.store.model(run, like=self.runs[0])
        if not isinstance(source_of(model), ClassMaps):
            return {}
        images = self._inputs()
        logits, features = forward_with_features(model, images)
        if not says_where(features):
            return {}
        weight = classifier_weight(model, features)
        shifted = weight + _one_vector(weight)
        values = {}
        for name, target in ((CLASS_SUM, CLASS_SUM), (PREDICTED, logits.argmax(1))):
            maps = [maps_from_features(features, rows, target) for rows in (weight, shifted)]
            masks = [packed_masks(heatmap, images.shape[-1]) for heatmap in maps]
            values[f"IoU with itself, target {name}"] = masks_overlap(masks).per_image.mean().item()
        return values

    def _inputs(self) -> Tensor:
        """Normalised test views of the first student's images, evenly spaced."""
        sources = self.store.sources
        source = sources.of(self.runs[0])
        chosen = evenly_spaced(len(sources.images(source, "test")), SHIFTED_IMAGES).tolist()
        seen = torch.stack([sources.picture(source, "test", "test", index) for index in chosen])
        return Compute(torch.device("cpu"), "none", source.statistics).inputs(seen)


def _letters() -> Iterator[tuple[str, str]]:
    """View and letter of those that train models."""
    for letter, view in GRID_LETTERS.items():
        yield view, letter


def _one_vector(weight: Tensor) -> Tensor:
    """A random direction, as long as a row of the (C, D) classifier is on average."""
    draw = torch.randn(weight.shape[1], generator=torch.Generator().manual_seed(0))
    return draw / draw.norm() * weight.norm(dim=1).mean()


def _mean_of(corrected: Tensor | None) -> float:
    return math.nan if corrected is None else corrected.mean().item()


def _known(values: Sequence[Values]) -> dict[str, list[float]]:
    """Each figure's values, those that are known: not a kappa of models that always say the same,
    not an overlap without a chance."""
    names = dict.fromkeys(name for value in values for name in value)
    columns = {
        name: [value[name] for value in values if not math.isnan(value.get(name, math.nan))]
        for name in names
    }
    return {name: column for name, column in columns.items() if column}


def _means(values: Sequence[Values]) -> Values:
    return {name: statistics.fmean(column) for name, column in _known(values).items()}


def _spread(control: str, view: str, values: Sequence[Values]) -> Iterator[Row]:
    for name, column in _known(values).items():
        yield {
            "control": control,
            "view": view,
            "figure": name,
            "mean": statistics.fmean(column),
            "std": statistics.stdev(column) if len(column) > 1 else None,
            "n": len(column),
        }
