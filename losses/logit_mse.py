"""Logits themselves: Ba and Caruana 2014, "Do deep nets really need to be deep?"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from losses.loss import PerImage, Seen, check_teachers

if TYPE_CHECKING:
    import torch


def logit_mse(student: torch.Tensor, teachers: torch.Tensor) -> torch.Tensor:
    """Squared difference of the logits, mean over teachers, batch and classes.

    student (B, C), teachers (K, B, C); a scalar in float32. ValueError when the shapes do not fit.
    """
    check_teachers(student, teachers)
    return _per_image(student, teachers).mean()


def _per_image(student: torch.Tensor, teachers: torch.Tensor) -> torch.Tensor:
    return (student.float() - teachers.float()).square().mean(-1)


class LogitMSE(PerImage):
    """`logit_mse`."""

    published_weight = 1.0

    def per_image(self, seen: Seen) -> torch.Tensor:
        """Mean over the classes."""
        return _per_image(seen.logits, seen.taught)
