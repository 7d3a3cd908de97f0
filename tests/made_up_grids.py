"""Grids of made up answers, whose comparisons are known."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch

from evaluation.grid_values import (
    CLEAN_GAP,
    ENSEMBLE,
    FIDELITY,
    GAP,
    MEASURES,
    OVERLAP,
    TOP1,
    GridValues,
    students_of,
)
from evaluation.overlaps import RULES, USUAL, pairs, plain
from evaluation.per_image import Gap, Mean

IMAGES = 400
GROUPS = [cell for k in range(4) for cell in students_of((1, 2, 3)[:k], k)]


def made_up(
    seeds: Sequence[int], effect: float, cells: Sequence = GROUPS, teacher_seed: int = 0
) -> GridValues:
    """A strong letter in a cell's name adds `effect` to top-1 and takes it from the rest.
    teacher_seed: the replicate of all teachers; 0: each replicate has its own."""
    generator = torch.Generator().manual_seed(0)
    hardness = torch.rand(IMAGES, generator=generator, dtype=torch.float64)

    def answers(probability: float) -> Mean:
        noise = torch.rand(IMAGES, generator=generator, dtype=torch.float64) / 4
        return Mean.of_all(hardness + noise < 1.1 * probability)

    students: dict = {measure: {} for measure in MEASURES}
    for cell, seed in itertools.product(cells, seeds):
        strong = str(cell).count("s")
        right = answers(0.5 + effect * strong + 0.02 * len(cell.teachers))
        values = {TOP1: right, GAP: Gap(0.9 - effect * strong, right), CLEAN_GAP: Gap(0.9, right)}
        if cell.teachers:
            values |= {FIDELITY: answers(0.7 - effect * strong), ENSEMBLE: answers(0.7)}
        for measure, own in values.items():
            students[measure][cell, seed] = own
    overlaps: dict = {}
    every_pair = [pair for letters in ("ww", "ss", "ws") for pair in pairs(letters)]
    triples = [cell.teachers for cell in students_of((1, 2, 3), 3)]
    for teachers, seed in itertools.product(dict.fromkeys([*every_pair, *triples]), seeds):
        strong = sum(own.letter == "s" for own in teachers)
        own = answers(0.6 - effect * strong - 0.1 * (len({t.letter for t in teachers}) == 2))
        for rule in RULES:
            overlaps.setdefault(rule, {})[teachers, seed] = own
            overlaps.setdefault(plain(rule), {})[teachers, seed] = own
    teacher_seeds = {(cell, seed): teacher_seed or seed for cell in cells for seed in seeds}
    for (cell, seed), own in teacher_seeds.items():
        if len(cell.teachers) > 1 and (cell.teachers, own) in overlaps[USUAL]:
            students[OVERLAP][cell, seed] = overlaps[USUAL][cell.teachers, own]
    return GridValues(IMAGES, students, overlaps, teacher_seeds)
