"""Affinity and diversity of an augmentation: what a view does to a model, as two ratios.

Gontijo-Lopes et al. 2020, "Affinity and Diversity: Quantifying Mechanisms of Data Augmentation".
"""

from __future__ import annotations

import math


def affinity(augmented_top1: float, reference_top1: float) -> float:
    """Top-1 accuracy under the augmented view / under the reference view, same model and images.

    1 means that the view costs the model nothing. Gontijo-Lopes et al. take the clean test view
    as the reference; the paper reproduced here takes the random crop. Both accuracies are
    fractions in [0, 1], of the same images.

    Raises:
        ValueError: an accuracy outside [0, 1] (a percentage, NaN), or a reference accuracy of 0.
    """
    _check_fraction(augmented_top1, name="augmented_top1")
    _check_fraction(reference_top1, name="reference_top1")
    if reference_top1 == 0:
        raise ValueError("reference_top1: is 0, so the ratio is undefined")
    return augmented_top1 / reference_top1


def diversity(augmented_training_loss: float, reference_training_loss: float) -> float:
    """Final training loss with the augmented view / with the reference view, same loss for both.

    Above 1 the view is harder to fit than the reference.

    Raises:
        ValueError: a loss that is negative or not finite, or a reference loss of 0.
    """
    _check_loss(augmented_training_loss, name="augmented_training_loss")
    _check_loss(reference_training_loss, name="reference_training_loss")
    if reference_training_loss == 0:
        raise ValueError("reference_training_loss: is 0, so the ratio is undefined")
    return augmented_training_loss / reference_training_loss


def _check_fraction(value: float, *, name: str) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name}: expected a fraction between 0 and 1, got {value}")


def _check_loss(value: float, *, name: str) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name}: expected a finite loss of at least 0, got {value}")
