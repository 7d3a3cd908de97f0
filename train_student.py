"""Train students of the grid, each distilled from the teachers that its cell names, all of whom see
the student's view:

python train_student.py --dataset CIFAR100 --cell T1s_T2w_Ss
python train_student.py --dataset CIFAR100 --cells 1T T1s_T2w_Ss --seeds 1 2

Students of one view and seed learn side by side: their images are made, and their teachers asked,
once for all of them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from common.errors import run_program
from engine.config import StudentConfig
from engine.flags import resolve
from engine.run import unfinished
from engine.scheduling import side_by_side, train_each, train_together


def main(argv: Sequence[str] | None = None) -> None:
    """Train the students that the flags describe, but for those whose runs are finished."""
    train_each(side_by_side(unfinished(resolve(StudentConfig, argv))), train_together)


if __name__ == "__main__":
    sys.exit(run_program(main))
