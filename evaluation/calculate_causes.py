"""Causes: what teachers that were made to look alike, halves of images and shuffled answers change.

python -m evaluation.calculate_causes (bash script/report.sh runs it too)
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # imports start at this checkout, installed or not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from common.errors import UserError, run_program
from engine.cells import PAPER_LETTERS, StudentCell, student_cells
from evaluation.options import MEASURE_AGAIN, MeasureOptions, parse_options


def main(argv: Sequence[str] | None = None) -> None:
    """Judge the arms of script/causes.sh that are finished; write report/causes.md and .csv."""
    measure(parse_options(MeasureOptions, argv, "The arms of script/causes.sh, judged."))


def can_be_asked(students: Sequence[StudentCell]) -> bool:
    """Whether there may be a figure: all pairs of teachers, or variants of two teachers' cells."""
    every = set(student_cells(2, letters=PAPER_LETTERS)) <= set(students)
    return every or any(
        len(student.teachers) == 2 and student != student.plain for student in students
    )


def measure(options: MeasureOptions) -> None:
    """The same, for a caller that has the options."""
    if options.name or options.cells:
        raise UserError(
            "--name and --cells (CELLS) have no meaning here: the arms have cells of their own"
        )
    from evaluation.causes_page import publish_causes  # torch only when there is work to do

    publish_causes(options)


if __name__ == "__main__":
    sys.exit(run_program(main, if_interrupted=MEASURE_AGAIN))
