"""Softened distributions: Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural
network"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.settings import option
from losses.loss import Loss, Seen

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class SoftenedKL(Loss):
    """KL(teacher || student) at a temperature, mean over teachers (K) and batch (B), in nats."""

    temperature: float = option(3.0, "softens teacher and student alike", above=0, at_most=1000)

    @property
    def weight(self) -> float:
        """T^2, which keeps the size of the gradient at every temperature."""
        return self.temperature**2

    def __call__(self, seen: Seen) -> torch.Tensor:
        """The divergence, before its weight."""
        log_student = (seen.logits.float() / self.temperature).log_softmax(-1)
        log_teacher = (seen.taught.float() / self.temperature).log_softmax(-1)
        return (log_teacher.exp() * (log_teacher - log_student)).sum(-1).mean()
