"""The optimiser of a model by its settings, and whether a saved state is of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from common.errors import UserError
from engine.checkpoint import check_tensor
from engine.config import TrainConfig

# Of transformers, beside what is a vector: they are no weights of a layer.
UNDECAYED = ("class_token", "pos_embedding", "position_embedding", "relative_position_bias_table")
SECOND_BETA = 0.999  # of AdamW, torch's own

ADVICE = "put it back from a copy, or start anew with --resume never"
MAY_DIFFER = ("lr", "initial_lr", "fused", "foreach")  # set anew by each epoch, or by the device
# Of each parameter's state, what has the parameter's shape.
LIKE_WEIGHTS = {torch.optim.SGD: ("momentum_buffer",), torch.optim.AdamW: ("exp_avg", "exp_avg_sq")}


def optimizer_of(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """SGD on all weights alike, or AdamW (Loshchilov and Hutter 2019) that decays neither vectors
    (biases, norms) nor class token and positions; in one kernel on a GPU."""
    fused = is_fused(model)
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            model.parameters(),
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            fused=fused,
        )
    return torch.optim.AdamW(
        decay_groups(model, config.weight_decay),
        lr=config.lr,
        betas=(config.momentum, SECOND_BETA),
        fused=fused,
    )


def is_fused(model: nn.Module) -> bool | None:
    """What torch calls so: whether one kernel takes the step of all weights; None on a CPU."""
    return True if next(model.parameters()).device.type == "cuda" else None


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The parameters that decay, and those that do not."""
    named = list(model.named_parameters())
    decayed = [parameter for name, parameter in named if _decays(name, parameter)]
    others = [parameter for name, parameter in named if not _decays(name, parameter)]
    groups = ((decayed, weight_decay), (others, 0.0))
    return [
        {"params": parameters, "weight_decay": decay} for parameters, decay in groups if parameters
    ]


def _decays(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim > 1 and name.rpartition(".")[2] not in UNDECAYED


def load_state(optimizer: torch.optim.Optimizer, saved: dict[str, Any], fused: bool | None) -> None:
    """Go back to a state, which another kind of device may have saved: `fused` is this one's."""
    groups = [{**group, "fused": fused} for group in saved["param_groups"]]
    optimizer.load_state_dict({**saved, "param_groups": groups})


def check_state(optimizer: torch.optim.Optimizer, saved: Any, path: Path) -> None:
    """UserError unless `saved`, read from `path`, is a state of this optimiser: its groups of
    parameters and settings, and numbers that are finite and of their parameters' shapes."""
    if not _is_of(optimizer, saved):
        raise UserError(f"{path} holds the state of another optimiser: {ADVICE}")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, state in saved["state"].items():
        if type(index) is not int or not 0 <= index < len(parameters):
            raise UserError(f"{path} holds the momentum of another net: {ADVICE}")
        where = f"{path}, momentum {index}"
        if isinstance(optimizer, torch.optim.AdamW):
            _check_adamw(state, where)
        for name in LIKE_WEIGHTS[type(optimizer)]:
            if state.get(name) is not None:
                _check_like(state[name], parameters[index], where)


def _check_like(tensor: Any, parameter: torch.Tensor, where: str) -> None:
    check_tensor(tensor, where)
    if tensor.shape != parameter.shape:
        raise UserError(f"{where} has not its weights' shape: {ADVICE}")


def _check_adamw(state: dict[str, Any], where: str) -> None:
    """It counts steps (0 where all overflowed) and has both moments, the second not negative."""
    for name in ("step", "exp_avg", "exp_avg_sq"):
        check_tensor(state.get(name), where)
    steps, second = state["step"], state["exp_avg_sq"]
    if steps.numel() != 1 or steps < 0 or (second < 0).any():
        raise UserError(f"{where} is none of AdamW's: {ADVICE}")


def _is_of(optimizer: torch.optim.Optimizer, saved: Any) -> bool:
    """Whether `saved` has this optimiser's groups of parameters, settings and form of state."""
    present = optimizer.state_dict()["param_groups"]
    return (
        isinstance(saved, dict)
        and isinstance(saved.get("state"), dict)
        and all(isinstance(state, dict) for state in saved["state"].values())
        and isinstance(groups := saved.get("param_groups"), list)
        and len(groups) == len(present)
        and all(map(_is_group, groups, present))
    )


def _is_group(saved: Any, present: dict[str, Any]) -> bool:
    """The settings that both have are equal: another version of torch may have others."""
    return (
        isinstance(saved, dict)
        and "params" in saved
        and all(
            _equal(saved[name], value)
            for name, value in present.items()
            if name in saved and name not in MAY_DIFFER
        )
    )


def _equal(saved: Any, present: Any) -> bool:
    """Of the same type, so that no tensor is compared."""
    if isinstance(present, list | tuple):
        return (
            type(saved) is type(present)
            and len(saved) == len(present)
            and all(map(_equal, saved, present))
        )
    return type(saved) is type(present) and saved == present
