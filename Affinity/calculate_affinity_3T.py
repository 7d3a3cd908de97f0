"""Affinity of every view that trains models, for the teachers and students of the 3T grid:

python Affinity/calculate_affinity_3T.py [--dataset CIFAR100]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # imports start at this checkout, installed or not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from Affinity.calculate_affinity import measure
from common.errors import run_program
from evaluation.options import MEASURE_AGAIN, AffinityOptions, parse_options


def main(argv: Sequence[str] | None = None) -> None:
    """The same measurement as calculate_affinity.py of the teachers T1, T2 and T3 and of the
    students of all three."""
    about = "Affinity and diversity of views, three teachers."
    measure(parse_options(AffinityOptions, argv, about, cells=("T", "3T"), name="affinity_3T"))


if __name__ == "__main__":
    sys.exit(run_program(main, if_interrupted=MEASURE_AGAIN))
