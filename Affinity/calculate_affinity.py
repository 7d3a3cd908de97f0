"""Affinity and diversity of every view that trains models, for the teachers of the 1T and 2T grid:

python Affinity/calculate_affinity.py [--dataset CIFAR100]
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
from evaluation.options import MeasureOptions, parse_options


@dataclass(frozen=True, kw_only=True)
class AffinityOptions(MeasureOptions):
    """What the affinity can be asked."""

    cells: tuple[str, ...] = option(
        ("T1w", "T1s", "T2w", "T2s"), "cells, or groups (or CELLS)", operational=True
    )
    name: str = option("affinity", "of the result files beside the runs", operational=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Print and write a row for each model and view, and draw affinity against accuracy."""
    measure(parse_options(AffinityOptions, argv, "Affinity and diversity of views."))


def measure(options: AffinityOptions) -> None:
    """The same, for a caller that has the options."""
    from Affinity.measure import publish_affinity  # torch only when there is work to do

    publish_affinity(options)


if __name__ == "__main__":
    sys.exit(run_program(main))
