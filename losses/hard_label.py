"""The class that a teacher predicts, as a label: distillation without soft targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from losses.loss import PerImage, Seen, check_teachers

if TYPE_CHECKING:
    import torch


def teacher_label_cross_entropy(student: torch.Tensor, teachers: torch.Tensor) -> torch.Tensor:
    """-ln softmax(student)[arg max teacher], mean over teachers and batch, in nats.

    student (B, C), teachers (K, B, C) logits; a scalar in float32. ValueError when the shapes do
    not fit.
    """
    check_teachers(student, teachers)
    return _per_image(student, teachers).mean()


def _per_image(student: torch.Tensor, teachers: torch.Tensor) -> torch.Tensor:
    log_p = student.float().log_softmax(-1).expand(teachers.shape)
    return -log_p.gather(-1, teachers.argmax(-1, keepdim=True)).squeeze(-1)


class TeacherLabel(PerImage):
    """`teacher_label_cross_entropy`."""

    def per_image(self, seen: Seen) -> torch.Tensor:
        """Of each teacher's own class."""
        return _per_image(seen.logits, seen.taught)
