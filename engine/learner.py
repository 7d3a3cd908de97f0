"""All that changes while one model is trained: its weights and its optimiser's state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from dataloader.errors import UserError
from dataloader.random_streams import generator_put_back, seed_draws, seeded_draws
from engine.checkpoint import build, pretrained_path, read_pretrained
from engine.compute import Compute
from engine.config import Config
from engine.processes import ALONE, Ranks
from engine.schedule import learning_rate_factors
from metrics.attention import has_maps
from metrics.attention_source import source_of
from models.rehearsal import rehearsal


class Learner:
    """A model, SGD, and the learning rate of each epoch. `parallel` is the model as it is trained:
    its gradients are those of all processes. `scales_loss`: for fp16, whose smallest numbers are
    too large for many gradients; a step whose gradients overflow is left out."""

    def __init__(
        self,
        model: nn.Module,
        *,
        lr: float,
        momentum: float,
        weight_decay: float,
        factors: Sequence[float],
        stream: int = 0,
        ranks: Ranks = ALONE,
        scales_loss: bool = False,
    ) -> None:
        self.model, self.parallel = model, ranks.parallel(model)
        self._key, self._steps = [stream, ranks.rank, 0], 0
        self.rates = [lr * factor for factor in factors]
        device = next(model.parameters()).device.type
        self.scaler = torch.amp.GradScaler(device, enabled=scales_loss)
        self._fused = True if device == "cuda" else None
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
        self._key[-1], self._steps = epoch, 0
        for group in self.optimizer.param_groups:
            group["lr"] = self.rates[epoch]
        return self.rates[epoch]

    def answer(self, images: torch.Tensor) -> torch.Tensor:
        """Logits for the next step. What the net draws (dropout, stochastic depth) is a function
        of the run's stream, the epoch and the step, so that a resumed run draws it again."""
        self._steps += 1
        with generator_put_back():
            seed = seed_draws("step", *self._key, self._steps)
            if images.device.type == "cuda":
                torch.cuda.default_generators[images.device.index or 0].manual_seed(seed)
            return self.parallel(images)

    def step(self, loss: torch.Tensor) -> None:
        """One step of SGD down the gradient of `loss`."""
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser state, and with loss scaling the scale's."""
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        return state | ({"scaler": self.scaler.state_dict()} if self.scaler.is_enabled() else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state that `state_dict` gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        for group in self.optimizer.param_groups:
            group["fused"] = self._fused  # this device's, not that of the state


def new_learner(config: Config, num_classes: int, compute: Compute) -> Learner:
    """A learner at its start, its weights drawn from the run's stream or read from a file."""
    with seeded_draws("weights", config.stream):
        model = build(config.arch, num_classes, config.image_size)
    start = f"trained from scratch, initial weights of stream {config.stream}"
    if config.pretrained != "none":
        read = read_pretrained(model, pretrained_path(config.pretrained))
        said = [*read.said, "final layer new"] if read.has_new_layer else read.said
        start = ", ".join([f"starts from {config.pretrained}", *said])
        if read.has_new_layer and config.epochs == 0:
            raise UserError(
                f"{config.pretrained} has other classes than the {num_classes} of "
                f"{config.dataset}: with --epochs 0 its final layer would stay untrained"
            )
    if compute.ranks.is_main:
        print(f"{config.cell}: {start}")
        if not has_maps(*rehearsal(model, config.image_size)):
            size = f" at {config.image_size} pixels" if source_of(model) else ""
            print(f"{config.cell}: {config.arch} has no attention maps{size}: IoU leaves it out")
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
        stream=config.stream,
        ranks=compute.ranks,
        scales_loss=compute.amp == "fp16",
    )


def synchronised(model: nn.Module, device: torch.device) -> nn.Module:
    """The model, its BatchNorm seeing the batch of all processes; UserError without a GPU."""
    if device.type != "cuda":
        raise UserError("--sync-batchnorm needs GPUs")
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)
