"""MobileNetV2 (Sandler et al. 2018) of half its width for 32x32 images, under the names of weights
that RepDistiller and mdistiller give it."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from models.small_resnet import initialise
from models.small_vgg import start_small

BLOCKS = (  # expansion, channels of the full width, blocks, stride of the first
    (1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip
STEM, LAST = 32, 1280


class InvertedResidual(nn.Module):
    """1x1, 3x3 by channel and 1x1 convolution, `expansion` times as wide in between, around a
    shortcut where input and output are alike."""

    def __init__(self, in_channels: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = in_channels * expansion
        self.conv = nn.Sequential(
            *_convolution(in_channels, wide, 1),
            *_convolution(wide, wide, 3, stride, groups=wide),
            *_convolution(wide, channels, 1)[:-1],
        )
        self.residual = stride == 1 and in_channels == channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The convolutions, plus the shortcut if there is one."""
        return x + self.conv(x) if self.residual else self.conv(x)


class SmallMobileNetV2(nn.Module):
    """Of `width` times the channels, but for the last ones."""

    stages: ClassVar = ("blocks.1", "blocks.2", "blocks.4", "blocks.6")

    def __init__(self, width: float, num_classes: int) -> None:
        super().__init__()
        channels = [int(width * each) for each in (STEM, *(full for _, full, _, _ in BLOCKS))]
        self.conv1 = nn.Sequential(*_convolution(3, channels[0], 3, 2))
        self.blocks = nn.ModuleList(
            _stage(before, after, count, stride, expansion)
            for before, after, (expansion, _, count, stride) in zip(
                channels, channels[1:], BLOCKS, strict=False
            )
        )
        self.conv2 = nn.Sequential(*_convolution(channels[-1], LAST, 1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        linear = nn.Linear(LAST, num_classes)
        self.classifier = nn.Sequential(linear)
        self.apply(initialise)
        start_small(linear)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised images (B, 3, H, W) to logits (B, C)."""
        x = self.conv1(x)
        for block in self.blocks:
            x = block(x)
        return self.classifier(self.avgpool(self.conv2(x)).flatten(1))


def _stage(before: int, after: int, count: int, stride: int, expansion: int) -> nn.Sequential:
    first = InvertedResidual(before, after, stride, expansion)
    others = (InvertedResidual(after, after, 1, expansion) for _ in range(count - 1))
    return nn.Sequential(first, *others)


def _convolution(
    in_channels: int, channels: int, size: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """With BatchNorm and ReLU."""
    convolution = nn.Conv2d(
        in_channels, channels, size, stride, size // 2, groups=groups, bias=False
    )
    return [convolution, nn.BatchNorm2d(channels), nn.ReLU()]
