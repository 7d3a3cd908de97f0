"""The objectives: weighted sums of named terms. A further term is a function and a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import torch

from losses.cross_entropy import cross_entropy
from losses.distillation import softened_kl

# (student logits (B, C), teacher logits (K, B, C) or None, labels (B,)) to a scalar
Term = Callable[[torch.Tensor, torch.Tensor | None, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Objective:
    """A sum of terms, each with its weight. Called, it returns every term, unweighted, by its
    name, and what is minimised as "loss": scalars, means over the batch."""

    terms: Mapping[str, tuple[float, Term]]

    def __call__(
        self, logits: torch.Tensor, teacher_logits: torch.Tensor | None, labels: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """The terms and their weighted sum. (B, C), (K, B, C) or None, (B,)."""
        values = {
            name: term(logits, teacher_logits, labels) for name, (_, term) in self.terms.items()
        }
        loss = sum(self.terms[name][0] * value for name, value in values.items())
        return {"loss": cast(torch.Tensor, loss), **values}


def labels_only() -> Objective:
    """The objective of teachers, and of students without one."""
    return Objective({"cross_entropy": (1.0, _hard)})


def distilled(*, temperature: float, ce_weight: float) -> Objective:
    """The objective of students with teachers: `losses.distillation.distillation_loss`, term by
    term. "distillation" is KL(teacher || student) at the temperature, before the factor T^2."""

    def soft(
        logits: torch.Tensor, teacher_logits: torch.Tensor | None, labels: torch.Tensor
    ) -> torch.Tensor:
        if teacher_logits is None:
            raise ValueError("teacher_logits: a distilled objective needs teachers, got None")
        return softened_kl(logits, teacher_logits, temperature=temperature)

    return Objective(
        {
            "cross_entropy": (ce_weight, _hard),
            "distillation": ((1 - ce_weight) * temperature**2, soft),
        }
    )


def _hard(
    logits: torch.Tensor, teacher_logits: torch.Tensor | None, labels: torch.Tensor
) -> torch.Tensor:
    return cross_entropy(logits, labels)
