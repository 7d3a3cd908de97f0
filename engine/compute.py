"""Where, beside which other processes and in what precision a model runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from dataloader.errors import UserError
from dataloader.views import Statistics
from engine.config import TrainConfig
from engine.processes import ALONE, Ranks


@dataclass(frozen=True)
class Compute:
    """A device, a precision, the normalisation of the inputs and the processes that share the
    work."""

    device: torch.device
    amp: str
    statistics: Statistics
    ranks: Ranks = ALONE

    @classmethod
    def of(cls, config: TrainConfig, statistics: Statistics, ranks: Ranks = ALONE) -> Compute:
        """Where and how the models of `config` run; sets PyTorch's own switches for it."""
        device = own_device(config.device, ranks)
        if device.type == "cuda":
            torch.cuda.set_device(device)
            set_gpu_arithmetic(deterministic=config.deterministic == "yes")
        elif config.amp == "bf16" and ranks.is_main and _emulates_bf16():
            warning = "bf16 is many times slower than float32 on this processor: add --amp none"
            print(warning, file=sys.stderr)
        return cls(device, config.amp, statistics, ranks)

    def record(self) -> dict[str, Any]:
        """How it computes, for environment.json."""
        return {
            "processes": self.ranks.size,
            "amp": self.amp,
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "fused_sgd": self.device.type == "cuda",
        }

    def place(self, model: nn.Module) -> nn.Module:
        """The model on the device, channels last: faster convolutions on the CPU and GPU alike."""
        return model.to(self.device, memory_format=torch.channels_last)

    def inputs(self, views: torch.Tensor) -> torch.Tensor:
        """uint8 views (B, 3, H, W) as normalised float32 inputs on the device."""
        views = views.to(self.device, non_blocking=True)
        return self._normalise(views).contiguous(memory_format=torch.channels_last)

    def labels(self, labels: torch.Tensor) -> torch.Tensor:
        """Labels (B,) on the device."""
        return labels.to(self.device, non_blocking=True)

    def autocast(self) -> AbstractContextManager:
        """The precision of forward passes: float32, or bfloat16 where that is safe."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp == "bf16")

    @cached_property
    def _normalise(self) -> Callable[[torch.Tensor], torch.Tensor]:
        return self.statistics.normaliser(self.device)


def _emulates_bf16() -> bool:
    """Under AVX2 alone an epoch of a ResNet-20 did not end in 15 minutes; float32 took 82 s."""
    return torch.backends.cpu.get_cpu_capability() == "AVX2"


def set_gpu_arithmetic(*, deterministic: bool) -> None:
    """TF32 for what is left in float32, and the fastest convolution of those tried on the first
    batch; or, `deterministic`, the same bits in every run, a warning naming what has no such
    algorithm."""
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = not deterministic
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS asks for


def own_device(name: str, ranks: Ranks) -> torch.device:
    """The device called `name`; of several processes each has a GPU of its machine to itself.
    UserError where there are not enough."""
    device = pick_device(name)
    if device.type != "cuda" or ranks.size == 1:
        return device
    if device.index is not None:
        raise UserError(f"--device {name} is one GPU for {ranks.size} processes: use cuda")
    return pick_device(f"cuda:{ranks.local}")


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
