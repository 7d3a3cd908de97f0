"""The objective of a distilled student."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from losses.cross_entropy import cross_entropy


def distillation_loss(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    temperature: float,
    ce_weight: float,
) -> torch.Tensor:
    """ce_weight * CE(labels) + (1 - ce_weight) * T^2 * KL(teacher || student), mean over teachers.

    student_logits (B, C), teacher_logits (K, B, C), labels (B,) int64; scalar, in nats, mean over
    the batch. Both distributions of the KL are softened by T; T^2 keeps its gradient's size
    (Hinton et al. 2015). ValueError when the shapes do not fit. In float32 whatever the input.
    """
    _check_shapes(student_logits, teacher_logits, labels)
    hard = cross_entropy(student_logits, labels)
    soft = softened_kl(student_logits, teacher_logits, temperature=temperature)
    return ce_weight * hard + (1 - ce_weight) * temperature**2 * soft


def softened_kl(
    student_logits: torch.Tensor, teacher_logits: torch.Tensor, *, temperature: float
) -> torch.Tensor:
    """KL(teacher || student) at a temperature, mean over teachers (K) and batch (B), in nats."""
    log_student = F.log_softmax(student_logits.float() / temperature, dim=-1)
    log_teacher = F.log_softmax(teacher_logits.float() / temperature, dim=-1)
    pointwise = F.kl_div(
        log_student.expand_as(log_teacher), log_teacher, log_target=True, reduction="none"
    )
    return pointwise.sum(-1).mean()


def _check_shapes(student: torch.Tensor, teachers: torch.Tensor, labels: torch.Tensor) -> None:
    if student.ndim != 2 or teachers.ndim != 3 or len(teachers) == 0:
        raise ValueError("student_logits must be (B, C) and teacher_logits (K, B, C) with K >= 1")
    if teachers.shape[1:] != student.shape or labels.shape != student.shape[:1]:
        raise ValueError(
            f"shapes differ: student {tuple(student.shape)}, teachers {tuple(teachers.shape)}, "
            f"labels {tuple(labels.shape)}"
        )
