"""Calibration of every model of a grid:

bash script/ECE.sh, or python -m evaluation.calculate_ece
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":  # imports start at this checkout, installed or not
    sys.path[0] = str(Path(__file__).resolve().parents[1])


from dataloader.errors import run_program
from engine.config import option
from evaluation.options import ViewedOptions, parse_options


@dataclass(frozen=True, kw_only=True)
class CalibrationOptions(ViewedOptions):
    """What the calibration can be asked besides."""

    bins: int = option(15, "equal-width bins of confidence", at_least=1, at_most=1000)
    cells: tuple[str, ...] = option(
        ("T", "0T", "1T", "2T"), "cells, or groups (or CELLS)", operational=True
    )
    name: str = option("ece", "of the result files beside the runs", operational=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Print and write the table, and draw the reliability diagrams."""
    measure(parse_options(CalibrationOptions, argv, "Calibration of every model."))


def measure(options: CalibrationOptions) -> None:
    """The same, for a caller that has the options."""
    from evaluation.calibration import publish_calibration  # torch only when there is work to do

    publish_calibration(options)


if __name__ == "__main__":
    sys.exit(run_program(main))
