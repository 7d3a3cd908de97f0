"""Train students of the grid, each distilled from the teachers that its cell names:

python train_student.py --dataset CIFAR100 --cell T1s_T2w_Ss
python train_student.py --dataset CIFAR100 --cells 1T T1s_T2w_Ss --seeds 1 2

Students of one view and seed learn side by side: their images are made, and their teachers asked,
once for all of them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from common.errors import run_program
from engine.config import StudentConfig
from engine.flags import resolve
from engine.run import Runs, unfinished
from engine.scheduling import side_by_side, train_each

if TYPE_CHECKING:
    from engine.processes import Ranks


def main(argv: Sequence[str] | None = None) -> None:
    """Train the students that the flags describe, but for those whose runs are finished."""
    train_each(side_by_side(unfinished(resolve(StudentConfig, argv))), distil)


def distil(configs: Sequence[StudentConfig], ranks: Ranks) -> None:
    """Students learn from labels and from their teachers, all of whom see the students' view."""
    from engine.compute import (
        Compute,  # torch only when there is work to do
        enough_memory_for,
    )
    from engine.data import load_data
    from engine.learner import Task, new_learner
    from engine.loop import train
    from engine.teachers import load_teachers
    from engine.training_run import Fit
    from losses.objective import distilled, labels_only

    def fit(config: StudentConfig) -> Fit:
        names = [str(teacher) for teacher in config.parsed_cell.teachers]
        objective = (
            distilled(temperature=config.temperature, ce_weight=config.ce_weight)
            if names
            else labels_only()
        )
        task = Task(new_learner(config, data.num_classes, compute), objective, names)
        return Fit(config, Runs.beside(config).of_config(config), task)

    data = load_data(configs[0], ranks)
    compute = Compute.of(configs[0], data.statistics, ranks)
    with enough_memory_for(len(configs)):
        teachers = load_teachers(configs, data.num_classes, compute)
        train([fit(compute.settled(config)) for config in configs], data, teachers, compute)


if __name__ == "__main__":
    sys.exit(run_program(main))
