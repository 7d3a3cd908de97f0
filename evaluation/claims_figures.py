"""The figures of the page of claims: which models each one shows, and its caption."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from dataloader.views import VIEW_LETTERS
from engine.cells import PAPER_LETTERS, STRONG, Cell, StudentCell
from engine.config import StudentConfig, TeacherConfig
from engine.records import Record
from engine.run import RunDirectory, Runs
from evaluation.answers import Answers
from evaluation.figures import Figure
from evaluation.grid import Grid, named, of_each, of_parts
from evaluation.grid_figures import (
    STRENGTH_PANELS,
    LearningCurves,
    StrengthCurves,
    agreement_figure,
    grid_figure,
    learning_figure,
    reliability_lines_figure,
    strength_figure,
    strong_views_figure,
)
from evaluation.grid_reader import epoch_of, last_figures
from evaluation.grid_values import GRID_STUDENTS, GridValues
from evaluation.options import OverlapOptions
from evaluation.outputs import OutputStore
from evaluation.overlap_table import DRAWN_IMAGES, Measure
from evaluation.tables import Row, counted, is_number
from metrics.calibration import ReliabilityBins, equal_width_sums, reliability, sample_columns
from metrics.conventions import BINS


@dataclass(frozen=True)
class Drawn:
    """A figure, the stem of its file and what is written below it."""

    name: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class ClaimsFigures:
    """Those of a grid's finished runs; values and judged rows are those of the claims."""

    grid: Grid
    store: OutputStore
    runs: Sequence[RunDirectory]
    values: GridValues
    rows: Sequence[Row]

    def drawn(self) -> list[Drawn]:
        """Each that the cells allow, the main one first; what cannot be drawn is named on stderr
        and left out."""
        parts = {
            "strong views": self._strong_views,
            "attention": self._attention,
            "the grid": self._grid,
            "strength": self._strength,
            "learning": self._learning,
            "reliability": self._reliability,
            "agreement": self._agreement,
        }
        return of_parts(parts, "figure")

    def _strong_views(self) -> Iterator[Drawn]:
        caption = (
            "Mean over the cells; bars: standard deviation over seeds of that mean; IoU: of the "
            f"teachers, whatever student; {self._alone('teachers')}{self._n}."
        )
        yield Drawn("strong_views", caption, strong_views_figure(self.values))

    def _grid(self) -> Iterator[Drawn]:
        caption = (
            "A point a student cell, mean over seeds; filled: strong students; within a number of "
            "teachers, the lines: least squares; rho: rank correlation, with its 95% interval over "
            "n replicates; "
            f"{self._alone('rho')}{self._n}."
        )
        yield Drawn("grid", caption, grid_figure(self.values, self.rows))

    def _strength(self) -> Iterator[Drawn]:
        if curves := strength_curves(self.grid.runs):
            most = max(len(v["top1"]) for curve in curves.values() for v in curve.values())
            caption = (
                "Against the strength of the strong view (0: the weak one); bars: standard "
                f"deviation over seeds; at most {counted(most, 'seed')} a point."
            )
            yield Drawn("strength", caption, strength_figure(curves))

    def _learning(self) -> Iterator[Drawn]:
        records = of_each(
            self._students, followed, lambda run: f"the learning curve of {named(run)}",
            needed=False,
        )  # fmt: skip
        trained = [record for record in records if record.top1]
        if not trained:
            return
        caption = (
            f"Top-1 on the {trained[0].selected_on} images after each epoch: mean over cells and "
            f"seeds, and the range of all of them; {counted(self._seeds, 'seed')}."
        )
        yield Drawn("learning", caption, learning_figure(learning_curves(trained)))

    def _reliability(self) -> Iterator[Drawn]:
        if diagrams := self._diagrams():
            caption = (
                f"Accuracy against confidence, {BINS} bins of equal width, those with under 1% of "
                "the images left out; students whose teachers are all of their own view, all seeds "
                f"together; {self._n}."
            )
            yield Drawn("reliability", caption, reliability_lines_figure(diagrams))

    def _attention(self) -> Iterator[Drawn]:
        options = OverlapOptions(group="T_S")
        overlaps = Measure(self.grid, self.store, options)
        for letter, view in VIEW_LETTERS.items():
            if (run := self._of_most_teachers(letter, overlaps)) is not None:
                caption = (
                    f"{run.cell}, seed {run.seed}: maps of the class that the teachers' ensemble "
                    "predicts, the brighter the more; outline: the mask, above "
                    f"{options.threshold} of the range; right: all outlines, and their IoU. "
                    f"{DRAWN_IMAGES} test images drawn at random with seed 0."
                )
                yield Drawn(f"attention_{view}", caption, overlaps.overlay(run))

    def _agreement(self) -> Iterator[Drawn]:
        """The students of one seed, and all teachers of its replicate, by role, view and number."""
        least = min(run.seed for run in self._students)
        students = [run for run in self._students if run.seed == least]
        models = [*self.grid.all_teachers(students[0].teacher_seed), *students]
        models.sort(key=lambda run: _group(run.cell))
        caption = (
            "Share of test images that two models put into the same class; rows and columns in "
            f"the same order, grouped by view and number of teachers; students of seed {least}; "
            f"n = {self.values.images} test images."
        )
        predictions = [self._answers(run).predictions for run in models]
        names = [str(run.cell) for run in models]
        groups = [_group_name(run.cell) for run in models]
        figure = agreement_figure(names, groups, predictions)
        yield Drawn("agreement_matrix", caption, figure)

    @property
    def _students(self) -> list[RunDirectory]:
        return [run for run in self.runs if run.cell in GRID_STUDENTS]

    @property
    def _seeds(self) -> int:
        return len({run.seed for run in self._students})

    @property
    def _n(self) -> str:
        return f"{counted(self._seeds, 'seed')}, {self.values.images} test images"

    def _alone(self, what: str) -> str:
        """What a caption says of the paper's two views where there are cells of others."""
        others = any(not run.cell.letters <= set(PAPER_LETTERS) for run in self._students)
        return f"{what}: of the weak and strong view alone; " if others else ""

    def _answers(self, run: RunDirectory) -> Answers:
        return self.store.answers(run, like=self._students[0])

    def _diagrams(self) -> dict[str, dict[int, ReliabilityBins]]:
        """By the student's view, then the number of its teachers, all of that view."""
        sums: dict[tuple[str, int], Tensor] = {}
        for run in self._students:
            if len(run.cell.letters) == 1:
                answers, key = self._answers(run), (run.cell.view, len(run.cell.teachers))
                columns = sample_columns(answers.correct, answers.confidence)
                sums[key] = equal_width_sums(columns, BINS) + sums.get(key, 0)
        return {
            view: {
                count: reliability(of_count) for (of, count), of_count in sums.items() if of == view
            }
            for view in VIEW_LETTERS.values()
            if any(of == view for of, _ in sums)
        }

    def _of_most_teachers(self, letter: str, overlaps: Measure) -> RunDirectory | None:
        """The first student of the most teachers, two at least, all of the view of `letter`, whose
        models all have attention maps."""
        several = [run for run in self._students if len(run.cell.teachers) > 1]
        chosen = [
            run for run in several if run.cell.letter == letter and len(run.cell.letters) == 1
        ]
        chosen = overlaps.with_maps(chosen)
        return max(chosen, key=lambda run: len(run.cell.teachers), default=None)


