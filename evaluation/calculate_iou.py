"""Overlap of attention maps: of teachers with each other (T_T), of the student with them (T_S).

bash script/IoU_TT.sh, bash script/IoU_TS.sh, or python -m evaluation.calculate_iou --group T_T
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # imports start at this checkout, installed or not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from common.errors import run_program
from evaluation.options import MEASURE_AGAIN, OverlapOptions, parse_options


def main(argv: Sequence[str] | None = None) -> None:
    """Print and write the overlap of each group, and draw it."""
    measure(parse_options(OverlapOptions, argv, "Overlap of attention maps."))


def measure(options: OverlapOptions) -> None:
    """The same, for a caller that has the options."""
    from evaluation.overlap_table import publish_overlap  # torch only when there is work to do

    publish_overlap(options)


if __name__ == "__main__":
    sys.exit(run_program(main, if_interrupted=MEASURE_AGAIN))
