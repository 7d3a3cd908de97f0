"""Start a model from another's weights, such as ImageNet's `resnet50.pt`."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

Weights = Mapping[str, torch.Tensor]


def start_from(model: nn.Module, weights: Weights) -> bool:
    """Copy a state_dict into `model`; returns whether its final layer was kept as new.

    The final layer stays as initialised where the class count differs. ValueError, as
    `load_weights`, for any other key that does not fit.
    """
    own = model.state_dict()
    final = _final_layer(model)
    has_other_classes = any(_shape(weights, key) != _shape(own, key) for key in final)
    kept = {key: own[key] for key in final} if has_other_classes else {}
    load_weights(model, {**weights, **kept})
    return has_other_classes


def load_weights(model: nn.Module, weights: Weights) -> None:
    """Copy a state_dict into `model`; ValueError names every key that is missing, unexpected or of
    another shape."""
    own = model.state_dict()
    problems = [f"{key} is missing" for key in own if key not in weights]
    problems += [f"{key} is unexpected" for key in weights if key not in own]
    problems += [
        f"{key} has shape {_shape(weights, key)}, needed {_shape(own, key)}"
        for key in own
        if key in weights and _shape(weights, key) != _shape(own, key)
    ]
    if problems:
        raise ValueError(f"does not fit the architecture: {'; '.join(problems)}")
    model.load_state_dict(weights)


def _final_layer(model: nn.Module) -> list[str]:
    """Keys of the last linear layer, or convolution: the one with an output for each class."""
    kinds = (nn.Linear, nn.Conv2d)
    *_, name = (name for name, part in model.named_modules() if isinstance(part, kinds))
    return [f"{name}.{key}" for key in model.get_submodule(name).state_dict()]


def _shape(weights: Weights, key: str) -> tuple[int, ...] | None:
    return tuple(weights[key].shape) if key in weights else None
