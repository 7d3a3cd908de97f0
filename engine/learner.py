"""All that changes while one model is trained: its weights and its optimiser's state."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dataloader.errors import UserError
from dataloader.random_streams import seeded_draws
from engine.checkpoint import build, read_pretrained
from engine.compute import Compute
from engine.config import Config
from engine.processes import ALONE, Ranks
from engine.schedule import learning_rate_factors


class Learner:
    """A model, SGD, and the learning rate of each epoch. `parallel` is the model as it is trained:
    its gradients are those of all processes."""

    def __init__(
        self,
        model: nn.Module,
        *,
        lr: float,
        momentum: float,
        weight_decay: float,
        factors: Sequence[float],
        ranks: Ranks = ALONE,
    ) -> None:
        self.model, self.parallel = model, ranks.parallel(model)
        self.rates = [lr * factor for factor in factors]
        self._fused = True if next(model.parameters()).device.type == "cuda" else None
        self.optimizer = torch.optim.SGD(
            model.parameters(),
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            fused=self._fused,
        )

    def start_epoch(self, epoch: int) -> float:
        """Set and return the learning rate of `epoch` (from 0) before its first step."""
        self.parallel.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.rates[epoch]
        return self.rates[epoch]

    def step(self, loss: torch.Tensor) -> None:
        """One step of SGD down the gradient of `loss`."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Weights and optimiser state."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state that `state_dict` gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for group in self.optimizer.param_groups:
            group["fused"] = self._fused  # this device's, not that of the state


def new_learner(config: Config, num_classes: int, compute: Compute) -> Learner:
    """A learner at its start, its weights drawn from the run's stream or read from a file."""
    with seeded_draws("weights", config.stream):
        model = build(config.arch, num_classes, config.image_size)
    start = f"trained from scratch, initial weights of stream {config.stream}"
    if config.pretrained != "none":
        is_new = read_pretrained(model, Path(config.pretrained))
        start = f"starts from {config.pretrained}" + ", final layer new" * is_new
    if compute.ranks.is_main:
        print(f"{config.cell}: {start}")
    if config.sync_batchnorm == "yes" and compute.ranks.size > 1:
        model = synchronised(model, compute.device)
    factors = learning_rate_factors(
        config.schedule,
        config.epochs,
        milestones=config.milestones,
        decay=config.decay,
        warmup_epochs=config.warmup_epochs,
    )
    return Learner(
        compute.place(model),
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        factors=factors,
        ranks=compute.ranks,
    )


def synchronised(model: nn.Module, device: torch.device) -> nn.Module:
    """The model, its BatchNorm seeing the batch of all processes; UserError without a GPU."""
    if device.type != "cuda":
        raise UserError("--sync-batchnorm needs GPUs")
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)
