"""Start a model from another's weights, such as ImageNet's `resnet50.pt`."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

FINAL_LAYERS = ("fc.weight", "fc.bias", "heads.head.weight", "heads.head.bias")

Weights = Mapping[str, torch.Tensor]


def start_from(model: nn.Module, weights: Weights) -> bool:
    """Copy a state_dict into `model`; returns whether its final layer was kept as new.

    The final layer stays as initialised where the class count differs. ValueError, as
    `load_weights`, for any other key that does not fit.
    """
    own = model.state_dict()
    final = [key for key in FINAL_LAYERS if key in own]
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


def _shape(weights: Weights, key: str) -> tuple[int, ...] | None:
    return tuple(weights[key].shape) if key in weights else None
