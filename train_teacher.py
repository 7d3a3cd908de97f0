"""Train teachers of the grid, each on one view:

python train_teacher.py --dataset CIFAR100 --cell T1s
python train_teacher.py --dataset CIFAR100 --cells T1w T2w T3w
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from common.errors import run_program
from engine.config import TeacherConfig
from engine.flags import resolve
from engine.run import Runs, unfinished
from engine.scheduling import side_by_side, train_each

if TYPE_CHECKING:
    from engine.processes import Ranks


def main(argv: Sequence[str] | None = None) -> None:
    """Train the teachers that the flags describe, but for those whose runs are finished: one after
    the other, for no two see the same images."""
    train_each(side_by_side(unfinished(resolve(TeacherConfig, argv))), teach)


def teach(configs: Sequence[TeacherConfig], ranks: Ranks) -> None:
    """Teachers learn from labels alone."""
    from engine.compute import (
        Compute,  # torch only when there is work to do
        enough_memory_for,
    )
    from engine.data import load_data
    from engine.learner import Task, new_learner
    from engine.loop import train
    from engine.teachers import Teachers
    from engine.training_run import Fit
    from losses.objective import labels_only

    def fit(config: TeacherConfig) -> Fit:
        task = Task(new_learner(config, data.num_classes, compute), labels_only())
        return Fit(config, Runs.beside(config).of_config(config), task)

    data = load_data(configs[0], ranks)
    compute = Compute.of(configs[0], data.statistics, ranks)
    with enough_memory_for(len(configs)):
        train([fit(compute.settled(config)) for config in configs], data, Teachers(), compute)


if __name__ == "__main__":
    sys.exit(run_program(main))
