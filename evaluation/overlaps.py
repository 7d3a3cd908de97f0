"""The overlap of the attention of a replicate's teachers, by several ways to make a mask."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import torch

from engine.cells import TEACHER_NUMBERS, TeacherCell
from engine.run import RunDirectory
from evaluation.answers import AttentionMaps
from evaluation.grid import Grid
from evaluation.grid_values import SeededTeachers, Teachers
from evaluation.outputs import OutputStore
from evaluation.overlap_table import target_of
from evaluation.per_image import Mean
from metrics.conventions import SHARE, SHARES, THRESHOLD, THRESHOLDS
from metrics.overlap import Rule, binarize, equal_area_masks, masks_overlap, packed_masks


def by_threshold(threshold: float) -> str:
    """The name of that rule: where a map is above so much of its range."""
    return f"threshold {threshold}"


def by_share(share: float) -> str:
    """The name of that rule: so large a share of the pixels of every map."""
    return f"equal area {share}"


def plain(rule: str) -> str:
    """The name of the same IoU with chance in it."""
    return f"{rule}, chance in it"


RULES: Mapping[str, Rule] = {
    **{by_threshold(threshold): partial(binarize, threshold=threshold) for threshold in THRESHOLDS},
    **{by_share(share): partial(equal_area_masks, share=share) for share in SHARES},
}
USUAL, EQUAL_AREA = by_threshold(THRESHOLD), by_share(SHARE)

Overlaps = dict[str, dict[SeededTeachers, Mean]]


def pairs(letters: Sequence[str], numbers: Sequence[int] = TEACHER_NUMBERS) -> list[Teachers]:
    """The pairs of teachers of different numbers, one of each of two views; each pair once."""
    a, b = letters
    found = [
        (TeacherCell(i, first), TeacherCell(j, second))
        for i, j in itertools.combinations(numbers, 2)
        for first, second in ((a, b), (b, a))
    ]
    return list(dict.fromkeys(found))


def read_overlaps(
    grid: Grid, store: OutputStore, students: Sequence[RunDirectory], letters: Sequence[str]
) -> Overlaps:
    """IoU above chance and plain, of every pair of the replicates' teachers on these views by all
    rules, and of the students' other sets by the usual one; all on the first student's images."""
    overlaps: Overlaps = {}
    for teachers, seed in _wanted(students, letters):
        runs = [grid.runs.of(cell, seed) for cell in teachers]
        if not all(map(grid.is_there, runs)):
            continue
        looked = [store.maps(run, like=students[0]) for run in runs]
        kept = [maps for maps in looked if maps is not None]
        if len(kept) < len(looked):
            continue
        for rule in RULES if len(teachers) == 2 else [USUAL]:
            for name, overlap in _by_rule(kept, rule, store.answers(students[0]).index):
                overlaps.setdefault(name, {})[teachers, seed] = overlap
    return overlaps


def _wanted(students: Sequence[RunDirectory], letters: Sequence[str]) -> Iterator[SeededTeachers]:
    several = [(run.cell.teachers, run.teacher_seed) for run in students]
    of_views = itertools.combinations_with_replacement(letters, 2)
    every_pair = list(itertools.chain.from_iterable(map(pairs, of_views)))
    of_replicates = itertools.product(every_pair, sorted({run.teacher_seed for run in students}))
    yield from dict.fromkeys(
        (teachers, seed) for teachers, seed in (*several, *of_replicates) if len(teachers) > 1
    )


def _by_rule(
    kept: Sequence[AttentionMaps], rule: str, images: torch.Tensor
) -> Iterator[tuple[str, Mean]]:
    """The maps of the class that the teachers' ensemble predicts; images: (n,) positions in the
    split of all that were answered."""
    size = int(kept[0].image_size)
    maps = [answers.select(target_of("ensemble", answers, kept)) for answers in kept]
    found = masks_overlap([packed_masks(heatmap, size, rule=RULES[rule]) for heatmap in maps])
    places = torch.searchsorted(images, kept[0].index)
    if found.corrected is not None:
        yield rule, Mean.of_some(found.corrected, places, len(images))
    yield plain(rule), Mean.of_some(found.per_image, places, len(images))
