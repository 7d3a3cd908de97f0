"""The overlap of attention maps: its rows, its table and its figures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure

from dataloader.errors import UserError
from engine.cells import TEACHER_NUMBERS, TeacherCell
from engine.run import RunDirectory
from evaluation.calculate_iou import OverlapOptions
from evaluation.figures import AttentionRow, attention_figure, overlap_figure
from evaluation.grid import Grid, open_grid
from evaluation.outputs import AttentionMaps, Outputs, OutputStore
from evaluation.recent_masks import RecentMasks
from evaluation.results import publish
from evaluation.table import Row
from metrics.agreement import ensemble_logits
from metrics.bootstrap import means_with_intervals
from metrics.overlap import binarize, intersection_over_union_per_image, pointing_hits
from metrics.packed_masks import PackedMasks
from metrics.set_overlap import masks_overlap

DRAWN_IMAGES = 6
# The table's; the files hold an interval and a chance floor for each pair too.
COLUMNS = (
    "cell", "seed", "iou", "iou_low", "iou_high", "iou_chance", "iou_pooled",
    *(f"iou_T{k}_S" for k in TEACHER_NUMBERS), "object_iou", "pointing_game",
)  # fmt: skip


def publish_overlap(options: OverlapOptions) -> None:
    """Print and write the overlap of each group, and draw it."""
    grid, store, runs = open_grid(options)
    measure = Measure(grid, store, options)
    students = grid.with_teachers(runs)
    rows = measure.teachers_rows(students) if options.group == "T_T" else measure.rows(students)
    if not rows:
        raise UserError(f"no cell of {' '.join(options.cells)} has the models that this compares")
    publish(
        options.folder / (options.name or f"iou_{options.group}"),
        rows,
        COLUMNS,
        {"": overlap_figure(rows), **measure.overlays(students)},
        f"target class: {options.target}; threshold {options.threshold} of each map's range; "
        "chance: each model's mask from another image;\niou: mean over images with its 95% "
        "bootstrap interval; iou_pooled: total intersection / total union",
        store.summary(),
    )


class Measure:
    """The overlaps of a grid under one choice of target and threshold."""

    def __init__(self, grid: Grid, store: OutputStore, options: OverlapOptions) -> None:
        self.grid, self.store, self.options = grid, store, options
        self.masks = RecentMasks(options.threshold)

    def teachers_rows(self, students: Sequence[RunDirectory]) -> list[Row]:
        """A row for each set of two or three teachers that some student has."""
        groups = dict.fromkeys(run.cell.teachers for run in students if len(run.cell.teachers) > 1)
        return [self._teachers_row(cells) for cells in groups]

    def rows(self, students: Sequence[RunDirectory]) -> list[Row]:
        """A row for each student: with all its teachers, then with each."""
        return [self._student_row(run) for run in students]

    def overlays(self, students: Sequence[RunDirectory]) -> dict[str, Figure]:
        """For the first and last student: images with every map and mask."""
        ends = {str(run.cell): run for run in (*students[:1], *students[-1:])}
        return {f"_maps_{name}": self._overlay(run) for name, run in ends.items()}

    def _teachers_row(self, cells: Sequence[TeacherCell]) -> Row:
        outputs = self._teachers(cells)
        maps = self._maps(outputs, outputs)
        size = outputs[0].image_size
        row = {"cell": "_".join(map(str, cells)), "seed": 0} | self._overlap("iou", maps, size)
        return row | self._object(maps, outputs[0], size)

    def _student_row(self, run: RunDirectory) -> Row:
        teachers = self._teachers(run.cell.teachers)
        outputs = [*teachers, self.store.get(run)]
        maps = self._maps(outputs, teachers)
        size = outputs[-1].image_size
        row: Row = {"cell": str(run.cell), "seed": run.seed} | self._overlap("iou", maps, size)
        for cell, own in zip(run.cell.teachers, maps, strict=False):
            row |= self._overlap(f"iou_T{cell.number}_S", [own, maps[-1]], size)
        return row | self._object(maps[-1:], outputs[0], size)

    def _teachers(self, cells: Sequence[TeacherCell]) -> list[Outputs]:
        return [self.store.get(run) for run in self.grid.teachers(cells)]

    def _maps(self, outputs: Sequence[Outputs], teachers: Sequence[Outputs]) -> list[torch.Tensor]:
        """One (n, h, w) map a model, of the target that all share unless it is "predicted"."""
        return [
            own.maps.select(target_of(self.options.target, own, teachers, own.maps))
            for own in outputs
        ]

    def _overlap(self, name: str, maps: Sequence[torch.Tensor], size: int) -> Row:
        found = masks_overlap([self.masks.of(own, size) for own in maps])
        row = means_with_intervals({name: found.per_image})
        return row | {f"{name}_chance": found.chance, f"{name}_pooled": found.pooled}

    def _object(self, maps: Sequence[torch.Tensor], outputs: Outputs, size: int) -> Row:
        """Overlap with the true object, mean over the models, where the data set knows it."""
        objects = object_masks(self.store, outputs, size)
        if objects is None:
            return {}
        packed = PackedMasks.pack(objects)
        overlaps = [
            intersection_over_union_per_image([self.masks.of(own, size), packed]) for own in maps
        ]
        hits = [pointing_hits(own, objects).double() for own in maps]
        return means_with_intervals(
            {
                "object_iou": torch.stack(overlaps).mean(0),
                "pointing_game": torch.stack(hits).mean(0),
            }
        )

    def _overlay(self, run: RunDirectory) -> Figure:
        teachers = self._teachers(run.cell.teachers)
        outputs = [*teachers, self.store.get(run)]
        size = outputs[-1].image_size
        maps = [own[:DRAWN_IMAGES] for own in self._maps(outputs, teachers)]
        masks = [binarize(own, size, threshold=self.options.threshold) for own in maps]
        images = self.store.images("test")
        index = outputs[0].index[outputs[0].maps.rows][:DRAWN_IMAGES].tolist()
        rows = [
            AttentionRow(images.image(k), [own[i] for own in maps], [own[i] for own in masks])
            for i, k in enumerate(index)
        ]
        return attention_figure(rows, [*map(str, run.cell.teachers), "student"])


def target_of(
    name: str, own: Outputs, teachers: Sequence[Outputs], maps: AttentionMaps
) -> str | torch.Tensor:
    """The classes (n,) whose maps are compared, or "class_sum", for the images that have maps."""
    if name == "class_sum":
        return name
    if name == "label":
        return own.labels[maps.rows]
    if name == "predicted":
        return own.logits[maps.rows].argmax(1)
    stacked = torch.stack([teacher.logits[maps.rows] for teacher in teachers])
    return ensemble_logits(stacked).argmax(1)


def object_masks(store: OutputStore, outputs: Outputs, size: int) -> torch.Tensor | None:
    """True objects (n, size, size) under the test view, bool; None where they are not known.

    The test view of a set with masks only resizes, so the mask is resized alike.
    """
    masks = store.images("test").masks
    if masks is None:
        return None
    chosen = torch.from_numpy(masks[outputs.index[outputs.maps.rows].numpy()])
    return F.interpolate(chosen[:, None].float(), (size, size), mode="nearest")[:, 0] > 0.5
