"""The objectives: weighted sums of named terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch

from losses.cross_entropy import CrossEntropy
from losses.loss import Loss, Seen


@dataclass(frozen=True)
class Objective:
    """A sum of terms, each with its weight. Called, it returns every term, unweighted, by its
    name, and what is minimised as "loss": scalars, means over the batch, 0 for an empty one."""

    terms: Mapping[str, tuple[float, Loss]]

    @property
    def needs(self) -> frozenset[str]:
        """What any of the terms needs besides logits and labels."""
        return frozenset().union(*(term.needs for _, term in self.terms.values()))

    def in_epoch(self, epoch: int) -> Objective:
        """With the weights of an epoch of training, from 0."""
        return Objective(
            {name: (weight * loss.ramp(epoch), loss) for name, (weight, loss) in self.terms.items()}
        )

    def of_validation(self) -> Objective:
        """The terms that are recorded there."""
        return Objective({name: term for name, term in self.terms.items() if term[1].in_validation})

    def __call__(self, seen: Seen) -> dict[str, torch.Tensor]:
        """The terms and their weighted sum."""
        if len(seen.labels) == 0:
            return dict.fromkeys(["loss", *self.terms], seen.logits.sum())
        values = {name: term(seen) for name, (_, term) in self.terms.items()}
        loss = sum(self.terms[name][0] * value for name, value in values.items())
        return {"loss": cast(torch.Tensor, loss), **values}


def labels_only(*, label_smoothing: float = 0.0) -> Objective:
    """The objective of teachers, and of students without one."""
    return Objective({"cross_entropy": (1.0, CrossEntropy(label_smoothing=label_smoothing))})


def map_held(loss: Loss, *, label_smoothing: float = 0.0) -> Objective:
    """The objective of teachers whose maps are held to another's: CE(labels) + weight * loss, which
    is recorded as "map_correlation", before its weight."""
    labels = CrossEntropy(label_smoothing=label_smoothing)
    return Objective({"cross_entropy": (1.0, labels), "map_correlation": (loss.weight, loss)})


def distilled(
    losses: Mapping[str, Loss],
    *,
    ce_weight: float,
    kd_weights: Sequence[float] = (),
    label_smoothing: float = 0.0,
) -> Objective:
    """The objective of students with teachers: ce_weight * CE(labels) + the sum of kd_weight *
    weight * loss over the losses by name; without weights the published ones, 1 - ce_weight where
    there are none. Recorded is each loss before its weights, a single one as "distillation"."""
    labels = ce_weight, CrossEntropy(label_smoothing=label_smoothing)
    weights = kd_weights or [_default_weight(loss, ce_weight) for loss in losses.values()]
    names = losses if len(losses) > 1 else ["distillation"]
    terms = [
        (weight * loss.weight, loss) for weight, loss in zip(weights, losses.values(), strict=True)
    ]
    return Objective({"cross_entropy": labels, **dict(zip(names, terms, strict=True))})


def _default_weight(loss: Loss, ce_weight: float) -> float:
    return 1 - ce_weight if loss.published_weight is None else loss.published_weight
