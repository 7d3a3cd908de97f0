"""Calibration of every model of a grid:

bash script/ECE.sh, or python -m evaluation.calculate_ece
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # imports start at this checkout, installed or not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from common.errors import run_program
from evaluation.options import MEASURE_AGAIN, CalibrationOptions, parse_options


def main(argv: Sequence[str] | None = None) -> None:
    """Print and write the table, and draw the reliability diagrams."""
    measure(parse_options(CalibrationOptions, argv, "Calibration of every model."))


def measure(options: CalibrationOptions) -> None:
    """The same, for a caller that has the options."""
    from evaluation.calibration_table import (
        publish_calibration,  # torch only when there is work to do
    )

    publish_calibration(options)


if __name__ == "__main__":
    sys.exit(run_program(main, if_interrupted=MEASURE_AGAIN))
