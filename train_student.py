"""Train one student of the grid, distilled from the teachers that its cell names:

python train_student.py --dataset CIFAR100 --cell T1s_T2w_Ss
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dataloader.errors import run_program
from engine.config import StudentConfig
from engine.flags import resolve
from engine.run import RunDirectory, Runs


def main(argv: Sequence[str] | None = None) -> None:
    """Train the student that the flags describe, unless its run is finished."""
    config = resolve(StudentConfig, argv)
    run = Runs.beside(config).of_config(config)
    if not run.has_finished(config):
        distil(config, run)


def distil(config: StudentConfig, run: RunDirectory) -> None:
    """A student learns from labels and from its teachers, all of whom see its view."""
    from engine.compute import Compute  # torch only when there is work to do
    from engine.data import load_data
    from engine.fit import Fit
    from engine.learner import new_learner
    from engine.loop import Task
    from engine.processes import joined
    from engine.teachers import load_teachers
    from engine.training import train
    from losses.objective import distilled, labels_only

    with joined() as ranks:
        data = load_data(config, ranks)
        compute = Compute.of(config, data.statistics, ranks)
        teachers = load_teachers([config], data.num_classes, compute)
        student = new_learner(config, data.num_classes, compute)
        objective = (
            distilled(temperature=config.temperature, ce_weight=config.ce_weight)
            if teachers.names
            else labels_only()
        )
        task = Task(student, objective, teachers.names)
        train([Fit(config, run, task)], data, teachers, compute)


if __name__ == "__main__":
    sys.exit(run_program(main))
