"""Train teachers of the grid, each on one view, from labels alone:

python train_teacher.py --dataset CIFAR100 --cell T1s
python train_teacher.py --dataset CIFAR100 --cells T1w T2w T3w
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from common.errors import run_program
from engine.config import TeacherConfig
from engine.flags import resolve
from engine.run import unfinished
from engine.scheduling import side_by_side, train_each, train_together


def main(argv: Sequence[str] | None = None) -> None:
    """Train the teachers that the flags describe, but for those whose runs are finished. Variants
    of one teacher see the same images and learn side by side, others one after the other."""
    train_each(side_by_side(unfinished(resolve(TeacherConfig, argv))), train_together)


if __name__ == "__main__":
    sys.exit(run_program(main))
