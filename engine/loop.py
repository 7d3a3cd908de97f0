"""One pass over a loader, training or evaluation of one or many models, and runs side by
side, each from its first epoch, or the one after its last, to its metrics.json.

Each teacher answers once a batch; then each model takes its own step, one after the other, so that
memory holds one model's activations."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import Any

import torch

from common.errors import DivergedError
from common.workers import available_cores
from dataloader.loader import Batch, ViewLoader
from dataloader.worker_processes import living_workers
from engine.compute import Compute, enough_memory_for
from engine.data import RunData
from engine.learner import Task
from engine.processes import Ranks
from engine.progress import Epochs, Progress
from engine.sums import EpochSums
from engine.teachers import Teachers
from engine.training_run import Fit, Record

STARVED = 0.1  # of the training time: a device that waits so long could do more


class Waiting:
    """Adds up the time between asking for a batch and having it, by the device's own clock: while
    a GPU works off what it was given before, the program's waiting costs nothing."""

    def __init__(self, device: torch.device) -> None:
        self.seconds = 0.0
        self._on_gpu = device.type == "cuda"

    def counted(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches, the waiting for them added to `seconds` at their end."""
        iterator, waits = iter(batches), []
        while True:
            asked = self._now()
            batch = next(iterator, None)
            if batch is None:
                break
            waits.append((asked, self._now()))
            yield batch
        self.seconds += sum(self._between(*wait) for wait in waits)

    def told(self, training_seconds: float, workers: int) -> str:
        """Which share of the training time it was, and what helps: on a GPU more workers, if there
        are cores for them; on a CPU the steps need the cores."""
        share = self.seconds / training_seconds
        could_help = share > STARVED and self._on_gpu and workers < available_cores()
        what = "waited for" if workers else "made its"
        remedy = ": more --workers would help" if could_help else ""
        return f"{what} images {share:.0%} of the training time{remedy}"

    def _now(self) -> Any:
        """A time on the CPU, or a mark in the GPU's queue."""
        if not self._on_gpu:
            return perf_counter()
        mark = torch.cuda.Event(enable_timing=True)
        mark.record()
        return mark

    def _between(self, asked: Any, came: Any) -> float:
        if not self._on_gpu:
            return came - asked
        came.synchronize()
        return asked.elapsed_time(came) / 1000


def train_epoch(
    tasks: Sequence[Task],
    batches: Iterable[Batch],
    teachers: Teachers,
    compute: Compute,
    progress: Progress,
) -> list[EpochSums]:
    """Train each model on each batch once; what was measured just before each step, by model.

    Of several processes each has its part of a batch, and all make the step of the whole batch.
    """
    sums = [EpochSums(task.teacher_names, compute.device) for task in tasks]
    for _, views, labels in batches:
        whole = compute.ranks.total(len(labels))
        if whole == 0:
            continue  # none of its images can be read
        share = compute.ranks.size * len(labels) / whole  # undoes the mean over the processes
        images, labels = compute.inputs(views), compute.send(labels)
        with compute.autocast():
            answers = teachers.logits(images, teaching=True)
        for task, added in zip(tasks, sums, strict=True):
            heard = task.heard(teachers, answers)
            with compute.autocast():
                logits = task.learner.answer(images)
            terms = task.terms(logits, heard, labels)
            task.learner.step(terms["loss"] * share)
            added.update(terms, logits, labels, heard)
        progress.step(sums)
    for task, added in zip(tasks, sums, strict=True):
        compute.ranks.take_buffers(task.learner.model)
        added.add_up(compute.ranks)
    return sums


@torch.no_grad()
def evaluate(
    tasks: Sequence[Task],
    batches: Iterable[Batch],
    teachers: Teachers,
    answers: torch.Tensor | None,
    compute: Compute,
    progress: Progress,
    shot_groups: torch.Tensor | None = None,
) -> list[EpochSums]:
    """What each model answers in eval mode; the teachers' `answers` (K, N, C) are looked up by
    index. shot_groups: (C,) group of each class, of a long-tailed set."""
    groups = None if shot_groups is None else compute.send(shot_groups)
    sums = [EpochSums(task.teacher_names, compute.device, groups) for task in tasks]
    for task in tasks:
        task.learner.model.eval()
    for index, views, labels in batches:
        images, labels = compute.inputs(views), compute.send(labels)
        known = None if answers is None else compute.send(answers[:, index])
        for task, added in zip(tasks, sums, strict=True):
            heard = task.heard(teachers, known)
            with compute.autocast():
                logits = task.learner.model(images)
            added.update(task.terms(logits, heard, labels), logits, labels, heard)
        progress.step()
    for added in sums:
        added.add_up(compute.ranks)
    return sums


def answers_of(
    teachers: Teachers, batches: Iterable[Batch], compute: Compute, *, size: int, num_classes: int
) -> torch.Tensor | None:
    """Logits (K, N, C) of the teachers over `size` images, on the CPU, by index; 0 where skipped or
    another process's.

    The test view is the same in every epoch, so its teachers are queried once. None without one.
    """
    if teachers.models is None:
        return None
    known = torch.zeros(len(teachers.names), size, num_classes)
    for index, views, _ in batches:
        with compute.autocast():
            known[:, index] = teachers.models(compute.inputs(views)).float().cpu()
    return known


@dataclass
class Course:
    """What the runs share: images under one view, in one order, and who teaches."""

    data: RunData
    teachers: Teachers
    compute: Compute
    progress: Progress
    training_seconds: float = 0.0  # of this session

    @cached_property
    def waiting(self) -> Waiting:
        """For images, in the training time of this session."""
        return Waiting(self.compute.device)

    def epoch(self, fits: Sequence[Fit], epoch: int) -> list[Record]:
        """Train all `fits` on `epoch` (from 0) and validate them: a record each."""
        started = time.monotonic()
        rates = [fit.task.learner.start_epoch(epoch) for fit in fits]
        tasks = [fit.task for fit in fits]
        batches = self.waiting.counted(self.data.train.epoch(epoch))
        train = train_epoch(tasks, batches, self.teachers, self.compute, self.progress)
        self.training_seconds += time.monotonic() - started
        validation = self.means(fits, self.data.validation, self._known_validation)
        skipped = {
            "train": self.compute.ranks.total(self.data.train.skipped),
            "validation": self.compute.ranks.total(self.data.validation.skipped),
        }
        return [
            {
                "epoch": epoch + 1,
                "lr": rate,
                "train": trained,
                "validation": validated,
                "gap_points": 100 * (trained["top1"] - validated["top1"]),
                "skipped_images": skipped,
                "seconds": round(time.monotonic() - started, 3),
            }
            for rate, trained, validated in zip(
                rates, [sums.means() for sums in train], validation, strict=True
            )
        ]

    def means(
        self, fits: Sequence[Fit], loader: ViewLoader, answers: torch.Tensor | None
    ) -> list[dict[str, float]]:
        """What each of `fits` does on a loader's images, whose teachers' logits are `answers`."""
        tasks = [fit.task for fit in fits]
        sums = evaluate(
            tasks,
            loader.epoch(0),
            self.teachers,
            answers,
            self.compute,
            self.progress,
            self.data.shot_groups,
        )
        return [each.means() for each in sums]

    def finish(self, fits: Sequence[Fit]) -> None:
        """Write the results of `fits`, whose last epoch is done."""
        if not fits:
            return
        if not fits[0].history:
            self._adopt(fits)
        else:
            self._finish(fits)
            self._say_how_long_it_waited(fits)

    def _say_how_long_it_waited(self, fits: Sequence[Fit]) -> None:
        if not (self.training_seconds and self.compute.ranks.is_main):
            return
        for fit in fits:
            told = self.waiting.told(self.training_seconds, fit.config.workers)
            self.progress.line(f"{fit.config.cell}  {told}", fit.run.log)

    def _adopt(self, fits: Sequence[Fit]) -> None:
        """Runs of no epoch: weights that were trained elsewhere."""
        tests = self.means(fits, self.data.test, self._known_test)
        for fit, test in zip(fits, tests, strict=True):
            fit.adopt(self.data.num_classes)
            fit.finish(self.data, {"last": test, "best": test})

    def _finish(self, fits: Sequence[Fit]) -> None:
        if self.data.selected_on == "test":
            last = [fit.history[-1]["validation"] for fit in fits]
            best = [fit.history[fit.best_epoch - 1]["validation"] for fit in fits]
        else:
            last = self.means(fits, self.data.test, self._known_test)
            for fit in fits:
                fit.go_back_to_best()
            best = self.means(fits, self.data.test, self._known_test)
        for fit, *tests in zip(fits, last, best, strict=True):
            fit.finish(self.data, dict(zip(("last", "best"), tests, strict=True)))

    @cached_property
    def _known_validation(self) -> torch.Tensor | None:
        return self._answers(self.data.validation)

    @cached_property
    def _known_test(self) -> torch.Tensor | None:
        return self._answers(self.data.test)

    def _answers(self, loader: ViewLoader) -> torch.Tensor | None:
        return answers_of(
            self.teachers,
            loader.epoch(0),
            self.compute,
            size=len(loader.images),
            num_classes=self.data.num_classes,
        )


def train(fits: Sequence[Fit], data: RunData, teachers: Teachers, compute: Compute) -> None:
    """Train every run for its epochs, resuming where it stopped, and write its results.

    A run ahead of the others waits for them. One whose loss is no longer finite stops, the others
    go on, and a DivergedError says so at the end; any other error stops all.
    """
    running, reasons = list(fits), []
    with ExitStack() as closing:
        closing.enter_context(_stopping(running, compute.ranks))
        closing.enter_context(living_workers())
        closing.enter_context(enough_memory_for(len(fits)))
        for fit in fits:
            fit.start(teachers, data.train.view.description, compute)
        course = Course(data, teachers, compute, _progress(fits, data, compute))
        closing.callback(course.progress.close)
        course.finish([fit for fit in running if fit.is_trained()])
        while together := _furthest_behind(running):
            records = course.epoch(together, len(together[0].history))
            for fit, record in zip(together, records, strict=True):
                if reason := fit.divergence(record):
                    fit.stop(reason)
                    running.remove(fit)
                    reasons.append(str(reason))
                else:
                    fit.add(record, data.num_classes)
                    fit.report(data.selected_on, course.progress)
            course.finish([fit for fit in together if fit.is_trained()])
    if reasons:
        raise DivergedError("; ".join(reasons))


@contextmanager
def _stopping(running: list[Fit], ranks: Ranks) -> Iterator[None]:
    """Stops those that are `running` at its end, with the reason where it is an error."""
    try:
        yield
    except BaseException as error:
        reason = ranks.reason(error)
        for fit in running:
            fit.stop(reason)
        raise
    for fit in running:
        fit.stop()


def _furthest_behind(fits: Sequence[Fit]) -> list[Fit]:
    """Of the runs with epochs to do, those that have done the fewest."""
    waiting = [fit for fit in fits if not fit.is_trained()]
    done = min((len(fit.history) for fit in waiting), default=0)
    return [fit for fit in waiting if len(fit.history) == done]


def _progress(fits: Sequence[Fit], data: RunData, compute: Compute) -> Progress:
    """Of all batches to come: training and validation of each epoch, then the test."""
    batches = len(data.train) + len(data.validation)
    tests = 0 if data.selected_on == "test" else 2 * len(data.test)
    epochs = max(fit.config.epochs for fit in fits)
    return Progress(
        fits[0].config.cell if len(fits) == 1 else f"{len(fits)} {fits[0].config.role}s",
        total=batches * epochs + tests,
        done=batches * min(len(fit.history) for fit in fits),
        logs=[fit.run.log for fit in fits],
        epochs=Epochs(epochs, batches, len(data.train.images) + len(data.validation.images)),
        silent=not compute.ranks.is_main,
    )
