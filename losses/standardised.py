"""Logits as z-scores: Sun et al. 2024, "Logit standardization in knowledge distillation"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from losses.kl import Softened, divergences
from losses.loss import PerImage, Seen, check_teachers

if TYPE_CHECKING:
    import torch

LEAST_SPREAD = 1e-7  # added to the standard deviation, as published


def standardised_kl(
    student: torch.Tensor, teachers: torch.Tensor, *, temperature: float
) -> torch.Tensor:
    """T^2 KL(teacher || student) of standardised logits, mean over teachers and batch, in nats.

    student (B, C), teachers (K, B, C) logits; a scalar in float32. ValueError when the shapes do
    not fit. Where all logits of an image are alike its gradient is 1e5 or more: the spread that
    they are divided by is 1e-7.
    """
    check_teachers(student, teachers)
    return _per_image(student, teachers, temperature).mean()


def _per_image(student: torch.Tensor, teachers: torch.Tensor, temperature: float) -> torch.Tensor:
    z_student, z_teachers = _standardised(student), _standardised(teachers)
    return temperature**2 * divergences(z_student, z_teachers, temperature)


def _standardised(logits: torch.Tensor) -> torch.Tensor:
    """Mean 0 and unbiased standard deviation 1 over the classes, the last axis."""
    logits = logits.float()
    return (logits - logits.mean(-1, keepdim=True)) / (LEAST_SPREAD + logits.std(-1, keepdim=True))


@dataclass(frozen=True, kw_only=True)
class StandardisedKL(Softened, PerImage):
    """`standardised_kl`."""

    published_weight = 9.0

    def per_image(self, seen: Seen) -> torch.Tensor:
        """With T^2."""
        return _per_image(seen.logits, seen.taught, self.temperature)
