"""The published objective of a distilled student, as a function of tensors."""

from __future__ import annotations

import torch

from losses.kl import SoftenedKL
from losses.loss import Seen
from losses.objective import distilled


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
    objective = distilled({"kl": SoftenedKL(temperature=temperature)}, ce_weight=ce_weight)
    return objective(Seen(student_logits, teacher_logits, labels))["loss"]
