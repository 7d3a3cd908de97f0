"""Time a training step against a plain one, its parts, and students together: medians and ratios.

python script/benchmark_step.py [--batch-size 16] [--repeats 3] [--device auto]

The step of a student of two teachers at 224 pixels is that of the published protocol: ResNet-50
teachers, a ResNet-18 student, 100 classes. On a GPU ask for its batch: --batch-size 128.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

if __name__ == "__main__":  # imports start at this checkout, installed or not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from common.errors import run_program
from dataloader.loader import Batch, ViewLoader
from dataloader.synthetic import load_synthetic
from dataloader.views import CIFAR_STATISTICS, cifar_view
from engine.cells import StudentCell, parse_student, student_cells
from engine.compute import Compute, pick_device, set_arithmetic
from engine.learner import Learner
from engine.loop import train_epoch
from engine.progress import Progress
from engine.sums import EpochSums
from engine.teachers import Teachers
from losses.loss import Seen
from models.registry import build_model
from script.benchmark_students import BATCH, SIDE, asked, student
from script.timing import Action, BenchmarkParser, medians

CLASSES, WIDE = 100, 224
CELL = parse_student("T1w_T2w_Sw")
WEAK = tuple(c for k in range(4) for c in student_cells(k) if c.view == "weak")
TOGETHER = (1, 4, 15)
STEPS = 3  # of a measurement at 32 pixels


def main(argv: Sequence[str] | None = None) -> None:
    """Print every row for the device at hand."""
    options = parse(argv)
    device = pick_device(options.device)
    set_arithmetic(device, tf32=True, deterministic=False)
    print(f"{device}, {torch.get_num_threads()} threads, {options.repeats} repeats")
    print_memory(str(device))  # first: a child's peak begins at what its parent holds
    print_wide_step(device, options.batch_size, options.repeats)
    print_narrow_step(device, options.repeats)
    print_together(device, options.repeats)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = BenchmarkParser(__doc__)
    parser.add_argument("--batch-size", type=int, default=16, help="at 224 pixels")
    return parser.parse_args(argv)


@dataclass(frozen=True)
class Lesson:
    """Students, those who teach them, and where."""

    students: Sequence[Learner]
    teachers: Teachers
    compute: Compute
    classes: int

    def run(self, batches: Iterable[Batch]) -> None:
        """A step of every student on each batch, to its end on the device."""
        bar = Progress("", total=1, done=0, logs=[], silent=True)
        for sums in train_epoch(self.students, batches, self.teachers, self.compute, bar):
            sums.means()


def lesson(
    cells: Sequence[StudentCell],
    nets: tuple[str, str],
    classes: int,
    amp: str,
    device: torch.device,
) -> Lesson:
    """Students `cells`; nets: the teachers' and the students' architecture."""
    compute = Compute(device, amp, CIFAR_STATISTICS)
    names = dict.fromkeys(str(teacher) for cell in cells for teacher in cell.teachers)
    models = {name: compute.place(build_model(nets[0], classes)) for name in names}
    students = [student(cell, compute, nets[1], classes) for cell in cells]
    return Lesson(students, asked(models, students), compute, classes)


def made_up(count: int, side: int, classes: int, device: torch.device) -> Batch:
    """A batch of noise that is on the device already."""
    views = torch.randint(256, (count, 3, side, side), dtype=torch.uint8, device=device)
    return torch.arange(count), views, torch.randint(classes, (count,), device=device)


def print_wide_step(device: torch.device, count: int, repeats: int) -> None:
    """The 2-teacher step at 224 pixels: plain float32, ours in float32 and in bf16."""
    batch = made_up(count, WIDE, CLASSES, device)
    ours = {
        amp: lesson([CELL], ("resnet50", "resnet18"), CLASSES, amp, device)
        for amp in ("none", "bf16")
    }
    plain, single, half = medians(
        [plain_step(batch, device), *(partial(step.run, [batch]) for step in ours.values())],
        repeats,
    )
    print(f"2 teachers, {WIDE} pixels, batch {count}, ResNet-50 to ResNet-18:")
    show("plain float32", plain * 1e3, "ms")
    show("float32", single * 1e3, "ms", f"{plain / single:.2f}x")
    show("bf16", half * 1e3, "ms", f"{plain / half:.2f}x")
    show("of bf16, outside the nets", 100 * outside(ours["bf16"], batch, repeats) / half, "%")
    reached = operations(ours["bf16"], batch) / half
    show("of the bf16 matmul rate, reached", 100 * reached / matmul_rate(device, repeats), "%")


def print_narrow_step(device: torch.device, repeats: int) -> None:
    """The 2-teacher step at 32 pixels: what the loader and the measures cost."""
    step = lesson([CELL], ("resnet56", "resnet20"), 10, "none", device)
    images = load_synthetic("train").subset(torch.arange(STEPS * BATCH).numpy())
    loader = ViewLoader(images, cifar_view("weak", SIDE), seed=0, batch_size=BATCH, shuffle=True)
    ready = [
        (index, views.to(device), labels.to(device)) for index, views, labels in loader.epoch(0)
    ]
    loaded, there = medians([lambda: step.run(loader.epoch(0)), lambda: step.run(ready)], repeats)
    print(f"2 teachers, {SIDE} pixels, batch {BATCH}, ResNet-56 to ResNet-20, float32:")
    show("a step on data that is there", there / STEPS * 1e3, "ms")
    show("images made by the loader", loaded / STEPS * 1e3, "ms", f"{loaded / there:.2f}x")
    parts = outside(step, ready[0], repeats)
    show("outside the nets", 100 * parts / (there / STEPS), "%")


def print_together(device: torch.device, repeats: int) -> None:
    """Images a second, counted for every student."""
    batch = made_up(BATCH, SIDE, 10, device)
    cells = sorted(WEAK, key=lambda cell: -len(cell.teachers))
    print(f"students of up to 3 teachers together, {SIDE} pixels, batch {BATCH}:")
    for count in TOGETHER:
        step = lesson(cells[:count], ("resnet56", "resnet20"), 10, "none", device)
        (seconds,) = medians([partial(step.run, [batch])], repeats)
        show(f"{count}, images/s of all", count * BATCH / seconds, "")


def print_memory(device: str) -> None:
    """Peak memory of a process that takes a step with 1, 8 and 15 students."""
    print(f"peak memory, students together, {SIDE} pixels, batch {BATCH}:")
    for count in (1, 8, 15):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
            show(f"{count}", fresh.submit(peak_memory, count, device).result(), "MiB")


def peak_memory(count: int, device: str) -> float:
    """MiB of this process, or of its GPU, after a step of `count` students."""
    place = torch.device(device)
    step = lesson(WEAK[-count:], ("resnet56", "resnet20"), 10, "none", place)
    step.run([made_up(BATCH, SIDE, 10, place)])
    if place.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def plain_step(batch: Batch, device: torch.device) -> Action:
    """The step as one would write it down: float32, rows of pixels by channel, no measures."""
    _, views, labels = batch
    student = build_model("resnet18", CLASSES).to(device).train()
    teachers = [build_model("resnet50", CLASSES).to(device).eval() for _ in CELL.teachers]
    sgd = torch.optim.SGD(student.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    mean, std = (
        torch.tensor(values, device=device).view(1, 3, 1, 1)
        for values in (CIFAR_STATISTICS.mean, CIFAR_STATISTICS.std)
    )

    def step() -> float:
        images = (views.float() / 255 - mean) / std
        with torch.no_grad():
            heard = torch.stack([teacher(images) for teacher in teachers]).mean(0)
        logits = student(images)
        soft = F.kl_div((logits / 3).log_softmax(1), (heard / 3).softmax(1), reduction="batchmean")
        loss = 0.6 * F.cross_entropy(logits, labels) + 0.4 * 9 * soft
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        return loss.item()

    return step


def outside(step: Lesson, batch: Batch, repeats: int) -> float:
    """Seconds of a step's inputs, loss and its gradient, and measures: all but nets and SGD."""
    _, views, labels = batch
    shape = len(step.teachers.names), len(labels), step.classes
    answers = torch.randn(shape, device=step.compute.device)
    logits = torch.randn(shape[1:], device=step.compute.device, requires_grad=True)
    added = EpochSums(step.students[0].teacher_names, step.compute.device)

    def parts() -> None:
        step.compute.inputs(views)
        seen = Seen(logits, answers, labels)
        terms = step.students[0].objective(seen)
        terms["loss"].backward()
        added.update(terms, seen)
        added.means()  # waits for the device, which a step does not: this side is too slow

    return medians([parts], 5 * repeats)[0]


def operations(step: Lesson, batch: Batch) -> float:
    """Multiplications and additions of a step's nets."""
    images = step.compute.inputs(batch[1])
    with FlopCounterMode(display=False) as counter:
        step.students[0].model(images).sum().backward()
        with torch.no_grad():
            for teacher in step.teachers.models.teachers if step.teachers.models else ():
                teacher(images)
    return counter.get_total_flops()


def matmul_rate(device: torch.device, repeats: int) -> float:
    """Operations a second of a bf16 matrix product."""
    side = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / medians([lambda: (a @ b)[0, 0].item()], 5 * repeats)[0]


def show(name: str, value: float, unit: str, ratio: str = "") -> None:
    """A line of the table."""
    print(f"  {name:<60} {value:10.1f} {unit:<4} {ratio}".rstrip(), flush=True)


if __name__ == "__main__":
    sys.exit(run_program(main, if_interrupted="run the command again"))
