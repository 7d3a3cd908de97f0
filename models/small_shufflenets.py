"""ShuffleNet V1 (Zhang et al. 2018) and V2 (Ma et al. 2018) for 32x32 images, under the names of
weights that RepDistiller and mdistiller give them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

STEM = 24
V1_CHANNELS, V1_BLOCKS, V1_GROUPS = (240, 480, 960), (4, 8, 4), 3
V2_CHANNELS, V2_BLOCKS, V2_LAST = (116, 232, 464), (4, 8, 4), 1024


class GroupedBlock(nn.Module):
    """V1's: 1x1, 3x3 by channel and 1x1 convolution in groups, whose channels are mixed after the
    first, beside a shortcut: added, or with stride 2 averaged and appended."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        new = channels - in_channels if stride == 2 else channels
        narrow = new // 4
        self.stride, self.groups = stride, 1 if in_channels == STEM else V1_GROUPS
        self.conv1 = _pointwise(in_channels, narrow, self.groups)
        self.bn1 = nn.BatchNorm2d(narrow)
        self.conv2 = _by_channel(narrow, stride)
        self.bn2 = nn.BatchNorm2d(narrow)
        self.conv3 = _pointwise(narrow, new, V1_GROUPS)
        self.bn3 = nn.BatchNorm2d(new)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, in, H, W) to (B, channels, H / stride, W / stride)."""
        mixed = _shuffled(F.relu(self.bn1(self.conv1(x))), self.groups)
        out = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(mixed)))))
        if self.stride == 1:
            return F.relu(out + x)
        return F.relu(torch.cat([out, F.avg_pool2d(x, 3, 2, padding=1)], 1))


class SmallShuffleNetV1(nn.Module):
    """Three groups, stages of 4, 8 and 4 blocks."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = _pointwise(3, STEM)
        self.bn1 = nn.BatchNorm2d(STEM)
        inputs = (STEM, *V1_CHANNELS)
        self.layer1, self.layer2, self.layer3 = map(_stage_v1, inputs, V1_CHANNELS, V1_BLOCKS)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(V1_CHANNELS[-1], num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised images (B, 3, H, W) to logits (B, C)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(self.avgpool(x).flatten(1))


class SplitBlock(nn.Module):
    """V2's: half of the channels goes through three convolutions, then all are mixed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1, self.bn1 = _pointwise(half, half), nn.BatchNorm2d(half)
        self.conv2, self.bn2 = _by_channel(half, 1), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = _pointwise(half, half), nn.BatchNorm2d(half)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of the size of `x`."""
        kept, x = x.chunk(2, 1)
        x = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return _shuffled(torch.cat([kept, F.relu(self.bn3(self.conv3(x)))], 1), 2)


class HalvingBlock(nn.Module):
    """V2's with stride 2: two branches, appended and mixed."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1, self.bn1 = _by_channel(in_channels, 2), nn.BatchNorm2d(in_channels)
        self.conv2, self.bn2 = _pointwise(in_channels, half), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = _pointwise(in_channels, half), nn.BatchNorm2d(half)
        self.conv4, self.bn4 = _by_channel(half, 2), nn.BatchNorm2d(half)
        self.conv5, self.bn5 = _pointwise(half, half), nn.BatchNorm2d(half)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, in, H, W) to (B, channels, H / 2, W / 2)."""
        left = F.relu(self.bn2(self.conv2(self.bn1(self.conv1(x)))))
        right = self.bn4(self.conv4(F.relu(self.bn3(self.conv3(x)))))
        return _shuffled(torch.cat([left, F.relu(self.bn5(self.conv5(right)))], 1), 2)


class SmallShuffleNetV2(nn.Module):
    """Of the published width 1, stages of 4, 8 and 4 blocks."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = _pointwise(3, STEM)
        self.bn1 = nn.BatchNorm2d(STEM)
        inputs = (STEM, *V2_CHANNELS)
        self.layer1, self.layer2, self.layer3 = map(_stage_v2, inputs, V2_CHANNELS, V2_BLOCKS)
        self.conv2 = _pointwise(V2_CHANNELS[-1], V2_LAST)
        self.bn2 = nn.BatchNorm2d(V2_LAST)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(V2_LAST, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised images (B, 3, H, W) to logits (B, C)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return self.linear(self.avgpool(x).flatten(1))


def _stage_v1(in_channels: int, channels: int, blocks: int) -> nn.Sequential:
    first = GroupedBlock(in_channels, channels, 2)
    return nn.Sequential(first, *(GroupedBlock(channels, channels, 1) for _ in range(blocks - 1)))


def _stage_v2(in_channels: int, channels: int, blocks: int) -> nn.Sequential:
    first = HalvingBlock(in_channels, channels)
    return nn.Sequential(first, *(SplitBlock(channels) for _ in range(blocks - 1)))


def _pointwise(in_channels: int, channels: int, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, 1, groups=groups, bias=False)


def _by_channel(channels: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)


def _shuffled(x: torch.Tensor, groups: int) -> torch.Tensor:
    """The channels of the groups in turn."""
    return F.channel_shuffle(x, groups)
