"""The architectures by name. Convolutional ones end in `avgpool` and `fc`, where the attention
maps read them; torchvision's ViT is read by its attention."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn
from torchvision.models import ResNet, VisionTransformer, resnet18, resnet34, resnet50, vit_b_16

from models.small_resnet import SmallResNet

VIT_PATCH = 16


def build_model(arch: str, num_classes: int, *, image_size: int = 224) -> nn.Module:
    """A freshly initialised `arch` of `num_classes` outputs; ValueError for an unknown name.

    Only a ViT depends on `image_size` (pixels, a multiple of its patches' 16).
    """
    builders = _builders()
    if arch not in builders:
        raise ValueError(f"unknown architecture {arch!r}: use one of {', '.join(builders)}")
    return builders[arch](num_classes, image_size)


def architectures() -> list[str]:
    """The names that `build_model` knows."""
    return list(_builders())


def _builders() -> dict[str, Callable[[int, int], nn.Module]]:
    large = {"resnet18": resnet18, "resnet34": resnet34, "resnet50": resnet50}
    return {
        **{name: partial(_large, net) for name, net in large.items()},
        **{f"{name}_small_stem": partial(_small_stem, net) for name, net in large.items()},
        **{f"resnet{depth}": partial(_small, depth) for depth in (8, 20, 32, 56)},
        "vit_b_16": _vit,
    }


def _large(net: Callable[..., ResNet], num_classes: int, image_size: int) -> ResNet:
    return net(num_classes=num_classes)


def _small_stem(net: Callable[..., ResNet], num_classes: int, image_size: int) -> ResNet:
    """torchvision's net for small images: a 3x3 convolution and no max-pool at its start."""
    model = net(num_classes=num_classes)
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
    return model


def _small(depth: int, num_classes: int, image_size: int) -> SmallResNet:
    return SmallResNet(depth, num_classes)


def _vit(num_classes: int, image_size: int) -> VisionTransformer:
    if image_size % VIT_PATCH:
        raise ValueError(f"vit_b_16 needs a multiple of {VIT_PATCH} pixels, not {image_size}")
    return vit_b_16(num_classes=num_classes, image_size=image_size)
