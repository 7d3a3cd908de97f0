"""Nets that look at a part of each image: its left or right half. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import torch
    from torch import nn

WHOLE, LEFT, RIGHT = PARTS = ("whole", "left", "right")


def part_of(images: torch.Tensor, part: str) -> torch.Tensor:
    """The columns that belong to it. (B, 3, H, W) -> (B, 3, H, W // 2) of a half; the middle column
    of an odd width is in neither."""
    if part == WHOLE:
        return images
    half = images.shape[-1] // 2
    columns = images[..., :half] if part == LEFT else images[..., -half:]
    from torch import channels_last  # in which convolutions are faster

    return columns.contiguous(memory_format=channels_last)


def see(model: nn.Module, part: str) -> nn.Module:
    """The model, which from now on is given whole images and looks at that part of them alone, at
    its own scale. What it is said last counts."""
    if part == part_seen(model):
        return model
    if not hasattr(model, "sees"):
        model.register_forward_pre_hook(_cut)
    cast(Any, model).sees = part
    return model


def part_seen(model: nn.Module) -> str:
    """Which part the model looks at."""
    return str(getattr(model, "sees", WHOLE))


def _cut(model: Any, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    images, *others = arguments
    return (part_of(images, model.sees), *others)
