"""Single draws from torch's default generator, as numbers."""

from __future__ import annotations

import torch


def uniform(low: float, high: float) -> float:
    """A number of [low, high)."""
    return torch.empty(1).uniform_(low, high).item()


def normal(mean: float, std: float) -> float:
    """A normally distributed number."""
    return torch.empty(1).normal_(mean, std).item()


def below(count: int) -> int:
    """A whole number of [0, count)."""
    return int(torch.randint(0, count, size=(1,)).item())


def happens(probability: float) -> bool:
    """A coin that shows True with `probability`; 1 draws nothing."""
    return probability >= 1 or torch.rand(1).item() < probability
