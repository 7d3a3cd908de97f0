"""What the paper says, as it says it: figures that are above 0 if it is so, named after its
sections. docs/claims.md has the formulas."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

from dataloader.views import VIEW_LETTERS
from engine.cells import PAPER_LETTERS as PAPERS
from engine.cells import STRONG, TEACHER_NUMBERS, WEAK, StudentCell, TeacherCell
from evaluation.comparisons import (
    Comparison,
    MeanDifference,
    Minus,
    RankCorrelation,
    Slope,
    TeachersDifference,
)
from evaluation.grid_values import (
    AFFINITY,
    CLEAN_GAP,
    ENSEMBLE,
    FIDELITY,
    GAP,
    OVERLAP,
    TOP1,
    GridValues,
    Teachers,
    students_of,
)
from evaluation.overlaps import EQUAL_AREA, RULES, USUAL, pairs, plain
from evaluation.verdicts import ALL, HELD, SHOWN, Claim

LEAST_CELLS = 3  # that a rank correlation is taken of
POOLS = (TEACHER_NUMBERS, TEACHER_NUMBERS[:2])  # of teachers' numbers, every choice being there
MIXED, PURE, NO_TEACHERS = "mixed", ("weak", "strong"), "no"

# What goes with what, a student's measures, and the sign of their correlation.
ASSOCIATIONS: tuple[tuple[str, str, str, str, int], ...] = (
    ("6.1 affinity", "a stronger view, by the student's affinity, goes with lower overlap",
     AFFINITY, OVERLAP, 1),
    ("6.1 accuracy", "lower overlap goes with higher accuracy", OVERLAP, TOP1, -1),
    ("6.2 fidelity", "lower overlap goes with lower fidelity", OVERLAP, FIDELITY, 1),
    ("6.2 accuracy", "lower fidelity goes with higher accuracy", FIDELITY, TOP1, -1),
)  # fmt: skip

Letters = Sequence[str]  # of students' views
Sets = Sequence[Teachers]
Figures = tuple[tuple[Comparison, ...], ...]  # a Claim's
# Figures of the students on some views; for a difference of the two views: of those whose teachers
# have a student on each.
Build = Callable[[Letters, bool], Figures]


def claims(grid: GridValues) -> Iterator[Claim]:
    """Those that can be asked of the cells that are there. The paper's are of two views: students
    of others, which few replicates may have, change no verdict."""
    papers = grid.of_views(PAPERS)
    yield from _about_teachers(papers)
    yield from about_students(papers)


def about_students(grid: GridValues) -> Iterator[Claim]:
    """Those that need numbers of students alone."""
    yield from _mixed_teachers(grid)
    yield from _strong_students(grid)
    yield from _associations(grid)
    yield from _more_teachers(grid)


def by_view(
    name: str, text: str, build: Build, looks: tuple[str, str] = (ALL, HELD)
) -> Iterator[Claim]:
    """A claim over the students of both views, over those of each, and the difference of the two,
    whose sign the paper does not say: a claim for each of the figures that `build` makes, which are
    none where the cells are not there."""
    every, held = looks
    if whole := build(PAPERS, False):
        yield Claim(name, text, every, whole)
    for letter in PAPERS:
        if figures := build([letter], False):
            yield Claim(f"{name}, {VIEW_LETTERS[letter]} students", text, held, figures)
    weak, strong = (build([letter], True) for letter in PAPERS)
    for more, less in zip(strong, weak, strict=True):
        ways = tuple(Minus(a.words, a, b) for a, b in zip(more, less, strict=True))
        which = f" ({more[0].words})" if len(strong) > 1 else ""
        difference = f"{name}, strong minus weak students{which}"
        yield Claim(difference, text, held, (ways,), directed=False)


def mixture(teachers: Sequence[TeacherCell]) -> str:
    """The view of several teachers, or "mixed"; "no" of none."""
    letters = {teacher.letter for teacher in teachers}
    if not letters:
        return NO_TEACHERS
    return MIXED if len(letters) > 1 else VIEW_LETTERS[letters.pop()]


def _about_teachers(grid: GridValues) -> Iterator[Claim]:
    """The overlap of two teachers of a replicate, whoever learns from them: judged by masks of the
    usual threshold and of equal area, which have to agree."""
    weak, strong, mixed = _pairs(grid)
    both, every = (USUAL, EQUAL_AREA), (*RULES, plain(USUAL), plain(EQUAL_AREA))

    def minus(what: str, more: Sets, less: Sets, rules: Sequence[str]) -> tuple[Comparison, ...]:
        return tuple(TeachersDifference(f"IoU: {what}", rule, more, less) for rule in rules)

    cases = (
        ("6.1 overlap", "a strong view lowers the overlap of the teachers' attention",
         (("two weak minus two strong teachers", weak, strong),)),
        ("6.1 mixed overlap", "mixed teachers overlap least",
         (("two weak minus two mixed teachers", weak, mixed),
          ("two strong minus two mixed teachers", strong, mixed))),
    )  # fmt: skip
    for name, text, figures in cases:
        yield Claim(name, text, ALL, tuple(minus(*figure, both) for figure in figures))
        masks = tuple(minus(*figure, every) for figure in figures)
        yield Claim(f"{name}, masks", text, SHOWN, masks)


def _mixed_teachers(grid: GridValues) -> Iterator[Claim]:
    """Students of mixed teachers against those of weak ones, and of strong ones: never against the
    better of the two, which chance alone makes better."""

    def build(count: int, letters: Letters, paired: bool) -> Figures:
        pool = _pool(grid, [count], PAPERS if paired else letters)
        cells = _of_letters(students_of(pool, count, PAPERS), letters)
        by_mixture = _strata(cells, lambda cell: mixture(cell.teachers), 1)
        return tuple(
            (_points(f"mixed minus {view} teachers", by_mixture[MIXED], by_mixture[view]),)
            for view in PURE
            if cells
        )

    for count in (2, 3):
        name, text = f"6.1 mixed accuracy, {count}T", "students of mixed teachers are best"
        yield from by_view(name, text, partial(build, count))


def _strong_students(grid: GridValues) -> Iterator[Claim]:
    """Students of one set of teachers on the strong and the weak view, by the teachers' view."""
    text = "strong students beat weak ones"
    twins = _twins(grid.cells)

    def difference(sets: Sets, of: str) -> MeanDifference:
        both = grid.complete(StudentCell(own, letter) for own in sets for letter in (STRONG, WEAK))
        strong, weak = (
            [StudentCell(own, letter) for own in _twins(both)] for letter in (STRONG, WEAK)
        )
        return _points(f"strong minus weak students of {of} teachers", strong, weak)

    yield Claim("6.1 strong students", text, ALL, ((difference(twins, "the same"),),))
    by_mixture = {
        name: difference([twin for twin in twins if mixture(twin) == name], name)
        for name in (NO_TEACHERS, *PURE, MIXED)
    }
    for name, comparison in by_mixture.items():
        yield Claim(f"6.1 strong students, {name} teachers", text, HELD, ((comparison,),))
    alike = _alike_in_number(grid, [twin for twin in twins if mixture(twin) in PURE])
    weak, strong = (
        difference([twin for twin in alike if mixture(twin) == view], view) for view in PURE
    )
    words = "top-1, points: strong minus weak students, of strong minus of weak teachers"
    interaction = Minus(words, strong, weak)
    name = "6.1 strong students, strong minus weak teachers"
    yield Claim(name, text, HELD, ((interaction,),), directed=False)


