"""Students of the same teachers by different objectives, side by side:

bash script/objectives.sh, or python -m evaluation.compare_objectives
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # imports start at this checkout, installed or not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from common.errors import run_program
from evaluation.options import MEASURE_AGAIN, ObjectiveOptions, parse_options


def main(argv: Sequence[str] | None = None) -> None:
    """Print and write a row for each student, and rank correlations over objectives."""
    options = parse_options(ObjectiveOptions, argv, "Students by different objectives.")
    from evaluation.objectives_table import (
        publish_objectives,  # torch only when there is work to do
    )

    publish_objectives(options)


if __name__ == "__main__":
    sys.exit(run_program(main, if_interrupted=MEASURE_AGAIN))
