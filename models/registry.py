"""The architectures by name: torchvision's classification nets, and ours for small images.

Where each of them looks is known by `metrics/attention.py`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import nn

from models.rehearsal import rehearsal
from models.small_mobilenet import SmallMobileNetV2
from models.small_resnet import WIDTHS_X4, ConvolutionBlock, SmallResNet
from models.small_shufflenets import SmallShuffleNetV1, SmallShuffleNetV2
from models.small_vgg import SmallVGG
from models.small_vit import PATCHES, small_vit
from models.wide_resnet import WideResNet

Builder = Callable[[int, int], nn.Module]  # of a number of classes and an image's pixels

SMALL_STEMS = ("resnet18", "resnet34", "resnet50")
MADE_FOR = 224  # pixels, which every net of torchvision takes, and more
SMALL_DEPTHS = (8, 20, 32, 56)
CONVOLUTION_DEPTHS = (8, 14, 20, 32, 44, 56)


def build_model(
    arch: str, num_classes: int, *, image_size: int = 224, transform_input: bool = False
) -> nn.Module:
    """A freshly initialised `arch` of `num_classes` outputs.

    Transformers with a fixed grid of patches depend on `image_size` (pixels). transform_input: as
    torchvision's attribute of that name. ValueError for an unknown name, or a size that the net
    cannot take.
    """
    builders = _ours() | _timm_builder(arch)
    if arch not in builders:
        builders |= _torchvisions()
    if arch not in builders:
        close = ", ".join(difflib.get_close_matches(arch, builders, n=3, cutoff=0.4))
        raise ValueError(
            f"unknown architecture {arch!r}: "
            + (f"did you mean {close}? " if close else "")
            + "resnet20 and its like for small images, or a name of torchvision.models"
        )
    try:
        model = builders[arch](num_classes, image_size)
        if image_size < MADE_FOR or arch.startswith(TIMM):
            rehearsal(model, image_size)
    except (ValueError, RuntimeError, AssertionError) as error:  # torchvision's own words on sizes
        raise ValueError(
            f"{arch} cannot be built for {image_size} pixels: {error}; take another --image-size, "
            "or a net for small images such as resnet20 or resnet18_small_stem"
        ) from None
    set_transform_input(model, transform_input)
    return model


TIMM = "timm/"  # before the names of the package's nets


def _timm_builder(arch: str) -> dict[str, Builder]:
    """What builds a net of the package timm, where `arch` names one."""
    if not arch.startswith(TIMM):
        return {}
    try:
        import timm  # not among the packages that the project needs
    except ImportError:
        raise ValueError(f"{arch} needs a package that is not here: pip install timm") from None

    def build(num_classes: int, image_size: int) -> nn.Module:
        return timm.create_model(arch.removeprefix(TIMM), num_classes=num_classes)

    return {arch: build}


def set_transform_input(model: nn.Module, transforms: bool) -> bool:
    """Let a net that can (torchvision's GoogLeNet and Inception) scale its inputs as its published
    weights want them, or not; returns whether it does."""
    can = hasattr(model, "transform_input")
    if can:
        cast(Any, model).transform_input = transforms
    return can and transforms


def outline(arch: str) -> nn.Module:
    """The net for ImageNet, of shapes without numbers."""
    with torch.device("meta"):
        return _builders()[arch](1000, 224)


def architectures() -> list[str]:
    """The names that `build_model` knows."""
    return list(_builders())


def _builders() -> dict[str, Builder]:
    return _ours() | _torchvisions()


def _ours() -> dict[str, Builder]:
    return {
        **{f"resnet{depth}": partial(_small, depth) for depth in SMALL_DEPTHS},
        **{name: partial(_of_any_size, net) for name, net in _literature().items()},
        **{f"vit_lite_{patch}": partial(small_vit, patch) for patch in PATCHES},
        **{f"{name}_small_stem": partial(_small_stem, name) for name in SMALL_STEMS},
    }


def _torchvisions() -> dict[str, Builder]:
    """Its import takes as long as torch's: nets of ours are built without."""
    from torchvision import models

    return {name: partial(_torchvision, name) for name in models.list_models(models)}


def _torchvision(name: str, num_classes: int, image_size: int) -> nn.Module:
    from torchvision.models import get_model

    return get_model(name, weights=None, num_classes=num_classes, **_options(name, image_size))


def _options(name: str, image_size: int) -> dict[str, object]:
    """What a net needs besides its number of classes."""
    if name in ("googlenet", "inception_v3"):  # their second outputs are the published recipes'
        return {"aux_logits": False, "init_weights": True}
    if name.startswith("vit_"):
        return {"image_size": image_size}
    if name.startswith("maxvit_"):
        return {"input_size": (image_size, image_size)}
    return {}


def _small_stem(name: str, num_classes: int, image_size: int) -> nn.Module:
    """torchvision's net for small images: a 3x3 convolution and no max-pool at its start."""
    from torchvision.models import get_model_builder

    model = get_model_builder(name)(num_classes=num_classes)
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
    return model


def _small(depth: int, num_classes: int, image_size: int) -> SmallResNet:
    return SmallResNet(depth, num_classes)


def of_literature(arch: str) -> bool:
    """Whether it is one of the literature's nets for small images, of RepDistiller's names."""
    return arch in _literature()


def _literature() -> dict[str, Callable[[int], nn.Module]]:
    """By the names of the literature on distillation, but for its resnet20 and the like, which are
    not He et al.'s, and its vgg13, which is not torchvision's."""
    convolutions = partial(SmallResNet, block=ConvolutionBlock)
    wider = partial(convolutions, widths=WIDTHS_X4)
    return {
        **{f"resnet{depth}_conv": partial(convolutions, depth) for depth in CONVOLUTION_DEPTHS},
        "resnet110": partial(convolutions, 110),
        **{f"resnet{depth}x4": partial(wider, depth) for depth in (8, 32)},
        **{
            f"wrn_{depth}_{width}": partial(WideResNet, depth, width)
            for depth in (16, 40)
            for width in (1, 2)
        },
        "vgg8": partial(SmallVGG, 8),
        "vgg13_small": partial(SmallVGG, 13),
        "mobilenet_v2_half": partial(SmallMobileNetV2, 0.5),
        "shuffle_v1": SmallShuffleNetV1,
        "shuffle_v2": SmallShuffleNetV2,
    }


def _of_any_size(net: Callable[[int], nn.Module], num_classes: int, image_size: int) -> nn.Module:
    return net(num_classes)
