"""Train one teacher of the grid on one view:

python train_teacher.py --dataset CIFAR100 --cell T1s
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from engine.config import TeacherConfig, resolve
from engine.errors import run_program
from engine.run import RunDirectory


def main(argv: Sequence[str] | None = None) -> None:
    """Train the teacher that the flags describe, unless its run is finished."""
    config = resolve(TeacherConfig, argv)
    run = RunDirectory.of(config)
    if not run.has_finished(config):
        train(config, run)


def train(config: TeacherConfig, run: RunDirectory) -> None:
    """A teacher learns from labels alone."""
    from engine.loop import Task, labels_only  # torch is loaded only when there is work to do
    from engine.training import build_learner, fit, open_data

    data, compute = open_data(config)
    teacher = build_learner(config, data.num_classes, compute)
    task = Task(
        labels_only, teachers=None, teacher_names=(), compute=compute, shot_groups=data.shot_groups
    )
    fit(config, run, data, teacher, task, teacher_files={})


if __name__ == "__main__":
    sys.exit(run_program(main, None))
