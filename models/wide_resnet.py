"""The wide residual nets for 32x32 images of Zagoruyko and Komodakis 2016, `wrn_<depth>_<width>`,
under the names of weights that RepDistiller and mdistiller give them."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from models.small_resnet import initialise


class WideBlock(nn.Module):
    """BatchNorm and ReLU before each of two 3x3 convolutions, around a shortcut, which is a 1x1
    convolution of the first ReLU's output where the number of channels changes."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        changes = in_channels != channels
        self.convShortcut = (
            nn.Conv2d(in_channels, channels, 1, stride, bias=False) if changes else None
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Residual plus shortcut."""
        active = F.relu(self.bn1(x))
        residual = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return residual + (x if self.convShortcut is None else self.convShortcut(active))


class WideStage(nn.Module):
    """Blocks under the name `layer`."""

    def __init__(self, in_channels: int, channels: int, blocks: int, stride: int) -> None:
        super().__init__()
        first = WideBlock(in_channels, channels, stride)
        others = (WideBlock(channels, channels, 1) for _ in range(blocks - 1))
        self.layer = nn.Sequential(first, *others)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One block after the other."""
        return self.layer(x)


class WideResNet(nn.Module):
    """`depth` = 6n + 4 layers: a 3x3 stem and three stages of n blocks, 16, 32 and 64 times `width`
    channels."""

    stages: ClassVar = ("block1", "block2", "block3")

    def __init__(self, depth: int, width: int, num_classes: int) -> None:
        super().__init__()
        blocks, channels = (depth - 4) // 6, [16 * width, 32 * width, 64 * width]
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.block1 = WideStage(16, channels[0], blocks, stride=1)
        self.block2 = WideStage(channels[0], channels[1], blocks, stride=2)
        self.block3 = WideStage(channels[1], channels[2], blocks, stride=2)
        self.bn1 = nn.BatchNorm2d(channels[2])
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels[2], num_classes)
        self.apply(initialise)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised images (B, 3, H, W) to logits (B, C)."""
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(self.avgpool(F.relu(self.bn1(x))).flatten(1))
