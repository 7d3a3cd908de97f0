"""Of a divergence the label's class and the others apart: Zhao et al. 2022, "Decoupled knowledge
distillation"."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.errors import UserError
from common.settings import option
from losses.kl import Softened
from losses.loss import PerImage, Seen, check_labels, check_teachers

if TYPE_CHECKING:
    import torch

FEWEST_CLASSES = 3  # of two, the distribution over the others is always (1)


def decoupled_kl(
    student: torch.Tensor,
    teachers: torch.Tensor,
    labels: torch.Tensor,
    *,
    temperature: float,
    alpha: float,
    beta: float,
) -> torch.Tensor:
    """T^2 (alpha KL(b(teacher) || b(student)) + beta KL(n(teacher) || n(student))), mean over
    teachers and batch, in nats: b is (p_y, 1 - p_y) of the softened softmax, y the label; n the
    softmax over the classes other than y.

    student (B, C), teachers (K, B, C) logits, labels (B,) int64; a scalar in float32. ValueError
    when the shapes do not fit, or with two classes.
    """
    check_labels(student, labels)
    check_teachers(student, teachers)
    _check_classes(student.shape[1])
    return _per_image(student, teachers, labels, temperature, alpha, beta).mean()


def _check_classes(number: int) -> None:
    if number < FEWEST_CLASSES:
        raise UserError(
            f"--loss decoupled is undefined for {number} classes: there are no others to tell "
            "apart, take another --loss"
        )


def _per_image(
    student: torch.Tensor,
    teachers: torch.Tensor,
    labels: torch.Tensor,
    temperature: float,
    alpha: float,
    beta: float,
) -> torch.Tensor:
    log_b_s, log_n_s, _ = _parts(student.float() / temperature, labels)
    log_b_t, log_n_t, n_t = _parts(teachers.float() / temperature, labels)
    label = (log_b_t.exp() * (log_b_t - log_b_s)).sum(-1)
    others = (n_t * (log_n_t - log_n_s)).sum(-1)
    return temperature**2 * (alpha * label + beta * others)


def _parts(
    logits: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """ln b (..., B, 2), ln n and n (..., B, C) of logits (..., B, C), labels (B,).

    For the label n is 0 and ln n any finite number. By log-sum-exp: a softmax may be 0 or 1.
    """
    import torch

    classes = labels.view(-1, 1).expand(*logits.shape[:-1], 1)
    others = logits.scatter(-1, classes, -math.inf)
    log_others = others.logsumexp(-1, keepdim=True)
    margin = logits.gather(-1, classes) - log_others  # p_y is its sigmoid
    log_b = torch.nn.functional.logsigmoid(torch.cat([margin, -margin], -1))
    return log_b, logits - log_others, others.softmax(-1)


@dataclass(frozen=True, kw_only=True)
class DecoupledKL(Softened, PerImage):
    """`decoupled_kl`, which grows to its weight over the first epochs."""

    published_weight = 1.0
    asks_labels = True

    decoupled_alpha: float = option(1.0, "weight of the label's class in decoupled", at_least=0)
    decoupled_beta: float = option(8.0, "weight of the other classes in decoupled", at_least=0)
    decoupled_ramp: int = option(
        20, "epochs over which decoupled grows to its weight, 0 for none", at_least=0
    )

    def ramp(self, epoch: int) -> float:
        """A straight line that ends at 1, as published."""
        return min((epoch + 1) / max(1, self.decoupled_ramp), 1.0)

    def check(self, *, num_classes: int, processes: int) -> None:
        """It needs three classes."""
        _check_classes(num_classes)

    def per_image(self, seen: Seen) -> torch.Tensor:
        """With T^2, without the ramp."""
        return _per_image(
            seen.logits,
            seen.taught,
            seen.labels,
            self.temperature,
            self.decoupled_alpha,
            self.decoupled_beta,
        )
