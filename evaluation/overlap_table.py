"""The overlap of attention maps: its rows, its table and its figures."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from common.errors import UserError
from engine.cells import joined
from engine.run import RunDirectory
from evaluation.agreement_table import STUDENT
from evaluation.answers import AttentionMaps
from evaluation.figures import AttentionRow, Figure, attention_figure, overlap_figure
from evaluation.grid import Grid, asks_as_trained, name_of_overlap, named, of_each, open_grid
from evaluation.measures import OVERLAP
from evaluation.options import OverlapOptions
from evaluation.outputs import OutputStore
from evaluation.results import publish
from evaluation.tables import Row
from metrics.agreement import ensemble_logits
from metrics.attention import CLASS_SUM, PREDICTED
from metrics.bootstrap import means_with_intervals
from metrics.half_images import masks_of_half
from metrics.overlap import (
    PackedMasks,
    RecentMasks,
    SetOverlap,
    binarize,
    intersection_over_union_per_image,
    masks_overlap,
    pointing_hits,
)
from models.parts import RIGHT, WHOLE

MOST_CONSTANT = 0.05  # share of the maps without a word
DRAWN_IMAGES = 6  # at random, by a seed: nobody chose them


def publish_overlap(options: OverlapOptions) -> None:
    """Print and write the overlap of each group, and draw it."""
    if options.maps == 0:
        raise UserError("--maps 0 keeps no attention maps, and they are what is compared here")
    grid, store, runs = open_grid(options)
    measure = Measure(grid, store, options)
    students = measure.with_maps(grid.with_teachers(runs))
    groups = measure.of_teachers(students) if options.group == "T_T" else measure.rows(students)
    if not groups:
        raise UserError(f"no cell of {' '.join(options.cells)} has the models that this compares")
    of_all = [rows[0] for rows in groups]
    tell_constant_maps(of_all)
    publish(
        options.folder / (options.name or f"iou_{options.group}"),
        list(itertools.chain.from_iterable(groups)),
        OVERLAP[options.group],
        {"": overlap_figure(of_all), **measure.overlays(students)},
        f"{options.images}; target class: {options.target}; threshold {options.threshold} of each "
        "map's range;\nchance: each model's mask from another image; iou: mean over images with "
        "its 95% bootstrap interval;\niou_pooled: total intersection / total union of the set; "
        "constant_maps: share of the maps that prefer no place",
        store.summary(),
        by=("cell",) if options.group == "T_T" else ("cell", "pair"),
        latex=options.latex == "yes",
    )


class Measure:
    """The overlaps of a grid under one choice of images, target and threshold. All models of a
    group are asked about the images and the view of its last one."""

    def __init__(self, grid: Grid, store: OutputStore, options: OverlapOptions) -> None:
        self.grid, self.store, self.options = grid, store, options
        self.masks = RecentMasks(partial(binarize, threshold=options.threshold))

    def with_maps(self, students: Sequence[RunDirectory]) -> list[RunDirectory]:
        """The students whose models all have maps; the others are named on stderr."""
        known = of_each(students, lambda run: (run, self._says_that_all_have_maps(run)), named)
        return [run for run, all_have_maps in known if all_have_maps]

    def of_teachers(self, students: Sequence[RunDirectory]) -> list[list[Row]]:
        """Of each set of two or more teachers that some student has, its row; of teachers that are
        asked about other parts of the images than they were trained on, one for each student."""
        several = [run for run in students if len(run.cell.teachers) > 1]
        groups = {name_of_overlap(run): run for run in several}
        return of_each(groups.values(), self._teachers_row, lambda run: name_of_overlap(run)[0])

    def rows(self, students: Sequence[RunDirectory]) -> list[list[Row]]:
        """Of each student, a row with all its teachers, then with each, then, of three and more,
        with each two."""
        return of_each(students, self._student_rows, named)

    def overlays(self, students: Sequence[RunDirectory]) -> dict[str, Figure]:
        """For the first and last student: images with every map and mask."""
        ends = {str(run.cell): run for run in (*students[:1], *students[-1:])}.values()
        drawn = of_each(
            ends, lambda run: (f"_maps_{run.cell}", self.overlay(run)),
            lambda run: f"the picture of {named(run)}", needed=False,
        )  # fmt: skip
        return dict(drawn)

    def overlay(self, run: RunDirectory) -> Figure:
        """A few images with the maps and masks of a student and its teachers; of these alone where
        the student's net has no maps."""
        kept = [self._known_maps(teacher, run) for teacher in self.grid.teachers(run)]
        if (maps_of_student := self._maps_of(run, run)) is not None:
            kept.append(maps_of_student)
        size = int(kept[0].image_size)
        drawn = drawn_images(len(kept[0].index))
        maps = [heatmap[drawn] for heatmap in self._selected(kept, kept[: len(run.cell.teachers)])]
        masks = [binarize(heatmap, size, threshold=self.options.threshold) for heatmap in maps]
        rows = [
            AttentionRow(
                self._picture(run, k), [heatmap[i] for heatmap in maps], [mask[i] for mask in masks]
            )
            for i, k in enumerate(kept[0].index[drawn].tolist())
        ]
        return attention_figure(rows, [*map(str, run.cell.teachers), "student"][: len(kept)])

    def _says_that_all_have_maps(self, run: RunDirectory) -> bool:
        models = self._models(run)
        without = [str(model.cell) for model in models if self._maps_of(model, models[-1]) is None]
        if without:
            print(
                f"left out: {run.cell}: no attention maps are known of the net of "
                f"{' and '.join(without)}",
                file=sys.stderr,
            )
        return not without

    def _models(self, run: RunDirectory) -> list[RunDirectory]:
        """The runs that are compared: the teachers', then the student's where it takes part."""
        teachers = self.grid.teachers(run)
        return teachers if self.options.group == "T_T" and len(teachers) > 1 else [*teachers, run]

    def _teachers_row(self, student: RunDirectory) -> list[Row]:
        runs = self.grid.teachers(student)
        like = runs[-1] if asks_as_trained(student) else student
        kept = [self._known_maps(run, like) for run in runs]
        maps, size = self._selected(kept, kept), int(kept[-1].image_size)
        row: Row = dict(zip(("cell", "seed"), name_of_overlap(student), strict=True))
        row |= self._overlap(runs, maps, size, like) | self._object(runs, maps, kept[0], like)
        return [row | self.store.stamp(*runs)]

    def _student_rows(self, run: RunDirectory) -> list[Row]:
        runs = [*self.grid.teachers(run), run]
        kept = [self._known_maps(model, run) for model in runs]
        maps, size = self._selected(kept, kept[:-1]), int(kept[-1].image_size)
        rows: list[Row] = []
        for chosen in compared_sets(len(runs) - 1):
            models, names = (*chosen, -1), joined([run.cell.teachers[k] for k in chosen])
            row: Row = {"cell": str(run.cell), "seed": run.seed, "pair": f"{names}-{STUDENT}"}
            row |= self._overlap([runs[k] for k in models], [maps[k] for k in models], size, run)
            if not rows:  # once, for it is of the student alone
                row |= self._object(runs[-1:], maps[-1:], kept[0], run)
            rows.append(row | self.store.stamp(*runs))
        return rows

    def _known_maps(self, run: RunDirectory, like: RunDirectory) -> AttentionMaps:
        """UserError where the net has none, which `with_maps` finds out."""
        maps = self._maps_of(run, like)
        if maps is None:
            raise UserError(f"no attention maps are known of the net of {run.cell}")
        return maps

    def _maps_of(self, run: RunDirectory, like: RunDirectory) -> AttentionMaps | None:
        options = self.options
        return self.store.maps(run, split=options.split, view=options.view, like=like)

    def _selected(
        self, kept: Sequence[AttentionMaps], teachers: Sequence[AttentionMaps]
    ) -> list[torch.Tensor]:
        """One (n, h, w) map a model, of the target that all share unless it is "predicted"."""
        return [maps.select(target_of(self.options.target, maps, teachers)) for maps in kept]

    def _overlap(
        self,
        runs: Sequence[RunDirectory],
        maps: Sequence[torch.Tensor],
        size: int,
        like: RunDirectory,
    ) -> Row:
        masks = [self.masks.of(heatmap, size) for heatmap in maps]
        row = overlap_measures(masks) | constant_maps(masks)
        return row | self._in_image(maps, size, self._parts(runs, like))

    def _parts(self, runs: Sequence[RunDirectory], like: RunDirectory) -> list[str]:
        """The part of the images that each model looks at, asked as `like` asks."""
        return [self.store.sources.part_seen(run, like) for run in runs]

    def _in_image(self, maps: Sequence[torch.Tensor], size: int, parts: Sequence[str]) -> Row:
        """The overlap in the image's own coordinates, where some of the models see half of it; all
        other columns compare the maps place by place, as published."""
        if set(parts) == {WHOLE}:
            return {}
        masks = [
            self.masks.of(heatmap, size) if part == WHOLE else self._of_half(heatmap, size, part)
            for heatmap, part in zip(maps, parts, strict=True)
        ]
        return means_with_intervals({"iou_in_image": masks_overlap(masks).per_image})

    def _of_half(self, maps: torch.Tensor, size: int, part: str) -> PackedMasks:
        threshold = self.options.threshold
        return PackedMasks.pack(masks_of_half(maps, size, right=part == RIGHT, threshold=threshold))

    def _object(
        self,
        runs: Sequence[RunDirectory],
        maps: Sequence[torch.Tensor],
        kept: AttentionMaps,
        like: RunDirectory,
    ) -> Row:
        """Overlap with the true object, mean over the models, where the data set knows it and all
        of them see the whole of it."""
        size = int(kept.image_size)
        objects = self._objects(kept, like, size)
        if objects is None or set(self._parts(runs, like)) != {WHOLE}:
            return {}
        packed = PackedMasks.pack(objects)
        overlaps = [
            intersection_over_union_per_image([self.masks.of(heatmap, size), packed])
            for heatmap in maps
        ]
        hits = [pointing_hits(heatmap, objects).double() for heatmap in maps]
        return means_with_intervals(
            {
                "object_iou": torch.stack(overlaps).mean(0),
                "pointing_game": torch.stack(hits).mean(0),
            }
        )

    def _objects(self, kept: AttentionMaps, like: RunDirectory, size: int) -> torch.Tensor | None:
        """True objects (n, size, size) bool, under the test view alone: other views move them."""
        masks = self.store.images(like, self.options.split).masks
        if masks is None or self.options.view != "test":
            return None
        return object_masks(masks[kept.index.numpy()], size)

    def _picture(self, run: RunDirectory, index: int) -> Image.Image:
        """What the models saw."""
        sources, options = self.store.sources, self.options
        seen = sources.picture(sources.of(run), options.split, options.view, index)
        return Image.fromarray(seen.permute(1, 2, 0).numpy())


