"""Students of the same teachers by different objectives: a row each, means over replicates, and
whether those that follow their teachers more are more often right."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from common.errors import UserError, one_line
from engine.cells import Cell, joined
from engine.run import RunDirectory
from evaluation.agreement_table import STUDENT
from evaluation.answers import Answers
from evaluation.grid import Grid, named, of_each, open_grid
from evaluation.grid_reader import ensemble_predictions, last_figures, training_store
from evaluation.judging import check_images
from evaluation.objectives_page import COLUMNS, CONTRASTS, REFERENCE, as_recorded, publish_page
from evaluation.options import MeasureOptions, ObjectiveOptions, OverlapOptions
from evaluation.outputs import OutputStore
from evaluation.report import Tables
from evaluation.results import publish
from evaluation.tables import Row
from metrics.calibration import calibration_gap, equal_width_sums, sample_columns
from metrics.conventions import BINS
from metrics.intervals import over_replicates, spearman
from metrics.ratio import image_variance

FEWEST = 4  # objectives that can be ranked


@dataclass(frozen=True)
class Student:
    """A student, its answers, and of each test image (N,): is it right, does it agree with the mean
    of its teachers' logits?"""

    cell: Cell
    seed: int
    answers: Answers
    top1: Tensor
    fidelity_ensemble: Tensor

    @property
    def objective(self) -> str:
        """Its name in the file of variants."""
        return self.cell.variant or "plain"


def publish_objectives(options: ObjectiveOptions) -> None:
    """Print and write a row for each student, means over replicates, and the rank correlations.
    UserError, before anything is written, where students are tested on different images."""
    grid, store, runs = open_grid(options)
    work = partial(_measured, grid, store, overlaps_known(options))
    measured = of_each(grid.with_teachers(runs), work, named)
    rows, students = [row for row, _ in measured], [student for _, student in measured]
    over_replicates = means(rows, students), ranks(students)
    publish(options.folder / options.name, rows, COLUMNS, {}, store.summary())
    publish_page(options, *over_replicates)


def overlaps_known(options: ObjectiveOptions) -> dict[tuple[str, str, int], float | None]:
    """By cell, pair and seed, the IoU of students and teachers that was measured as these options
    ask, of the checkpoints that are there."""
    asked = {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(MeasureOptions)
        if not field.metadata["operational"]
    }
    rows = Tables(options.folder).rows(OverlapOptions(group="T_S", name="iou_T_S", **asked))
    return {(row["cell"], row["pair"], row["seed"]): row.get("iou") for row in rows}


def _measured(
    grid: Grid,
    store: OutputStore,
    overlaps: Mapping[tuple[str, str, int], float | None],
    run: RunDirectory,
) -> tuple[Row, Student]:
    answers = store.answers(run)
    teachers = grid.teachers(run)
    together = ensemble_predictions([store.answers(teacher, like=run) for teacher in teachers])
    if together is None:
        raise UserError("the teachers' logits take too much room: use fewer with --max-images")
    agrees = answers.predictions == together
    student = Student(run.cell, run.seed, answers, answers.correct.double(), agrees.double())
    last = last_figures(run) if as_recorded(store.options) else {}
    pair = f"{joined(run.cell.teachers)}-{STUDENT}"
    sums = equal_width_sums(sample_columns(answers.correct, answers.confidence), BINS)
    row = {
        "cell": str(run.cell),
        "seed": run.seed,
        "teacher_seed": run.teacher_seed,
        "top1": _mean(student.top1),
        "gap_points": last.get("gap_points"),
        "clean_gap_points": _clean_gap(store, run, student),
        "fidelity_taught": last.get("test", {}).get("fidelity_taught"),
        "fidelity_ensemble": _mean(student.fidelity_ensemble),
        "ece": calibration_gap(sums).item(),
        "iou_T_S": overlaps.get((str(run.cell), pair, run.seed)),
        **store.stamp(run, *teachers),
    }
    return row, student


def _clean_gap(store: OutputStore, run: RunDirectory, student: Student) -> float | None:
    """Top-1 on training minus test images, both under the test view, points; None, with a word on
    stderr, where the training images cannot be had."""
    try:
        trained = training_store(store).answers(run, split="train").correct
    except (UserError, OSError) as error:
        print(f"without its clean gap: {named(run)}: {one_line(error)}", file=sys.stderr)
        return None
    return 100 * (_mean(trained) - _mean(student.top1))


def _mean(values: Tensor) -> float:
    return values.double().mean().item()


