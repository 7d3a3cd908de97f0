"""Every measurement of the finished cells, or of a few, in one process; then the paper's claims and
the grid's table:

python script/evaluate.py --dataset synthetic --cells Sw T1w_T2w_Sw
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

if __name__ == "__main__":  # imports start at this checkout, installed or not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from Affinity import calculate_affinity
from common.errors import UserError, run_program
from engine.cells import Cell, StudentCell, TeacherCell, expand
from engine.run import Runs
from evaluation import (
    calculate_agreement,
    calculate_causes,
    calculate_claims,
    calculate_ece,
    calculate_iou,
)
from evaluation.calculate_agreement import REPORTED, asked_of
from evaluation.options import (
    MEASURE_AGAIN,
    AffinityOptions,
    AgreementOptions,
    CalibrationOptions,
    ClaimsOptions,
    EvaluateOptions,
    MeasureOptions,
    OverlapOptions,
    parse_options,
)
from evaluation.unchanged import unless_up_to_date

Options = TypeVar("Options", bound=MeasureOptions)
OF_ALL = (
    "verdicts are of all finished students, and these are a part: the page of claims stays as it "
    "was. bash script/report.sh judges all, python -m evaluation.calculate_claims named cells"
)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the students named by --cells and their teachers; without it all that is finished."""
    options = parse_options(EvaluateOptions, argv, "Every measurement, the claims and the table.")
    if options.name:
        raise UserError("--name is of one measurement: here each has its own")
    unless_up_to_date(options, partial(report_on, options))


def report_on(options: MeasureOptions) -> None:
    """The same, whether or not it is up to date."""
    from evaluation import report  # torch only when there is work to do

    teachers, students = _named(options) if options.cells else _finished(options)
    of_report = report.ReportOptions(
        dataset=options.dataset, output_dir=options.output_dir, latex=options.latex
    )
    whole = _are_all(options, students)
    try:
        measure(options, teachers, students)
    except UserError:  # what the runs say of themselves, then why there is no more
        report.publish(of_report, () if whole else None)
        raise
    report.publish(of_report, list(_judged(options, students)) if whole else None)
    if not whole:
        print(OF_ALL)


def measure(
    options: MeasureOptions, teachers: Sequence[TeacherCell], students: Sequence[StudentCell]
) -> None:
    """Calibration and affinity of all, agreement and overlap of students with their teachers. What
    cannot be measured is named on stderr; UserError where nothing can."""
    from evaluation.grid import of_each  # torch only when there is work to do

    asked = _measurements(options, teachers, students)
    of_each(asked, lambda named: named[1](), lambda named: named[0])


def _measurements(
    options: MeasureOptions, teachers: Sequence[TeacherCell], students: Sequence[StudentCell]
) -> Iterator[tuple[str, Callable[[], None]]]:
    """The name of each that the cells allow, and what makes it."""
    everyone = _as(CalibrationOptions, options, [*teachers, *students])
    yield "calibration", partial(calculate_ece.measure, everyone)
    if taught := [cell for cell in students if cell.teachers]:
        for name, asked in REPORTED.items():
            if cells := asked_of(name, taught):
                of_pairs = _as(AgreementOptions, options, cells, **asked)
                yield f"agreement ({name})", partial(calculate_agreement.measure, of_pairs)
        with_student = _as(OverlapOptions, options, taught, group="T_S")
        yield "overlap of teachers and student", partial(calculate_iou.measure, with_student)
    if several := [cell for cell in students if len(cell.teachers) > 1]:
        among_teachers = _as(OverlapOptions, options, several, group="T_T")
        yield "overlap of teachers", partial(calculate_iou.measure, among_teachers)
    of_views = _as(AffinityOptions, options, [*teachers, *students])
    yield "affinity", partial(calculate_affinity.measure, of_views)


def _named(options: MeasureOptions) -> tuple[list[TeacherCell], list[StudentCell]]:
    """The teachers and students that are named, and all teachers of these."""
    cells = expand(options.cells)
    teachers = [cell for cell in cells if isinstance(cell, TeacherCell)]
    students = [cell for cell in cells if isinstance(cell, StudentCell)]
    if not students:
        raise UserError(
            f"--cells {' '.join(options.cells)}: name students, such as T1w_Sw; their teachers are "
            "measured with them (bash script/ECE.sh measures teachers alone)"
        )
    teachers += [teacher for cell in students for teacher in cell.teachers]
    return list(dict.fromkeys(teachers)), students


def _finished(options: MeasureOptions) -> tuple[list[TeacherCell], list[StudentCell]]:
    """All cells that some seed has finished; students whose teachers are not there stay out."""
    runs = Runs(Path(options.output_dir), options.dataset)
    cells = dict.fromkeys(run.cell for run in runs.all() if run.is_finished())
    teachers = [cell for cell in cells if isinstance(cell, TeacherCell)]
    students = [cell for cell in cells if isinstance(cell, StudentCell)]
    orphans = [cell for cell in students if not set(cell.teachers) <= set(teachers)]
    for cell in orphans:
        print(
            f"left out of all comparisons: {cell}: not all of its teachers are finished",
            file=sys.stderr,
        )
    return teachers, [cell for cell in students if cell not in orphans]


def _are_all(options: MeasureOptions, students: Sequence[StudentCell]) -> bool:
    """Whether no other student is finished: a claim is about all, and corrected for all claims."""
    if not options.cells:
        return True
    runs = Runs(Path(options.output_dir), options.dataset)
    done = {run.cell for run in runs.all() if run.is_finished()}
    return all(cell in students for cell in done if isinstance(cell, StudentCell))


def _judged(options: MeasureOptions, students: Sequence[StudentCell]) -> Iterator[str]:
    """Judge what can be asked, and name it: a few cells are no reason to withhold the table."""
    measures = {}
    if students:
        asked = _as(ClaimsOptions, options, students)
        measures["claims"] = partial(calculate_claims.measure, asked)
    if calculate_causes.can_be_asked(students) and not options.cells:
        measures["causes"] = partial(calculate_causes.measure, options)
    for what, measure in measures.items():
        try:
            measure()
        except UserError as error:
            print(f"the {what} were not judged: {error}", file=sys.stderr)
        else:
            yield what


def _as(
    options_class: type[Options], options: MeasureOptions, cells: Sequence[Cell], **more: Any
) -> Options:
    """The options of one measurement: what was asked of all, about `cells`."""
    shared = {f.name: getattr(options, f.name) for f in dataclasses.fields(MeasureOptions)}
    del shared["name"]
    if shared["max_images"] is not None:
        more.pop("max_images", None)  # a quick look is one at every split
    return options_class(**{**shared, "cells": tuple(map(str, cells)), **more})


if __name__ == "__main__":
    sys.exit(run_program(main, if_interrupted=MEASURE_AGAIN))