def compared_sets(teachers: int) -> list[tuple[int, ...]]:
    """Which of so many teachers are compared with their student: all, then each, then, of three and
    more, each two."""
    sizes = dict.fromkeys((teachers, 1, min(2, teachers)))
    return [chosen for size in sizes for chosen in itertools.combinations(range(teachers), size)]


def overlap_measures(masks: Sequence[PackedMasks]) -> Row:
    """The overlap of several models' masks of the same images."""
    found = masks_overlap(masks)
    corrected = found.corrected
    row: Row = means_with_intervals({"iou": found.per_image}) | {
        "iou_chance": found.chance,
        "iou_pooled": found.pooled,
        "iou_corrected": None if corrected is None else corrected.mean().item(),
    }
    return row if corrected is None else row | _ends_above_chance(row, found)


def _ends_above_chance(row: Row, found: SetOverlap) -> Row:
    """Of the interval of a row's IoU, at the chance that was found."""
    ends = torch.tensor([row["iou_low"], row["iou_high"]], dtype=torch.float64)
    low, high = found.above_chance(ends).tolist()
    return {"iou_corrected_low": low, "iou_corrected_high": high}


def constant_maps(masks: Sequence[PackedMasks]) -> Row:
    """The share of all maps that prefer no place, whose masks are empty."""
    empty = [mask.area == 0 for mask in masks]
    return {"constant_maps": torch.stack(empty).double().mean().item()}


