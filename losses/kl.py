"""Softened distributions: Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural
network"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.settings import option
from losses.loss import Loss, PerImage, Seen, check_teachers

if TYPE_CHECKING:
    import torch


def softened_kl(
    student: torch.Tensor, teachers: torch.Tensor, *, temperature: float
) -> torch.Tensor:
    """KL(teacher || student) at a temperature, mean over teachers and batch, in nats.

    student (B, C), teachers (K, B, C) logits; a scalar in float32, without the factor T^2.
    ValueError when the shapes do not fit.
    """
    check_teachers(student, teachers)
    return divergences(student, teachers, temperature).mean()


def divergences(student: torch.Tensor, teachers: torch.Tensor, temperature: float) -> torch.Tensor:
    """KL(teacher || student) of each teacher and image, (K, B), softened by the temperature."""
    log_student = (student.float() / temperature).log_softmax(-1)
    log_teacher = (teachers.float() / temperature).log_softmax(-1)
    return (log_teacher.exp() * (log_teacher - log_student)).sum(-1)


@dataclass(frozen=True, kw_only=True)
class Softened(Loss):
    """A loss of distributions at a temperature."""

    temperature: float = option(3.0, "softens teacher and student alike", above=0, at_most=1000)


@dataclass(frozen=True, kw_only=True)
class SoftenedKL(Softened, PerImage):
    """KL(teacher || student) at a temperature, mean over teachers (K) and batch (B), in nats."""

    @property
    def weight(self) -> float:
        """T^2, which keeps the size of the gradient at every temperature."""
        return self.temperature**2

    def per_image(self, seen: Seen) -> torch.Tensor:
        """The divergences, before their weight."""
        return divergences(seen.logits, seen.taught, self.temperature)
