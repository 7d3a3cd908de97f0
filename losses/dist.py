"""Correlation instead of equality: Huang et al. 2022, "Knowledge distillation from a stronger
teacher" (DIST)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.errors import UserError
from common.settings import option
from losses.kl import Softened
from losses.loss import Seen, check_teachers

if TYPE_CHECKING:
    import torch

LEAST_NORM = 1e-8  # added to the product of the norms, as published


def dist(
    student: torch.Tensor,
    teachers: torch.Tensor,
    *,
    temperature: float,
    beta: float,
    gamma: float,
) -> torch.Tensor:
    """T^2 (beta (1 - r over classes) + gamma (1 - r over the batch)) of the softened
    probabilities, mean over teachers; r is Pearson's correlation of student and teacher, over the
    classes the mean of all images' and over the batch the mean of all classes'.

    student (B, C), teachers (K, B, C) logits; a scalar in float32. ValueError when the shapes do
    not fit. Constant probabilities have a correlation of 0, and gradients of up to 1e5.
    """
    check_teachers(student, teachers)
    p_student = (student.float() / temperature).softmax(-1)
    p_teachers = (teachers.float() / temperature).softmax(-1)
    of_images = 1 - _correlation(p_student, p_teachers, -1).mean()
    of_classes = 1 - _correlation(p_student, p_teachers, -2).mean()
    return temperature**2 * (beta * of_images + gamma * of_classes)


def _correlation(x: torch.Tensor, y: torch.Tensor, over: int) -> torch.Tensor:
    """Pearson's, along an axis."""
    x, y = x - x.mean(over, keepdim=True), y - y.mean(over, keepdim=True)
    return (x * y).sum(over) / (x.norm(dim=over) * y.norm(dim=over) + LEAST_NORM)


@dataclass(frozen=True, kw_only=True)
class Dist(Softened):
    """`dist`."""

    published_weight = 2.0

    dist_beta: float = option(1.0, "weight of the correlation over classes in dist", at_least=0)
    dist_gamma: float = option(1.0, "weight of that over the batch in dist", at_least=0)

    def check(self, *, num_classes: int, processes: int) -> None:
        """It needs the whole batch."""
        if processes > 1:
            raise UserError(
                f"--loss dist compares the images of a batch, of which {processes} processes have "
                "a part each: train it in one process (NPROC=1)"
            )

    def __call__(self, seen: Seen) -> torch.Tensor:
        """With T^2."""
        return dist(
            seen.logits,
            seen.taught,
            temperature=self.temperature,
            beta=self.dist_beta,
            gamma=self.dist_gamma,
        )