def _alike_in_number(grid: GridValues, sets: Sets) -> list[Teachers]:
    """Those of the sets, each of teachers of one view, that the same replicates have and that are
    there of either view: teachers of these numbers, weak ones and strong ones."""
    every = (StudentCell(teachers, letter) for teachers in sets for letter in (STRONG, WEAK))
    found = {(mixture(teachers), tuple(teacher.number for teacher in teachers)): teachers
             for teachers in _twins(grid.complete(every))}  # fmt: skip
    weak, strong = PURE
    opposite = {weak: strong, strong: weak}
    return [
        teachers
        for (view, numbers), teachers in found.items()
        if (opposite[view], numbers) in found
    ]


def _twins(cells: Sequence[StudentCell]) -> list[Teachers]:
    """The sets of teachers that have a strong and a weak student among the cells."""
    strong, weak = ([c.teachers for c in cells if c.letter == letter] for letter in (STRONG, WEAK))
    return [teachers for teachers in strong if teachers in weak]


def _more_teachers(grid: GridValues) -> Iterator[Claim]:
    """Over every choice of so many of the teachers: students of teacher 1 alone say how good that
    one is."""

    def build(count: int, letters: Letters, paired: bool) -> Figures:
        counts = (count, count - 1)
        pool = _pool(grid, counts, PAPERS if paired else letters)
        more, less = (_of_letters(students_of(pool, k, PAPERS), letters) for k in counts)
        words = f"{count} minus {count - 1} teachers, every choice of {len(pool)} a view"
        return ((_points(words, more, less),),) if pool else ()

    for count in (1, 2, 3):
        name, text = f"G, {count}T", "more teachers help"
        yield from by_view(name, text, partial(build, count))


