"""Checks that the measures share: each raises ValueError with one line that says what is wrong.

Shapes and dtypes are free to check. Checks of *values* make a GPU wait for its queue, so they are
separate functions: the measures that return a float use them, the per-sample building blocks of
the training loop do not.
"""

from __future__ import annotations

import torch
from torch import Tensor


def check_logits_shape(logits: Tensor, *, name: str = "logits") -> None:
    """Require a floating-point (B, C) tensor with C >= 1; its values are not looked at."""
    if logits.ndim != 2 or logits.shape[1] == 0:
        raise ValueError(f"{name}: expected shape (samples, classes), got {tuple(logits.shape)}")
    if not logits.is_floating_point():
        raise ValueError(f"{name}: expected floating-point values, got {logits.dtype}")


def check_finite(values: Tensor, *, name: str) -> None:
    """Require at least one value, and neither NaN nor infinity among them."""
    if values.numel() == 0:
        raise ValueError(f"{name}: no samples, shape {tuple(values.shape)}")
    if not bool(torch.isfinite(values).all()):
        raise ValueError(f"{name}: contains NaN or infinity")


def check_logits(logits: Tensor, *, name: str = "logits") -> None:
    """Require finite floating-point (B, C) logits with B >= 1."""
    check_logits_shape(logits, name=name)
    check_finite(logits, name=name)


def check_same_shape(first: Tensor, second: Tensor, *, names: str) -> None:
    """Require two tensors of one shape: nothing here may broadcast."""
    if first.shape != second.shape:
        raise ValueError(f"{names}: shapes {tuple(first.shape)} and {tuple(second.shape)} differ")


def check_labels_shape(labels: Tensor, count: int, *, name: str = "labels") -> None:
    """Require ``count`` integers in one dimension; their values are not looked at."""
    if labels.ndim != 1 or labels.shape[0] != count:
        raise ValueError(f"{name}: expected shape ({count},), got {tuple(labels.shape)}")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"{name}: expected integer class numbers, got {labels.dtype}")


def check_labels(labels: Tensor, count: int, num_classes: int, *, name: str = "labels") -> None:
    """Require ``count`` >= 1 class numbers from 0 to ``num_classes`` - 1."""
    check_labels_shape(labels, count, name=name)
    if count == 0:
        raise ValueError(f"{name}: no samples, shape {tuple(labels.shape)}")
    numbers = labels.long()  # in 8 bits 300 classes would be 44
    if bool(((numbers < 0) | (numbers >= num_classes)).any()):
        raise ValueError(f"{name}: class numbers must lie in 0..{num_classes - 1}")


def check_logits_and_labels(logits: Tensor, labels: Tensor) -> None:
    """Require finite (B, C) logits and B labels below C."""
    check_logits(logits)
    check_labels(labels, logits.shape[0], logits.shape[1])


def check_confidence(value: float) -> None:
    """Require the share of an interval, between 0 and 1."""
    if not 0 < value < 1:
        raise ValueError(f"confidence: expected a number between 0 and 1, got {value}")


def check_count(value: int, *, name: str) -> None:
    """Require an integer of at least one (bins, classes, shuffles, resamples)."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}: expected an integer of at least 1, got {value!r}")
