"""Teachers that cannot be trained by accident."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class FrozenTeachers(nn.Module):
    """K teachers queried together: eval mode and no gradient, whatever is called on them.

    In training mode their BatchNorm would normalise by the student's batch and drift with it,
    which is what the published code does.
    """

    def __init__(self, teachers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.teachers = nn.ModuleList(teachers)
        self.requires_grad_(False)
        self.train(False)

    def __len__(self) -> int:
        return len(self.teachers)

    def train(self, mode: bool = True) -> FrozenTeachers:
        """Stays in eval mode."""
        return super().train(False)

    def requires_grad_(self, requires_grad: bool = True) -> FrozenTeachers:
        """Stays without gradient."""
        return super().requires_grad_(False)

    @torch.inference_mode()
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised images (B, 3, H, W) to logits (K, B, C)."""
        self.train(False)  # undoes a .train() called on one teacher alone
        return torch.stack([teacher(images) for teacher in self.teachers])
