"""Affinity and diversity of the weak and strong view for all six teachers of the 3T grid:

python Affinity/calculate_affinity_3T.py [--dataset CIFAR100]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a script, not as a module

from Affinity.calculate_affinity import measure
from engine.errors import run_program


def main(argv: Sequence[str] | None = None) -> None:
    """The teachers T1, T2 and T3, or the cells asked for."""
    measure(argv, cells=("T",), name="affinity_3T")


if __name__ == "__main__":
    sys.exit(run_program(main, None))
