"""The residual nets for 32x32 images of He et al. 2016 (section 4.2): ResNet-8, 20, 32, 56.

Shortcuts have no parameters (their option A), so ResNet-20 with 10 classes has 269,722. What
RepDistiller, mdistiller and their followers call ResNet-20 has convolutions for them (option B),
and they have wider nets (`resnet8x4`); here under the names of weights that they give them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

WIDTHS = (16, 16, 32, 64)  # of the stem and the three stages
WIDTHS_X4 = (32, 64, 128, 256)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut; (B, in, H, W) to (B, out, H / stride, W / stride)."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride, self.new_channels = stride, channels - in_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Residual plus shortcut."""
        residual = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(residual)) + self._shortcut(x))

    def _shortcut(self, x: torch.Tensor) -> torch.Tensor:
        if self.stride == 1 and self.new_channels == 0:
            return x
        # What x[:, :, ::stride, ::stride] is, but its gradient stays channels-last, as x is.
        subsampled = F.avg_pool2d(x, kernel_size=1, stride=self.stride)
        return F.pad(subsampled, (0, 0, 0, 0, 0, self.new_channels))  # new channels are zero


class ConvolutionBlock(BasicBlock):
    """With a 1x1 convolution as its shortcut, where size or channels change."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__(in_channels, channels, stride)
        changes = stride != 1 or in_channels != channels
        convolution = nn.Conv2d(in_channels, channels, 1, stride, bias=False) if changes else None
        self.downsample = convolution and nn.Sequential(convolution, nn.BatchNorm2d(channels))

    def _shortcut(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.downsample is None else self.downsample(x)


class SmallResNet(nn.Module):
    """ResNet of `depth` = 6n + 2 layers: a 3x3 stem and three stages of n blocks, of so many
    channels."""

    def __init__(
        self,
        depth: int,
        num_classes: int,
        *,
        block: type[BasicBlock] = BasicBlock,
        widths: Sequence[int] = WIDTHS,
    ) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.layer1 = _stage(block, widths[0], widths[1], blocks, stride=1)
        self.layer2 = _stage(block, widths[1], widths[2], blocks, stride=2)
        self.layer3 = _stage(block, widths[2], widths[3], blocks, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[3], num_classes)
        self.apply(initialise)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised images (B, 3, H, W) to logits (B, C)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.avgpool(x).flatten(1))


def _stage(
    block: type[BasicBlock], in_channels: int, channels: int, blocks: int, *, stride: int
) -> nn.Sequential:
    first = block(in_channels, channels, stride)
    return nn.Sequential(first, *(block(channels, channels, 1) for _ in range(blocks - 1)))


def initialise(module: nn.Module) -> None:
    """Convolutions as in He et al. 2015, by what leaves them."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
