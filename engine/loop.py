"""One pass over a loader: training or evaluation. Knows no file, flag or cell name's meaning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from dataloader.loader import Batch
from engine.compute import Compute
from engine.learner import Learner
from engine.progress import Progress
from engine.sums import EpochSums
from losses.distillation import distillation_loss
from models.frozen_teachers import FrozenTeachers

# (student logits (B, C), teacher logits (K, B, C) or None, labels (B,)) to a scalar
Objective = Callable[[torch.Tensor, torch.Tensor | None, torch.Tensor], torch.Tensor]


def labels_only(
    logits: torch.Tensor, teacher_logits: torch.Tensor | None, labels: torch.Tensor
) -> torch.Tensor:
    """The objective of teachers, and of students without one: cross-entropy."""
    return F.cross_entropy(logits.float(), labels)


def distilled(*, temperature: float, ce_weight: float) -> Objective:
    """The objective of students with teachers."""

    def objective(
        logits: torch.Tensor, teacher_logits: torch.Tensor | None, labels: torch.Tensor
    ) -> torch.Tensor:
        return distillation_loss(
            logits, teacher_logits, labels, temperature=temperature, ce_weight=ce_weight
        )

    return objective


@dataclass(frozen=True)
class Task:
    """What does not change from epoch to epoch: the objective and who teaches."""

    objective: Objective
    teachers: FrozenTeachers | None
    teacher_names: Sequence[str]
    compute: Compute
    shot_groups: torch.Tensor | None = None  # (C,) group of each class, of a long-tailed set


def train_epoch(
    learner: Learner, batches: Iterable[Batch], task: Task, progress: Progress
) -> dict[str, float]:
    """Train on each batch once; means over the epoch, as measured just before each step."""
    learner.model.train()
    sums = EpochSums(task.teacher_names, task.compute.device)
    for _, views, labels in batches:
        images = task.compute.inputs(views)
        labels = labels.to(task.compute.device, non_blocking=True)
        with task.compute.autocast():
            teacher_logits = task.teachers(images) if task.teachers else None
            logits = learner.model(images)
        loss = task.objective(logits, teacher_logits, labels)
        learner.step(loss)
        sums.update(loss, logits, labels, teacher_logits)
        progress.step(sums.means)
    return sums.means()


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    task: Task,
    teacher_logits: torch.Tensor | None,
) -> dict[str, float]:
    """Means over the batches in eval mode; `teacher_logits` (K, N, C) are looked up by index."""
    model.eval()
    sums = EpochSums(task.teacher_names, task.compute.device, task.shot_groups)
    for index, views, labels in batches:
        labels = labels.to(task.compute.device, non_blocking=True)
        with task.compute.autocast():
            logits = model(task.compute.inputs(views))
        known = None if teacher_logits is None else teacher_logits[:, index].to(logits.device)
        sums.update(task.objective(logits, known, labels), logits, labels, known)
    return sums.means()


def teacher_logits_of(
    teachers: FrozenTeachers,
    batches: Iterable[Batch],
    compute: Compute,
    *,
    size: int,
    num_classes: int,
) -> torch.Tensor:
    """Logits (K, N, C) of the teachers over `size` images, on the CPU, by index; 0 where skipped.

    The test view is the same in every epoch, so its teachers are queried once.
    """
    known = torch.zeros(len(teachers), size, num_classes)
    for index, views, _ in batches:
        with compute.autocast():
            known[:, index] = teachers(compute.inputs(views)).float().cpu()
    return known