def tell_constant_maps(rows: Sequence[Row], name: str = "{cell} seed {seed}") -> None:
    """On stderr, of which rows so many maps are constant that the overlap may be about them. name:
    of a row, made of its columns."""
    for row in rows:
        if row.get("constant_maps", 0) > MOST_CONSTANT:
            print(
                f"constant maps: {row['constant_maps']:.0%} of {name.format(**row)}: "
                "an image on which all are so counts as full overlap",
                file=sys.stderr,
            )


def drawn_images(count: int) -> torch.Tensor:
    """Positions of the images that are drawn, of `count` whose maps are kept, in order."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return order[:DRAWN_IMAGES].sort().values


def target_of(
    name: str, maps: AttentionMaps, teachers: Sequence[AttentionMaps]
) -> str | torch.Tensor:
    """The classes (n,) whose maps are compared, or "class_sum"."""
    if name == CLASS_SUM:
        return name
    if name == "label":
        return maps.labels
    if name == PREDICTED:
        return maps.logits.argmax(1)
    return ensemble_logits(torch.stack([teacher.logits for teacher in teachers])).argmax(1)


def object_masks(masks: np.ndarray, size: int) -> torch.Tensor:
    """True objects (n, H, W) bool as the test view has them, (n, size, size): it only resizes in
    the sets that know them."""
    chosen = torch.from_numpy(masks)[:, None].float()
    return F.interpolate(chosen, (size, size), mode="nearest")[:, 0] > 0.5