def _group(cell: Cell) -> tuple[bool, int, int]:
    """Teachers first, then by view, then by the number of teachers."""
    return isinstance(cell, StudentCell), list(VIEW_LETTERS).index(cell.letter), len(cell.teachers)


def _group_name(cell: Cell) -> str:
    if not isinstance(cell, StudentCell):
        return f"{cell.view} teachers"
    return f"{cell.view}, {counted(len(cell.teachers), 'teacher')}"


SWEPT = ("strength", "cell", "seed", "teacher_seed")  # in which the runs of a curve may differ


def strength_curves(runs: Runs) -> StrengthCurves:
    """Top-1 and fidelity in %, gap in points, at the last epoch, of the finished students that were
    trained under several strengths of the strong view, as variants of one plain cell. Students of a
    curve, and their teachers, differ in nothing but SWEPT; their strong teachers are of the
    student's strength all along, or of one that is fixed. Where a cell has several such curves,
    each is called as its first student."""
    everyone, settings = runs.all(), functools.cache(_settings)
    known = set(everyone)
    curves: dict[tuple, dict[float, dict[str, list[float]]]] = {}
    names: dict[tuple, str] = {}
    for run in everyone:
        if not (isinstance(run.cell, StudentCell) and run.cell.variant and run.is_finished()):
            continue
        if not (last := last_figures(run)):
            continue
        strength, _ = settings(run)
        taught_by = [teacher for teacher in runs.teachers_of(run) if teacher in known]
        for shared, name in _curves_through(run, taught_by, settings):
            key = (str(run.cell.plain), *shared)
            names.setdefault(key, name)
            curve = curves.setdefault(key, {})
            _add(curve.setdefault(strength, {name: [] for name in STRENGTH_PANELS}), last)
    several = [key for key, strengths in curves.items() if len(strengths) > 1]
    cells = [cell for cell, *_ in several]
    return {key[0] if cells.count(key[0]) == 1 else names[key]: curves[key] for key in several}


