"""How several teachers make one lesson. Imports nothing heavy: `--help` reads the names."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.errors import UserError
from losses.loss import Lesson, Loss, PerImage

if TYPE_CHECKING:
    import torch

LOSSES, LOGITS, CONFIDENCE, DRAWN = COMBINATIONS = ("losses", "logits", "confidence", "drawn")


@dataclass(frozen=True)
class Combination:
    """One of COMBINATIONS, of teachers who are softened by `temperature`.

    losses: the mean of the losses to each teacher. Of KL it has the gradient of the KL to the mean
    of the softened probabilities. logits: the loss to the mean of their logits. confidence: for
    each image the teachers weighted by `confidence`. drawn: each image has one teacher.
    """

    how: str
    temperature: float

    def lesson(
        self, teachers: torch.Tensor, labels: torch.Tensor, drawn: torch.Tensor | None = None
    ) -> Lesson:
        """What is taught by logits (K, B, C) about images of the labels (B,). drawn: (B,) number of
        each image's teacher, where they are drawn."""
        if self.how == LOGITS:
            mean = teachers.float().mean(0, keepdim=True)
            return Lesson(mean, None, mean[0].argmax(-1))
        weights = None
        if self.how == CONFIDENCE:
            weights = confidence(teachers, labels)
        elif drawn is not None:
            weights = one_hot(drawn, len(teachers))
        softened = (teachers.float() / self.temperature).softmax(-1)
        together = softened.mean(0) if weights is None else (weights[..., None] * softened).sum(0)
        return Lesson(teachers, weights, together.argmax(-1))


def confidence(teachers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(1 - softmax over teachers of their cross-entropy on the label) / (K - 1), (K, B): they sum
    to 1 over the teachers.

    Zhang et al. 2022, "Confidence-aware multi-teacher knowledge distillation". logits (K, B, C) of
    two teachers or more, labels (B,). The published code divides the weighted sum by K once more;
    here it is not.
    """
    classes = labels.expand(len(teachers), -1)[..., None]
    cross_entropy = -teachers.float().log_softmax(-1).gather(-1, classes).squeeze(-1)
    return (1 - cross_entropy.softmax(0)) / (len(teachers) - 1)


def one_hot(numbers: torch.Tensor, count: int) -> torch.Tensor:
    """(B,) teachers' numbers to weights (count, B)."""
    import torch

    return (torch.arange(count, device=numbers.device)[:, None] == numbers).float()


def check_combination(how: str, losses: Collection[tuple[str, Loss]]) -> None:
    """UserError where the named losses cannot be learnt from teachers combined so."""
    for name, loss in losses:
        if how == LOGITS and loss.needs:
            raise UserError(
                f"--combine logits is of losses of logits, and --loss {name} compares maps: use "
                "another --combine or --loss"
            )
        if how in (CONFIDENCE, DRAWN) and not isinstance(loss, PerImage):
            raise UserError(
                f"--combine {how} weighs the teachers for each image, and --loss {name} is no mean "
                "over images: use another --combine or --loss"
            )


def check_mixed(how: str, losses: Collection[tuple[str, Loss]]) -> None:
    """UserError where what is learnt, or how teachers are combined, asks for an image's label."""
    asking = [f"--loss {name}" for name, loss in losses if loss.asks_labels]
    for flag in [*asking, *(["--combine confidence"] if how == CONFIDENCE else [])]:
        raise UserError(
            f"{flag} asks for the one label of an image, and --mix makes images of two: use another"
        )