def means(rows: Sequence[Row], students: Sequence[Student]) -> list[Row]:
    """A row for each cell: the mean over replicates of each of COLUMNS, and the difference of each
    of CONTRASTS from the cell of REFERENCE in the same replicates; with <name>_low and _high, the
    95% interval, where there are several replicates, and <name>_n, how many have it, where not all
    do. teachers: "shared" where several replicates have learnt from the same.

    Of a difference it knows the choice of test images as well, which replicates share: UserError
    where they do not.
    """
    _check_images(students)
    found = []
    for cell in dict.fromkeys(student.cell for student in students):
        of_cell = [row for row in rows if row["cell"] == str(cell)]
        own = len({r["teacher_seed"] for r in of_cell}) == len(of_cell)
        row: Row = {"cell": str(cell), "replicates": len(of_cell)}
        row["teachers"] = "own" if own else "shared"
        for column in COLUMNS:
            values = [r[column.key] for r in of_cell if r[column.key] is not None]
            row |= _interval(column.key, values, len(of_cell))
        for name in CONTRASTS:
            row |= _contrast(name, cell, students)
        found.append(row)
    return found


def _check_images(students: Sequence[Student]) -> None:
    check_images(len(students[0].top1))
    for student in students:
        if not student.answers.same_images(students[0].answers):
            a, b = (f"{s.cell} seed {s.seed}" for s in (student, students[0]))
            raise UserError(
                f"{a} is tested on other images than {b}: compare them apart (--cells, --seeds)"
            )


def _contrast(name: str, cell: Cell, students: Sequence[Student]) -> Row:
    """The difference of a cell from that of REFERENCE; nothing of REFERENCE itself."""
    reference = {s.seed: s for s in students if s.cell == replace(cell, variant=REFERENCE)}
    of_cell = [s for s in students if s.cell == cell]
    pairs = [(s, reference[s.seed]) for s in of_cell if s.seed in reference]
    if not pairs or cell.variant == REFERENCE:
        return {}
    per_image = torch.stack([getattr(a, name) - getattr(b, name) for a, b in pairs])
    values, shared = per_image.mean(dim=1).tolist(), image_variance(per_image)
    return _interval(f"{name}_minus_{REFERENCE}", values, len(of_cell), shared)


def _interval(
    name: str, values: Sequence[float], replicates: int, shared_variance: float = 0.0
) -> Row:
    """Of the mean of the values that so many replicates have."""
    found = over_replicates(values, shared_variance) if values else None
    low, high = (found.low, found.high) if found and len(values) > 1 else (None, None)
    row = {name: found.estimate if found else None, f"{name}_low": low, f"{name}_high": high}
    return row | ({f"{name}_n": len(values)} if 0 < len(values) < replicates else {})


def ranks(students: Iterable[Student]) -> list[Row]:
    """Spearman's rank correlation of fidelity and top-1 over the objectives of the same teachers,
    view and replicate: a row for each cell without its variant, the mean over the replicates of
    FEWEST objectives or more and its 95% interval, cut at -1 and 1. It is over the objectives that
    all of these replicates have; where they are fewer, that is told on stderr.

    Fidelity is taken from every second test image, from the first, and top-1 from the others: they
    would share an image's noise.
    """
    groups: dict[str, dict[int, dict[str, Student]]] = {}
    for student in students:
        of_cell = groups.setdefault(str(replace(student.cell, variant=None)), {})
        of_cell.setdefault(student.seed, {})[student.objective] = student
    rows = []
    for cell, by_seed in groups.items():
        several = [members for members in by_seed.values() if len(members) >= FEWEST]
        common = set.intersection(*map(set, several)) if several else set()
        if len(common) >= FEWEST:
            rows.append(_correlation(cell, several, sorted(common)))
        elif several:
            print(f"no rank correlation of {cell}: its replicates have fewer than {FEWEST} "
                  "objectives in common", file=sys.stderr)  # fmt: skip
    return rows


def _correlation(
    cell: str, replicates: Sequence[Mapping[str, Student]], objectives: Sequence[str]
) -> Row:
    """Over the objectives, which each of the replicates has."""
    values = []
    for members in replicates:
        chosen = [members[name] for name in objectives]
        fidelity = torch.stack([student.fidelity_ensemble[::2].mean() for student in chosen])
        top1 = torch.stack([student.top1[1::2].mean() for student in chosen])
        values.append(spearman(fidelity, top1).item())
    row = _interval("rank_correlation", values, len(values))
    if len(values) > 1:
        row["rank_correlation_low"] = max(row["rank_correlation_low"], -1.0)
        row["rank_correlation_high"] = min(row["rank_correlation_high"], 1.0)
    return {"cell": cell, "replicates": len(values), "objectives": len(objectives)} | row
