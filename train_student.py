"""Train one student of the grid, distilled from the teachers that its cell names:

python train_student.py --dataset CIFAR100 --cell T1s_T2w_Ss
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from engine.config import StudentConfig, resolve
from engine.errors import run_program
from engine.run import RunDirectory


def main(argv: Sequence[str] | None = None) -> None:
    """Train the student that the flags describe, unless its run is finished."""
    config = resolve(StudentConfig, argv)
    run = RunDirectory.of(config)
    if not run.has_finished(config):
        train(config, run)


def train(config: StudentConfig, run: RunDirectory) -> None:
    """A student learns from labels and from its teachers, all of whom see its view."""
    from engine.loop import Task, distilled, labels_only  # torch only when there is work to do
    from engine.teachers import load_teachers, teacher_hashes
    from engine.training import build_learner, fit, open_data

    data, compute = open_data(config)
    teachers = load_teachers(config, data.num_classes, compute)
    student = build_learner(config, data.num_classes, compute)
    objective = (
        distilled(temperature=config.temperature, ce_weight=config.ce_weight)
        if teachers
        else labels_only
    )
    names = [str(cell) for cell in config.parsed_cell.teachers]
    task = Task(objective, teachers, names, compute, data.shot_groups)
    fit(config, run, data, student, task, teacher_files=teacher_hashes(config))


if __name__ == "__main__":
    sys.exit(run_program(main, None))
