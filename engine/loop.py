"""One pass over a loader: training or evaluation of one or many models, batch by batch.

Knows no file, flag or cell name's meaning. Each teacher answers once a batch; then each model
takes its own step, one after the other, so that memory holds one model's activations.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from dataloader.loader import Batch
from engine.compute import Compute
from engine.learner import Learner
from engine.progress import Progress
from engine.sums import EpochSums
from engine.teachers import Teachers
from losses.objective import Objective


@dataclass(frozen=True)
class Task:
    """What one model learns: its state, its objective and the names of its teachers."""

    learner: Learner
    objective: Objective
    teacher_names: Sequence[str] = ()

    def heard(self, teachers: Teachers, logits: torch.Tensor | None) -> torch.Tensor | None:
        """Of all teachers' (K, B, C) logits those of this task's own; None without a teacher. An
        index of a list would be a copy to the GPU, and a wait, at every step."""
        rows = teachers.rows(self.teacher_names)
        if logits is None or not rows:
            return None
        return logits if rows == [*range(len(logits))] else torch.stack([logits[k] for k in rows])

    def terms(
        self, logits: torch.Tensor, heard: torch.Tensor | None, labels: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """The objective's terms, means over the batch; 0 for an empty part of one."""
        terms = self.objective(logits, heard, labels)
        return terms if len(labels) else dict.fromkeys(terms, logits.sum())


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
    if not teachers.names:
        return None
    known = torch.zeros(len(teachers.names), size, num_classes)
    for index, views, _ in batches:
        with compute.autocast():
            known[:, index] = teachers.logits(compute.inputs(views)).float().cpu()
    return known
