"""Affinity of every view that trains models, for the teachers and students of the 0T, 1T and 2T
grid, each under its own view first; diversity for the teachers:

python Affinity/calculate_affinity.py [--dataset CIFAR100]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # imports start at this checkout, installed or not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from common.errors import run_program
from evaluation.options import MEASURE_AGAIN, AffinityOptions, parse_options


def main(argv: Sequence[str] | None = None) -> None:
    """Print and write a row for each model and view, and draw affinity against accuracy."""
    measure(parse_options(AffinityOptions, argv, "Affinity and diversity of views."))


def measure(options: AffinityOptions) -> None:
    """The same, for a caller that has the options."""
    from Affinity.affinity_table import publish_affinity  # torch only when there is work to do

    publish_affinity(options)


if __name__ == "__main__":
    sys.exit(run_program(main, if_interrupted=MEASURE_AGAIN))
