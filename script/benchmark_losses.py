"""Time a step of a student by each loss, the steps in turns: medians, and ratios to that by kl.

python script/benchmark_losses.py [--steps 1] [--repeats 3] [--device auto]

A ResNet-20 student and two such teachers, which answer in every step, at 32 pixels in batches
of 128, 100 classes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

if __name__ == "__main__":  # imports start at this checkout, installed or not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch

from common.errors import run_program
from dataloader.loader import Batch
from dataloader.views import CIFAR_STATISTICS
from engine.compute import Compute, pick_device
from engine.config import StudentConfig
from engine.learner import Learner
from engine.loop import train_epoch
from engine.progress import Progress
from engine.teachers import Teachers
from losses.registry import DEFAULT, LOSSES
from models.frozen_teachers import FrozenTeachers
from models.registry import build_model
from script.benchmark_students import BATCH, SIDE
from script.timing import BenchmarkParser, medians

CELL, CLASSES = "T1w_T2w_Sw", 100
SUM = "kl+class_map"


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line for each loss."""
    options = parse(argv)
    compute = Compute(pick_device(options.device), "none", CIFAR_STATISTICS)
    views = torch.randint(256, (BATCH, 3, SIDE, SIDE), dtype=torch.uint8)
    batch = torch.arange(BATCH), views, torch.randint(CLASSES, (BATCH,))
    losses = [DEFAULT, *(name for name in LOSSES if name != DEFAULT), SUM]
    actions = [steps(loss, [batch] * options.steps, compute) for loss in losses]
    seconds = [each / options.steps for each in medians(actions, options.repeats)]
    print(
        f"a step by each loss on {compute.device}, {torch.get_num_threads()} threads, "
        f"{options.repeats} repeats of {options.steps} steps"
    )
    for loss, each in zip(losses, seconds, strict=True):
        print(f"  {loss:<60} {each * 1e3:10.1f} ms {each / seconds[0]:6.2f}x")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = BenchmarkParser(__doc__)
    parser.add_argument("--steps", type=int, default=1)
    return parser.parse_args(argv)


def steps(loss: str, batches: Sequence[Batch], compute: Compute) -> Callable[[], object]:
    """Training by a loss on the batches, to its end on the device."""
    teachers = [compute.place(build_model("resnet20", CLASSES)) for _ in range(2)]
    taught = Teachers(("T1w", "T2w"), FrozenTeachers(teachers))
    config = StudentConfig(cell=CELL, loss=loss, lr=0.01)
    learner = Learner(compute.place(build_model("resnet20", CLASSES)), config, compute)
    bar = Progress("", total=len(batches), done=0, logs=[], silent=True)
    return partial(train_to_the_end, learner, batches, taught, compute, bar)


def train_to_the_end(
    learner: Learner,
    batches: Sequence[Batch],
    teachers: Teachers,
    compute: Compute,
    bar: Progress,
) -> None:
    """One pass; its sums wait for the device."""
    (sums,) = train_epoch([learner], batches, teachers, compute, bar)
    sums.means()


if __name__ == "__main__":
    sys.exit(run_program(main, if_interrupted="run the command again"))
