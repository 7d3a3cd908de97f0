"""Time the 15 students of one view side by side against one by one: the ratio of medians.

python script/benchmark_students.py [--steps 2] [--repeats 3] [--device auto]

ResNet-20 students and six ResNet-56 teachers at 32 pixels in batches of 128. One by one, each
student has the images made and its own teachers asked for itself: 15 passes of the loader and 34
teachers' answers a step instead of 1 and 6.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

if __name__ == "__main__":  # imports start at this checkout, installed or not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch

from common.errors import run_program
from dataloader.images import ImageSet
from dataloader.loader import ViewLoader
from dataloader.synthetic import load_synthetic
from dataloader.views import CIFAR_STATISTICS, cifar_view
from engine.cells import StudentCell, student_cells, teacher_cells
from engine.compute import Compute, pick_device
from engine.config import StudentConfig
from engine.learner import Learner
from engine.loop import train_epoch
from engine.progress import Progress
from engine.teachers import Teachers
from models.frozen_teachers import FrozenTeachers
from models.registry import build_model
from script.timing import BenchmarkParser, medians

BATCH, SIDE, CLASSES = 128, 32, 10


def main(argv: Sequence[str] | None = None) -> None:
    """Print the seconds of both ways and their ratio."""
    options = parse(argv)
    compute = Compute(pick_device(options.device), "none", CIFAR_STATISTICS)
    images = load_synthetic("train").subset(torch.arange(options.steps * BATCH).numpy())
    cells = [cell for k in range(4) for cell in student_cells(k) if cell.view == "weak"]
    teachers = {
        str(cell): compute.place(build_model("resnet56", CLASSES)) for cell in teacher_cells()
    }
    students = [student(cell, compute) for cell in cells]

    def together(some: Sequence[Learner]) -> None:
        train_steps(some, images, asked(teachers, some), compute)

    def alone() -> None:
        for one in students:
            together([one])

    side_by_side, one_by_one = medians([partial(together, students), alone], options.repeats)
    print(
        f"{len(students)} students, {options.steps} steps on {compute.device}, "
        f"{torch.get_num_threads()} threads, {options.repeats} repeats"
    )
    print(f"{'  one by one':<62} {one_by_one:10.2f} s")
    ratio = one_by_one / side_by_side
    print(f"{'  side by side':<62} {side_by_side:10.2f} s  {ratio:5.1f}x")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = BenchmarkParser(__doc__)
    parser.add_argument("--steps", type=int, default=2, help="at most 9")
    return parser.parse_args(argv)


def student(
    cell: StudentCell, compute: Compute, arch: str = "resnet20", classes: int = CLASSES
) -> Learner:
    """A student of the grid, from random weights: speed does not depend on them."""
    model = compute.place(build_model(arch, classes)).train()
    return Learner(model, StudentConfig(cell=str(cell), lr=0.01), compute)


def asked(models: dict[str, torch.nn.Module], students: Sequence[Learner]) -> Teachers:
    """Those of the teachers that the students name, each once."""
    names = tuple(dict.fromkeys(name for one in students for name in one.teacher_names))
    return (
        Teachers(names, FrozenTeachers([models[name] for name in names])) if names else Teachers()
    )


def train_steps(
    students: Sequence[Learner], images: ImageSet, teachers: Teachers, compute: Compute
) -> None:
    """One pass over the images, to its end on the device."""
    loader = ViewLoader(images, cifar_view("weak", SIDE), seed=0, batch_size=BATCH, shuffle=True)
    bar = Progress("", total=len(loader), done=0, logs=[], silent=True)
    for sums in train_epoch(students, loader.epoch(0), teachers, compute, bar):
        sums.means()


if __name__ == "__main__":
    sys.exit(run_program(main, if_interrupted="run the command again"))
