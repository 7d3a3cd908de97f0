"""Nets that were trained on inputs of another mean and standard deviation than they are given."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dataloader.views import Statistics


def renormalised(model: nn.Module, given: Statistics, trained: Statistics) -> nn.Module:
    """The model, which from now on is given inputs (B, 3, H, W) that are normalised by `given`, and
    looks at them as normalised by `trained`. Where the two are equal nothing is done."""
    if given == trained:
        return model
    mean, std, trained_mean, trained_std = (
        torch.tensor(values, dtype=torch.float64).view(3, 1, 1)
        for values in (given.mean, given.std, trained.mean, trained.std)
    )
    buffers = {"input_scale": std / trained_std, "input_shift": (mean - trained_mean) / trained_std}
    for name, values in buffers.items():
        model.register_buffer(name, values.float(), persistent=False)
    model.register_forward_pre_hook(_renormalise)
    return model


def _renormalise(model: Any, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    images, *others = arguments
    return (images * model.input_scale + model.input_shift, *others)
