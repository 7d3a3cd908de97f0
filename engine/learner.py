"""All that changes while one model is trained, what it learns and from whom, and going on from a
checkpoint."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common.errors import UserError
from common.random_streams import derive_seed, seeded_draws
from dataloader.views import LITERATURE_STATISTICS
from engine.checkpoint import (
    Header,
    blamed_on,
    build,
    pretrained_path,
    read_pretrained,
)
from engine.compute import Compute
from engine.config import Config
from engine.maps import check_maps, with_maps
from engine.objectives import combination_of, objective_of
from engine.optimizer import ADVICE, check_state, is_fused, load_state, optimizer_of
from engine.questions import questions_of, views_of
from engine.schedule import learning_rate_factors
from engine.teachers import Answers
from losses.combination import DRAWN
from losses.loss import Maps, Minor, Seen
from metrics.attention import has_maps, source_of
from models.pretrained import load_weights
from models.registry import of_literature, set_transform_input
from models.rehearsal import rehearsal


class Learner:
    """A model, what it learns and from whom, its optimiser, and the learning rate of each epoch.
    `parallel` is the model as it is trained: its gradients are those of all processes. The loss is
    scaled for fp16, whose smallest numbers are too large for many gradients; a step whose gradients
    overflow is left out."""

    def __init__(self, model: nn.Module, config: Config, compute: Compute) -> None:
        self.model, self.parallel = model, compute.ranks.parallel(model)
        questions = questions_of(config)
        self.teacher_names = tuple(str(cell) for cell, _ in questions.values())
        self.questions = tuple(questions)
        self.other_views, self.shuffled_share = views_of(config), config.shuffled_share
        self._objective = self.objective = objective_of(config)  # the second is of the epoch
        self._combination, self._send = combination_of(config), compute.send
        self.validation_objective = self._objective.of_validation()
        check_maps(model, self.objective.needs, config.cell)
        self._key, self._steps = [config.stream, compute.ranks.rank, 0], 0
        factors = learning_rate_factors(
            config.schedule,
            config.epochs,
            milestones=config.milestones,
            decay=config.decay,
            warmup_epochs=config.warmup_epochs,
            cosine_period=config.cosine_period,
            cosine_end=config.cosine_end / config.lr,
        )
        self.rates = [config.lr * factor for factor in factors]
        device = next(model.parameters()).device.type
        self.scaler = torch.amp.GradScaler(device, enabled=compute.amp == "fp16")
        self.optimizer = optimizer_of(model, config)
        self._largest_norm = config.clip_norm

    def start_epoch(self, epoch: int) -> float:
        """Set and return the learning rate of `epoch` (from 0) before its first step."""
        self.parallel.train()
        self._key[-1], self._steps = epoch, 0
        self.objective = self._objective.in_epoch(epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rates[epoch]
        return self.rates[epoch]

    def answer(self, images: torch.Tensor) -> torch.Tensor:
        """Logits for the next step. What the net draws (dropout, stochastic depth) is a function
        of the run's stream, the epoch and the step, so that a resumed run draws it again."""
        self._steps += 1
        with seeded_draws("step", *self._key, self._steps) as seed:
            if images.device.type == "cuda":
                torch.cuda.default_generators[images.device.index or 0].manual_seed(seed)
            return self.parallel(images)

    def heard(
        self, answers: Answers, of_partners: Answers, index: torch.Tensor, compute: Compute
    ) -> Answers:
        """Its teachers' answers to a batch of the images `index` (B,), of its share of them those
        to their partners."""
        taught = answers.of(self.questions)
        if self.shuffled_share == 0:
            return taught
        others = of_partners.of(self.questions)
        if self.shuffled_share == 1:
            return others
        return taught.replaced(others, compute.send(self._shuffled(index)))

    def _shuffled(self, index: torch.Tensor) -> torch.Tensor:
        """(B,) bool: a function of the run's stream, the epoch and the image's index."""
        stream, _, epoch = self._key
        draws = [derive_seed("shuffle", stream, epoch, k) / 2**63 for k in index.tolist()]
        return torch.tensor(draws, dtype=torch.float64) < self.shuffled_share

    def seen(
        self,
        index: torch.Tensor,
        images: torch.Tensor,
        labels: torch.Tensor,
        answers: Answers,
        minor: Minor | None = None,
    ) -> Seen:
        """A batch of training, of the images `index` (B,), with all that the objective looks at: of
        all teachers' answers those that are heard."""
        needs = self.objective.needs
        logits, (maps,) = with_maps([self.model], needs, lambda: self.answer(images))
        return self._seen(logits, labels, maps, answers, index, self._key[-1], minor)

    def validated(
        self, index: torch.Tensor, images: torch.Tensor, labels: torch.Tensor, answers: Answers
    ) -> Seen:
        """The same of evaluation, which draws as the first epoch does."""
        needs = self.validation_objective.needs
        logits, (maps,) = with_maps([self.model], needs, lambda: self.model(images))
        return self._seen(logits, labels, maps, answers, index, 0)

    def _seen(
        self,
        logits: torch.Tensor,
        labels: torch.Tensor,
        maps: Maps,
        answers: Answers,
        index: torch.Tensor,
        epoch: int,
        minor: Minor | None = None,
    ) -> Seen:
        heard, lesson = answers.of(self.questions), None
        if self._combination is not None and heard.logits is not None:
            drawn = self._drawn(index, epoch) if self._combination.how == DRAWN else None
            lesson = self._combination.lesson(heard.logits, labels, drawn)
        return Seen(logits, heard.logits, labels, maps, heard.maps, lesson, minor)

    def _drawn(self, index: torch.Tensor, epoch: int) -> torch.Tensor:
        """(B,) number of each image's teacher: a function of the run's stream, the epoch and the
        image's index."""
        stream, count = self._key[0], len(self.teacher_names)
        numbers = [derive_seed("teacher", stream, epoch, k) % count for k in index.tolist()]
        return self._send(torch.tensor(numbers))

    def step(self, loss: torch.Tensor) -> None:
        """One step down the gradient of `loss`, no longer than the largest norm if there is one."""
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if self._largest_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self._largest_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser state, and with loss scaling the scale's."""
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        return state | ({"scaler": self.scaler.state_dict()} if self.scaler.is_enabled() else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state that `state_dict` gave; ValueError, before anything is changed, where
        its weights do not fit."""
        load_weights(self.model, state["model"])
        load_state(self.optimizer, state["optimizer"], is_fused(self.model))
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])


def new_learner(
    config: Config, num_classes: int, compute: Compute, *, goes_on: bool = False
) -> Learner:
    """A learner at its start, its weights drawn from the run's stream or, unless it `goes_on` from
    a checkpoint, read from a file."""
    for _, loss in objective_of(config).terms.values():
        loss.check(num_classes=num_classes, processes=compute.ranks.size)
    with seeded_draws("weights", config.stream):
        model = build(config.arch, num_classes, config.image_size, config.sees)
    if config.pretrained == "none":
        start = f"trained from scratch, initial weights of stream {config.stream}"
    elif goes_on:  # the file may be gone
        start = f"started from {config.pretrained}"
    else:
        start = f"starts from {', '.join([config.pretrained, *_read(model, num_classes, config)])}"
    if compute.ranks.is_main:
        print(f"{config.cell}: {start}")
        if config.pretrained != "none" and of_literature(config.arch):
            _say_how_they_saw(config, compute)
        if not has_maps(*rehearsal(model, config.image_size)):
            size = f" at {config.image_size} pixels" if source_of(model) else ""
            print(f"{config.cell}: {config.arch} has no attention maps{size}: IoU leaves it out")
    if config.sync_batchnorm == "yes" and compute.ranks.size > 1:
        model = synchronised(model, compute.device)
    return Learner(compute.place(model), config, compute)


def _read(model: nn.Module, num_classes: int, config: Config) -> list[str]:
    """Give the model the weights of --pretrained; what was done for it."""
    read = read_pretrained(model, pretrained_path(config.pretrained))
    if read.has_new_layer and config.epochs == 0:
        raise UserError(
            f"{config.pretrained} has other classes than the {num_classes} of "
            f"{config.dataset}: with --epochs 0 its final layer would stay untrained"
        )
    return [*read.said, "final layer new"] if read.has_new_layer else [*read.said]


def _say_how_they_saw(config: Config, compute: Compute) -> None:
    """What a file of weights does not say, where it is not so now."""
    theirs = LITERATURE_STATISTICS
    if compute.statistics != theirs:
        mean, std = (" ".join(map(str, values)) for values in (theirs.mean, theirs.std))
        print(
            f"warning: {config.cell}: weights of RepDistiller and mdistiller are for inputs of "
            f"--mean {mean} --std {std}, which were not given",
            file=sys.stderr,
        )


def synchronised(model: nn.Module, device: torch.device) -> nn.Module:
    """The model, its BatchNorm seeing the batch of all processes; UserError without a GPU."""
    if device.type != "cuda":
        raise UserError("--sync-batchnorm needs GPUs")
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)


def restore(learner: Learner, header: Header, state: dict[str, Any], path: Path) -> int:
    """Give `learner` the weights and momentum of the checkpoint read from `path`; its best epoch, 0
    where none was tested yet.

    UserError when they are of another net or another optimiser, and nothing is restored then.
    """
    best_epoch = state.get("best_epoch")
    if type(best_epoch) is not int or not 0 <= best_epoch <= header.epoch:
        raise UserError(f"{path} names no best epoch up to {header.epoch}: {ADVICE}")
    check_state(learner.optimizer, state.get("optimizer"), path)
    _check_loss_scale(learner.scaler, state.get("scaler", {}), path)
    with blamed_on(f"{path} "):
        learner.load_state_dict(state)
    set_transform_input(learner.model, header.transform_input)
    return best_epoch


def _check_loss_scale(scaler: torch.amp.GradScaler, saved: Any, path: Path) -> None:
    """UserError unless it is this scaler's state, which is nothing without loss scaling."""
    present = scaler.state_dict()
    fits = (
        isinstance(saved, dict)
        and saved.keys() == present.keys()
        and all(
            type(value) is type(present[name]) and math.isfinite(value) and value >= 0
            for name, value in saved.items()
        )
        and saved.get("scale") != 0
    )
    if not fits:
        raise UserError(f"{path} holds no loss scale of this precision: {ADVICE}")
