"""The architectures by name. Each ends in `avgpool` and `fc`, where the attention maps read it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn
from torchvision.models import ResNet, resnet18, resnet34, resnet50

from models.errors import ModelError
from models.small_resnet import SmallResNet


def build_model(arch: str, num_classes: int) -> nn.Module:
    """A freshly initialised `arch` of `num_classes` outputs; ModelError for an unknown name."""
    builders = _builders()
    if arch not in builders:
        raise ModelError(f"unknown architecture {arch!r}: use one of {', '.join(builders)}")
    return builders[arch](num_classes=num_classes)


def architectures() -> list[str]:
    """The names that `build_model` knows."""
    return list(_builders())


def _builders() -> dict[str, Callable[..., nn.Module]]:
    large = {"resnet18": resnet18, "resnet34": resnet34, "resnet50": resnet50}
    small_stem = {f"{name}_small_stem": partial(_small_stem, net) for name, net in large.items()}
    small = {f"resnet{depth}": partial(SmallResNet, depth) for depth in (8, 20, 32, 56)}
    return large | small_stem | small


def _small_stem(net: Callable[..., ResNet], num_classes: int) -> ResNet:
    """torchvision's net for small images: a 3x3 convolution and no max-pool at its start."""
    model = net(num_classes=num_classes)
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
    return model
