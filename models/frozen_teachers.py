"""Teachers that cannot be trained by accident."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class FrozenTeachers(nn.Module):
    """K teachers queried together: eval mode and no gradient, whatever is called on them.

    In training mode their BatchNorm would normalise by the student's batch and move its running
    statistics with it, as in the published code. With `by_batch` it normalises by the batch while
    they teach; its running statistics, which those answers do not depend on, stay as they are.
    """

    def __init__(self, teachers: Sequence[nn.Module], *, by_batch: bool = False) -> None:
        super().__init__()
        self.teachers, self._by_batch = nn.ModuleList(teachers), by_batch
        self._norms = [m for m in self.modules() if by_batch and isinstance(m, _BatchNorm)]
        for norm in self._norms:
            norm.track_running_stats = False  # what it has stays, and is what eval mode takes
        self.requires_grad_(False)
        self.train(False)

    def __len__(self) -> int:
        return len(self.teachers)

    def only(self, rows: Sequence[int]) -> FrozenTeachers:
        """Those in the places `rows`, the same models."""
        return FrozenTeachers([self.teachers[row] for row in rows], by_batch=self._by_batch)

    def train(self, mode: bool = True) -> FrozenTeachers:
        """Stays in eval mode."""
        return super().train(False)

    def requires_grad_(self, requires_grad: bool = True) -> FrozenTeachers:
        """Stays without gradient."""
        return super().requires_grad_(False)

    def forward(
        self, images: torch.Tensor, *, teaching: bool = False, saved: bool = False
    ) -> torch.Tensor:
        """Normalised images (B, 3, H, W) to logits (K, B, C). `saved`: for a gradient, which cannot
        keep what is made in inference mode."""
        self.train(False)  # undoes a .train() called on one teacher alone
        for norm in self._norms:
            norm.train(teaching)
        with torch.no_grad() if saved else torch.inference_mode():
            logits = torch.stack([teacher(images) for teacher in self.teachers])
        self.train(False)
        return logits