def _associations(grid: GridValues) -> Iterator[Claim]:
    """What goes with what over cells. A rank correlation is judged of the gap alone: elsewhere it
    is of cells that share few teachers and differ in their number of strong ones. There the slope
    within cells that are alike in that is judged, where every choice of the teachers is there."""
    for measure in (GAP, CLEAN_GAP):
        name, text = f"6.2 {measure}", "lower fidelity goes with a smaller gap"
        yield from by_view(name, text, partial(_ranks, grid, FIDELITY, measure, 1))
    for name, text, x, y, sign in ASSOCIATIONS:
        if x != AFFINITY:
            yield from by_view(name, text, partial(_slopes, grid, x, y, sign))
        ranks = partial(_ranks, grid, x, y, sign)
        yield from by_view(f"{name}, ranks", text, ranks, (SHOWN, SHOWN))


def _ranks(grid: GridValues, x: str, y: str, sign: int, letters: Letters, paired: bool) -> Figures:
    """Within a number of teachers, since three masks overlap less than two."""
    cells = grid.complete(_of_letters(grid.cells, PAPERS if paired else letters), x, y)
    cells = _one_side(cells, letters) if paired else cells
    strata = [*_strata(cells, lambda cell: len(cell.teachers), LEAST_CELLS).values()]
    words = f"{'minus the ' if sign < 0 else ''}rank correlation of {x} and {y}"
    return ((RankCorrelation(words, x, y, strata, sign, x == FIDELITY),),) if strata else ()


def _slopes(grid: GridValues, x: str, y: str, sign: int, letters: Letters, paired: bool) -> Figures:
    """Without, and given the ensemble's top-1, which have to agree."""
    views = PAPERS if paired else letters
    several = [cell for cell in _of_letters(grid.cells, views) if len(cell.teachers) > 1]
    pairs_of_three = _of_letters(students_of(TEACHER_NUMBERS, 2, PAPERS), views)
    cells = grid.complete(several, x, y, ENSEMBLE, needed=pairs_of_three)
    cells = _one_side(cells, letters) if paired else cells
    strata = [*_strata(cells, _kind, 2).values()]
    words = f"{'minus the ' if sign < 0 else ''}slope of {y} on {x}"
    alone = Slope(words, x, y, strata, sign, x == FIDELITY)
    given = replace(alone, way=f"given the {ENSEMBLE}", needs=(ENSEMBLE,))
    return ((alone, given),) if strata else ()


def _one_side(cells: Sequence[StudentCell], letters: Letters) -> list[StudentCell]:
    """Of students on both views those on `letters` whose teachers have a student on each."""
    twins = _twins(cells)
    return [cell for cell in _of_letters(cells, letters) if cell.teachers in twins]


def _kind(cell: StudentCell) -> tuple[int, int, str]:
    """Number of teachers, of strong ones, and the student's view."""
    strong = sum(teacher.letter == STRONG for teacher in cell.teachers)
    return len(cell.teachers), strong, cell.letter


def _strata(
    cells: Sequence[StudentCell], key: Callable[[StudentCell], Any], least: int
) -> dict[Any, list[StudentCell]]:
    """The cells of each key, of which there are so many at least."""
    found: dict[Any, list[StudentCell]] = {}
    for cell in cells:
        found.setdefault(key(cell), []).append(cell)
    return {name: group for name, group in found.items() if len(group) >= least}


def _points(words: str, more: Sequence[StudentCell], less: Sequence[StudentCell]) -> MeanDifference:
    return MeanDifference(f"top-1, points: {words}", TOP1, more, less)


def _of_letters(cells: Sequence[StudentCell], letters: Letters) -> list[StudentCell]:
    return [cell for cell in cells if cell.letter in letters]


def _pool(grid: GridValues, counts: Sequence[int], letters: Letters) -> tuple[int, ...]:
    """The numbers of teachers every choice of which has students in most replicates, for each of
    the counts of teachers; () where there are none."""

    def replicates(numbers: tuple[int, ...]) -> int:
        cells = [cell for k in counts for cell in students_of(numbers, k, PAPERS)]
        return len(grid.seeds_of(_of_letters(cells, letters)))

    able = [numbers for numbers in POOLS if len(numbers) >= max(counts) and replicates(numbers)]
    return max(able, key=replicates, default=())


def _pairs(grid: GridValues) -> list[list[Teachers]]:
    """Pairs of two weak, two strong and two mixed teachers, of those that most replicates have."""

    def of(numbers: tuple[int, ...]) -> list[list[Teachers]]:
        return [pairs(views, numbers) for views in ((WEAK, WEAK), (STRONG, STRONG), (WEAK, STRONG))]

    def replicates(numbers: tuple[int, ...]) -> int:
        return len(grid.teacher_seeds_of(plain(USUAL), chain.from_iterable(of(numbers))))

    return of(max(POOLS, key=replicates))