def _curves_through(
    run: RunDirectory,
    teachers: Sequence[RunDirectory],
    settings: Callable[[RunDirectory], tuple[float, tuple]],
) -> Iterator[tuple[tuple, str]]:
    """What a student's point has in common with the others of a curve, and a name for the curve. It
    is of two where its strong teachers are of its own strength: they may move with it, or stay."""
    strength, others = settings(run)
    alike = (others, *(settings(teacher)[1] for teacher in teachers))
    staying = tuple(settings(teacher)[0] for teacher in teachers if teacher.cell.letter == STRONG)
    if set(staying) <= {strength}:
        yield (*alike, ()), str(run.cell)
    if staying:
        yield (*alike, staying), f"{run.cell}, teachers at {' and '.join(map(str, staying))}"


def _settings(run: RunDirectory) -> tuple[float, tuple]:
    """A run's strength, and its other settings that change what is trained, without SWEPT."""
    role = StudentConfig if isinstance(run.cell, StudentCell) else TeacherConfig
    saved = run.saved_settings()
    return saved.get("strength", role.strength), tuple(
        saved.get(field.name, field.default)
        for field in dataclasses.fields(role)
        if not field.metadata["operational"] and field.name not in SWEPT
    )


def _add(at: dict[str, list[float]], last: Record) -> None:
    """A run's figures of its last epoch, to those of a strength."""
    at["top1"].append(100 * last["test"]["top1"])
    if is_number(last.get("gap_points")):
        at["gap"].append(last["gap_points"])
    if "fidelity_ensemble" in last["test"]:
        at["fidelity"].append(100 * last["test"]["fidelity_ensemble"])


@dataclass(frozen=True)
class Followed:
    """A student's validation top-1, in [0, 1], after each epoch, and the images that it is of; no
    epoch where not all were tested (`--evaluate-every`)."""

    cell: Cell
    selected_on: str
    top1: list[float]


def followed(run: RunDirectory) -> Followed:
    """A run's; UserError where its records are damaged or do not say it."""
    epochs = run.read_epochs(until=epoch_of(run, "last"))
    tested = all("validation" in record for record in epochs)
    top1 = [record["validation"]["top1"] for record in epochs if tested]
    return Followed(run.cell, run.read_metrics()["selected_on"], top1)


def learning_curves(students: Sequence[Followed]) -> LearningCurves:
    """The curves of the runs of each number of teachers and view."""
    curves: dict[tuple[int, str], list[list[float]]] = {}
    for student in sorted(
        students, key=lambda student: (len(student.cell.teachers), student.cell.letter)
    ):
        curves.setdefault((len(student.cell.teachers), student.cell.letter), []).append(
            student.top1
        )
    return curves
