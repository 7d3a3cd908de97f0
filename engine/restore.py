"""Going on from a checkpoint: all that it holds must fit the run that it is for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from dataloader.errors import UserError
from engine.checkpoint import Header, blamed_on, check_tensor
from engine.learner import Learner
from models.pretrained import load_weights
from models.registry import set_transform_input

ADVICE = "put it back from a copy, or start anew with --resume never"
MAY_DIFFER = ("lr", "initial_lr", "fused", "foreach")  # set anew by each epoch, or by the device


def restore(learner: Learner, header: Header, state: dict[str, Any], path: Path) -> int:
    """Give `learner` the weights and momentum of the checkpoint read from `path`; its best epoch.

    UserError when they are of another net or another optimiser, and nothing is restored then.
    """
    best_epoch = state.get("best_epoch")
    if type(best_epoch) is not int or not min(1, header.epoch) <= best_epoch <= header.epoch:
        raise UserError(f"{path} names no best epoch up to {header.epoch}: {ADVICE}")
    saved = state.get("optimizer")
    if not _is_of(learner.optimizer, saved):
        raise UserError(f"{path} holds the state of another optimiser: {ADVICE}")
    _check_momenta(learner.optimizer, saved["state"], path)
    _check_loss_scale(learner.scaler, state.get("scaler", {}), path)
    with blamed_on(f"{path} "):
        load_weights(learner.model, state["model"])
    learner.load_state_dict(state)
    set_transform_input(learner.model, header.transform_input)
    return best_epoch


def _check_loss_scale(scaler: torch.amp.GradScaler, saved: Any, path: Path) -> None:
    """UserError unless it is this scaler's state, which is nothing without loss scaling."""
    own = scaler.state_dict()
    fits = (
        isinstance(saved, dict)
        and saved.keys() == own.keys()
        and all(
            type(value) is type(own[name]) and math.isfinite(value) and value >= 0
            for name, value in saved.items()
        )
        and saved.get("scale") != 0
    )
    if not fits:
        raise UserError(f"{path} holds no loss scale of this precision: {ADVICE}")


def _is_of(optimizer: torch.optim.Optimizer, saved: Any) -> bool:
    """Whether `saved` has this optimiser's groups of parameters, settings and form of state."""
    own = optimizer.state_dict()["param_groups"]
    return (
        isinstance(saved, dict)
        and isinstance(saved.get("state"), dict)
        and all(isinstance(state, dict) for state in saved["state"].values())
        and isinstance(groups := saved.get("param_groups"), list)
        and len(groups) == len(own)
        and all(map(_is_group, groups, own))
    )


def _is_group(saved: Any, own: dict[str, Any]) -> bool:
    """The settings that both have are equal: another version of torch may have others."""
    return (
        isinstance(saved, dict)
        and "params" in saved
        and all(
            _equal(saved[name], value)
            for name, value in own.items()
            if name in saved and name not in MAY_DIFFER
        )
    )


def _equal(saved: Any, own: Any) -> bool:
    """Of the same type, so that no tensor is compared."""
    if isinstance(own, list):
        return isinstance(saved, list) and len(saved) == len(own) and all(map(_equal, saved, own))
    return type(saved) is type(own) and saved == own


def _check_momenta(optimizer: torch.optim.Optimizer, states: dict[Any, Any], path: Path) -> None:
    """UserError unless each is none, or finite and of its parameter's shape."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, state in states.items():
        momentum = state.get("momentum_buffer")
        if type(index) is not int or not 0 <= index < len(parameters):
            raise UserError(f"{path} holds the momentum of another net: {ADVICE}")
        if momentum is None:
            continue
        check_tensor(momentum, f"{path}, momentum {index}")
        if momentum.shape != parameters[index].shape:
            raise UserError(f"{path}, momentum {index} has not its weights' shape: {ADVICE}")
