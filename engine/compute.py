"""Where and in what precision a model runs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import nn

from dataloader.errors import UserError
from dataloader.views import Statistics
from engine.config import TrainConfig


@dataclass(frozen=True)
class Compute:
    """A device, a precision and the normalisation of the inputs."""

    device: torch.device
    amp: str
    statistics: Statistics

    @classmethod
    def of(cls, config: TrainConfig, statistics: Statistics) -> Compute:
        """Where and how the models of `config` run."""
        return cls(pick_device(config.device), config.amp, statistics)

    def place(self, model: nn.Module) -> nn.Module:
        """The model on the device, channels last: faster convolutions on the CPU and GPU alike."""
        return model.to(self.device, memory_format=torch.channels_last)

    def inputs(self, views: torch.Tensor) -> torch.Tensor:
        """uint8 views (B, 3, H, W) as normalised float32 inputs on the device."""
        views = views.to(self.device, non_blocking=True)
        return self.statistics.normalise(views).contiguous(memory_format=torch.channels_last)

    def labels(self, labels: torch.Tensor) -> torch.Tensor:
        """Labels (B,) on the device."""
        return labels.to(self.device, non_blocking=True)

    def autocast(self) -> AbstractContextManager:
        """The precision of forward passes: float32, or bfloat16 where that is safe."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp == "bf16")


def pick_device(name: str) -> torch.device:
    """The device called `name`, `auto` being the GPU where there is one; UserError without it."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device {name}: use auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"--device {name}: {torch.cuda.device_count()} GPUs are visible")
    return device
