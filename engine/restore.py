"""Going on from a checkpoint: all that it holds must fit the run that it is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dataloader.errors import UserError
from engine.checkpoint import Header, blamed_on, check_tensor
from engine.learner import Learner
from models.pretrained import load_weights


def restore(learner: Learner, header: Header, state: dict[str, Any], path: Path) -> int:
    """Give `learner` the weights and momentum of the checkpoint read from `path`; its best epoch.

    UserError when they are of another net or another optimiser, and nothing is restored then.
    """
    best_epoch = state.get("best_epoch")
    if type(best_epoch) is not int or not 1 <= best_epoch <= header.epoch:
        raise UserError(f"{path} names no best epoch up to {header.epoch}: {_ADVICE}")
    _check_optimizer(learner.optimizer, state.get("optimizer"), path)
    with blamed_on(f"{path} "):
        load_weights(learner.model, state["model"])
    learner.optimizer.load_state_dict(state["optimizer"])
    return best_epoch


_ADVICE = "put it back from a copy, or start anew with --resume never"


def _check_optimizer(optimizer: torch.optim.Optimizer, saved: Any, path: Path) -> None:
    """UserError unless `saved` is a state of this optimiser: the same groups of parameters and
    settings, and for each parameter a momentum of its shape, or none."""
    (group,) = optimizer.param_groups
    own = optimizer.state_dict()["param_groups"]
    try:
        is_alike = all(
            theirs[name] == value
            for ours, theirs in zip(own, saved["param_groups"], strict=True)
            for name, value in ours.items()
            if name not in ("lr", "initial_lr")  # set anew for each epoch
        )
        momenta = {i: state["momentum_buffer"] for i, state in saved["state"].items()}
        shapes = {i: parameter.shape for i, parameter in enumerate(group["params"])}
        is_alike &= all(type(i) is int and i in shapes for i in momenta)
    except (TypeError, KeyError, ValueError, AttributeError):
        is_alike = False
    if not is_alike:
        raise UserError(f"{path} holds the state of another optimiser: {_ADVICE}")
    for i, momentum in momenta.items():
        if momentum is None:
            continue
        check_tensor(momentum, f"{path}, momentum {i}")
        if momentum.shape != shapes[i]:
            raise UserError(f"{path}, momentum {i} has another shape than its weights: {_ADVICE}")
