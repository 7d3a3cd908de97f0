"""VGG nets for 32x32 images (Simonyan and Zisserman 2015) with BatchNorm, the mean over positions
and one linear layer, under the names of weights that RepDistiller and mdistiller give them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from models.small_resnet import initialise

CONVOLUTIONS = {8: 1, 13: 2}  # of each stage, by the depth in the name
CHANNELS = (64, 128, 256, 512, 512)
POOLED_FOUR_TIMES = 64  # pixels; images of other sizes three times, as published


class SmallVGG(nn.Module):
    """Five stages of 3x3 convolutions. A stage ends before its last ReLU, as published."""

    stages: ClassVar = ("relu1", "relu2", "relu3", "relu4")

    def __init__(self, depth: int, num_classes: int) -> None:
        super().__init__()
        inputs = (3, *CHANNELS)
        for k, channels in enumerate(CHANNELS):
            widths = [inputs[k], *[channels] * CONVOLUTIONS[depth]]
            self.add_module(f"block{k}", _stage(widths))
            self.add_module(f"relu{k}", nn.ReLU())
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(CHANNELS[-1], num_classes)
        self.apply(initialise)
        start_small(self.classifier)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised images (B, 3, H, W) to logits (B, C)."""
        pools = 4 if x.shape[-1] == POOLED_FOUR_TIMES else 3
        for k in range(len(CHANNELS)):
            x = self.get_submodule(f"relu{k}")(self.get_submodule(f"block{k}")(x))
            x = F.max_pool2d(x, 2) if k < pools else x
        return self.classifier(self.avgpool(x).flatten(1))


def start_small(classifier: nn.Linear) -> None:
    """Weights of standard deviation .01, no bias."""
    nn.init.normal_(classifier.weight, std=0.01)
    nn.init.zeros_(classifier.bias)


def _stage(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
