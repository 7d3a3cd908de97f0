"""The objectives: weighted sums of named terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch

from losses.cross_entropy import CrossEntropy
from losses.loss import Loss, Seen


@dataclass(frozen=True)
class Objective:
    """A sum of terms, each with its weight. Called, it returns every term, unweighted, by its
    name, and what is minimised as "loss": scalars, means over the batch."""

    terms: Mapping[str, tuple[float, Loss]]

    @property
    def needs(self) -> frozenset[str]:
        """What any of the terms needs besides logits and labels."""
        return frozenset().union(*(term.needs for _, term in self.terms.values()))

    def __call__(self, seen: Seen) -> dict[str, torch.Tensor]:
        """The terms and their weighted sum."""
        values = {name: term(seen) for name, (_, term) in self.terms.items()}
        loss = sum(self.terms[name][0] * value for name, value in values.items())
        return {"loss": cast(torch.Tensor, loss), **values}


def labels_only() -> Objective:
    """The objective of teachers, and of students without one."""
    return Objective({"cross_entropy": (1.0, CrossEntropy())})


def map_held(loss: Loss) -> Objective:
    """The objective of teachers whose maps are held to another's: CE(labels) + weight * loss, which
    is recorded as "map_correlation", before its weight."""
    return Objective(
        {"cross_entropy": (1.0, CrossEntropy()), "map_correlation": (loss.weight, loss)}
    )


def distilled(loss: Loss, *, ce_weight: float) -> Objective:
    """The objective of students with teachers: ce_weight * CE(labels) + (1 - ce_weight) * weight *
    loss, which is recorded as "distillation", before its weight."""
    return Objective(
        {
            "cross_entropy": (ce_weight, CrossEntropy()),
            "distillation": ((1 - ce_weight) * loss.weight, loss),
        }
    )
