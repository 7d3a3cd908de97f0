"""What the claims are about: numbers of each student and of each set of teachers."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from dataloader.views import GRID_LETTERS
from engine.cells import TEACHER_NUMBERS, Cell, StudentCell, TeacherCell
from evaluation.per_image import Mean, PerImage


def students_of(
    numbers: Sequence[int], count: int, letters: Iterable[str] = GRID_LETTERS
) -> list[StudentCell]:
    """The plain students of every `count` of the teachers of these numbers, on every view."""
    return [
        StudentCell(tuple(map(TeacherCell, chosen, row)), row[-1])
        for chosen in itertools.combinations(numbers, count)
        for row in itertools.product(letters, repeat=count + 1)
    ]


# The groups' students, and those of every other choice among the groups' teachers.
GRID_STUDENTS = tuple(
    cell for k in range(len(TEACHER_NUMBERS) + 1) for cell in students_of(TEACHER_NUMBERS, k)
)

# Of a student, fractions: top-1; agreement with its teachers' ensemble, and that ensemble's top-1;
# training minus test top-1, as it was trained and of clean training images; top-1 under its own
# view over clean top-1; its teachers' IoU above chance.
MEASURES = TOP1, FIDELITY, ENSEMBLE, GAP, CLEAN_GAP, AFFINITY, OVERLAP = (
    "top-1", "fidelity", "ensemble's top-1", "gap", "clean gap", "affinity", "IoU",
)  # fmt: skip

Teachers = tuple[TeacherCell, ...]
SeededStudent = tuple[Cell, int]
SeededTeachers = tuple[Teachers, int]


@dataclass(frozen=True)
class GridValues:
    """students: by measure, then cell and seed. overlaps: IoU of a set of teachers of a replicate,
    by how their masks are made (`evaluation/overlaps.py`). teacher_seeds: the replicate of each
    student's teachers. Of what is not known there is no entry."""

    images: int
    students: Mapping[str, Mapping[SeededStudent, PerImage]]
    overlaps: Mapping[str, Mapping[SeededTeachers, Mean]]
    teacher_seeds: Mapping[SeededStudent, int]

    def of(self, measure: str) -> Mapping[SeededStudent, PerImage]:
        """The students' values of a measure."""
        return self.students.get(measure, {})

    def seeds_of(self, cells: Iterable[StudentCell], *measures: str) -> list[int]:
        """The seeds that have top-1 and `measures` of every one of `cells`."""
        asked, every = list(cells), {seed for _, seed in self.of(TOP1)}
        known = [self.of(measure) for measure in (TOP1, *measures)]
        return [
            seed
            for seed in sorted(every if asked else ())
            if all((cell, seed) in values for cell in asked for values in known)
        ]

    def complete(
        self, cells: Iterable[StudentCell], *measures: str, needed: Collection[StudentCell] = ()
    ) -> list[StudentCell]:
        """Those of the cells, `needed` among them, that one table of cells and replicates has
        without a gap in top-1 and `measures`: what most lack goes first, cell or replicate, so that
        neither an extra cell of one replicate, nor a replicate that has just begun or lost a
        teacher, costs a claim the others."""
        known, left = [self.of(measure) for measure in (TOP1, *measures)], list(cells)
        seeds = self.seeds_of(needed, *measures) if needed else sorted({s for _, s in known[0]})
        while gaps := [(c, s) for c in left for s in seeds if any((c, s) not in v for v in known)]:
            of_cells, of_seeds = (Counter(side) for side in zip(*gaps, strict=True))
            cell, seed = max(left, key=of_cells.__getitem__), max(seeds, key=of_seeds.__getitem__)
            if of_cells[cell] * len(left) >= of_seeds[seed] * len(seeds):
                left.remove(cell)
            else:
                seeds.remove(seed)
        return left if seeds else []

    def teacher_seeds_of(self, rule: str, sets: Iterable[Teachers]) -> list[int]:
        """The replicates that have the overlap of every one of the sets of teachers."""
        asked, known = list(sets), self.overlaps.get(rule, {})
        every = sorted({seed for _, seed in known})
        return [seed for seed in every if all((key, seed) in known for key in asked)]

    def share_teachers(self, cells: Iterable[StudentCell], seeds: Sequence[int]) -> bool:
        """Whether students of two of the seeds have the same teachers."""
        taught = [cell for cell in cells if cell.teachers]
        of_seeds = [{self.teacher_seeds[cell, seed] for cell in taught} for seed in seeds]
        return any(a & b for a, b in itertools.combinations(of_seeds, 2))

    def of_views(self, letters: Collection[str]) -> GridValues:
        """Of the students whose models were all trained on these views."""
        kept = {
            measure: {key: value for key, value in values.items() if key[0].letters <= set(letters)}
            for measure, values in self.students.items()
        }
        return replace(self, students=kept)

    @property
    def cells(self) -> list[StudentCell]:
        """The students that some seed has, in the order of the grid."""
        begun = {cell for cell, _ in self.of(TOP1)}
        return [cell for cell in GRID_STUDENTS if cell in begun]
