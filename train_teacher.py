"""Train one teacher of the grid on one view:

python train_teacher.py --dataset CIFAR100 --cell T1s
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dataloader.errors import run_program
from engine.config import TeacherConfig
from engine.flags import resolve
from engine.run import RunDirectory, Runs


def main(argv: Sequence[str] | None = None) -> None:
    """Train the teacher that the flags describe, unless its run is finished."""
    config = resolve(TeacherConfig, argv)
    run = Runs.beside(config).of_config(config)
    if not run.has_finished(config):
        teach(config, run)


def teach(config: TeacherConfig, run: RunDirectory) -> None:
    """A teacher learns from labels alone."""
    from engine.compute import Compute  # torch only when there is work to do
    from engine.data import load_data
    from engine.fit import Fit
    from engine.learner import new_learner
    from engine.loop import Task
    from engine.processes import joined
    from engine.teachers import Teachers
    from engine.training import train
    from losses.objective import labels_only

    with joined() as ranks:
        data = load_data(config, ranks)
        compute = Compute.of(config, data.statistics, ranks)
        teacher = new_learner(config, data.num_classes, compute)
        task = Task(teacher, labels_only())
        train([Fit(config, run, task)], data, Teachers(), compute)


if __name__ == "__main__":
    sys.exit(run_program(main))
