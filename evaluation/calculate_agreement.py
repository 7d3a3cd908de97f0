"""Fidelity, divergence and information of every pair in a grid:

python -m evaluation.calculate_agreement (bash script/report.sh runs it too)
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # imports start at this checkout, installed or not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from common.errors import run_program
from dataloader.views import GRID_LETTERS
from engine.cells import StudentCell
from evaluation.options import MEASURE_AGAIN, AgreementOptions, parse_options

MOST_TRAINING_IMAGES = 10_000  # evenly spaced, of a report
# What a report asks of every pair, under the name of its columns: do they agree on what the student
# was taught with, and as the view changes? A part of ImageNet's training images tells as much.
TRAINING = {"split": "train", "max_images": MOST_TRAINING_IMAGES}
AS_TRAINED = {view: f"train_{view}" for view in GRID_LETTERS.values()}
REPORTED: Mapping[str, Mapping[str, Any]] = {
    "test": {},
    **{view: {"view": view} for view in GRID_LETTERS.values()},
    "train": TRAINING,
    **{name: {"view": view, **TRAINING} for view, name in AS_TRAINED.items()},
}


def asked_of(question: str, cells: Sequence[StudentCell]) -> list[StudentCell]:
    """The students that a question of REPORTED is for: that of training images under a view, those
    that were trained on it."""
    if question not in AS_TRAINED.values():
        return list(cells)
    return [cell for cell in cells if AS_TRAINED.get(cell.view) == question]


def main(argv: Sequence[str] | None = None) -> None:
    """Print and write a row for each pair of each student cell."""
    measure(parse_options(AgreementOptions, argv, "Agreement of every pair."))


def measure(options: AgreementOptions) -> None:
    """The same, for a caller that has the options."""
    from evaluation.agreement_table import publish_agreement  # torch only when there is work to do

    publish_agreement(options)


if __name__ == "__main__":
    sys.exit(run_program(main, if_interrupted=MEASURE_AGAIN))
