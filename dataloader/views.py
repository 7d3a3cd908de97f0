"""The views of the paper, from torchvision's v2 blocks: Pillow image in, uint8 tensor out.

Blocks run on Pillow images (torchvision's tensor back end rotates 224-pixel images far slower)
and stop at uint8: conversion to float and normalisation run in batches, on the model's device.

Sources: the protocol of Guo et al. 2025 (arXiv 2405.00739); AutoAugment, Cubuk et al. 2019;
RandAugment, Cubuk et al. 2020; Cutout, DeVries and Taylor 2017.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image, ImageDraw
from torchvision.transforms import v2

VIEW_NAMES = ("weak", "strong", "base", "test")

View = Callable[[Image.Image], torch.Tensor]


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of a data set's channels, pixels in [0, 1]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def normalise(self, views: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) uint8 views to float32 of zero mean and unit variance, same device."""
        mean = torch.tensor(self.mean, device=views.device).view(3, 1, 1) * 255
        std = torch.tensor(self.std, device=views.device).view(3, 1, 1) * 255
        return (views.float() - mean) / std


CIFAR_STATISTICS = Statistics((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
IMAGENET_STATISTICS = Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Cutout(v2.Transform):
    """Fill one square with 0, its centre anywhere in the image, clipped at the border."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the square: left, top, right, bottom, the last two exclusive."""
        width, height = flat_inputs[0].size
        left = int(torch.randint(width, ())) - self.length // 2
        top = int(torch.randint(height, ())) - self.length // 2
        right, bottom = left + self.length, top + self.length
        return {"box": (max(left, 0), max(top, 0), min(right, width), min(bottom, height))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """A copy of the Pillow image `inpt` with the square filled."""
        image = inpt.copy()
        left, top, right, bottom = params["box"]
        ImageDraw.Draw(image).rectangle((left, top, right - 1, bottom - 1), fill=(0, 0, 0))
        return image


def cifar_view(name: str, size: int) -> View:
    """The CIFAR view `name` (of VIEW_NAMES) at `size` x `size` pixels."""
    crop = v2.RandomResizedCrop(
        size, scale=(0.2, 1.0), interpolation=v2.InterpolationMode.BICUBIC, antialias=True
    )
    blocks = {
        "weak": [crop, v2.RandomHorizontalFlip(), v2.RandomRotation(15)],
        "strong": [
            crop,
            v2.RandomHorizontalFlip(),
            v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10),
            Cutout(16),
        ],
        "base": [crop],
        "test": [v2.Resize(size)],
    }
    return v2.Compose([*blocks[name], v2.PILToTensor()])


def imagenet_view(name: str, size: int) -> View:
    """The ImageNet view `name` (of VIEW_NAMES) at `size` x `size` pixels."""
    crop = v2.RandomResizedCrop(size)
    jitter = v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0)
    # Level 10 of 10 is the last of 11 bins. One operation at a time, so that each has its own coin.
    operation = v2.RandAugment(num_ops=1, magnitude=10, num_magnitude_bins=11)
    sometimes = v2.RandomApply([operation], p=0.5)
    blocks = {
        "weak": [crop, v2.RandomHorizontalFlip(), jitter],
        "strong": [
            v2.RandomResizedCrop(size, scale=(0.08, 1.0)),
            v2.RandomHorizontalFlip(),
            jitter,
            sometimes,
            sometimes,
        ],
        "base": [crop],
        "test": [v2.Resize(round(size * 256 / 224)), v2.CenterCrop(size)],
    }
    return v2.Compose([*blocks[name], v2.PILToTensor()])
