"""The views of the paper, as data: what each does to an image stands here and nowhere else.

Importing this file is cheap (no torch, no Pillow): the code that knows only the views' names reads
it too. A picture stays uint8; conversion to float and normalisation run in batches, on the model's
device. Source: the protocol of Guo et al. 2025 (arXiv 2405.00739); Cutout, DeVries and Taylor 2017.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataloader.errors import UserError
from dataloader.policies import CIFAR_AUTO_AUGMENT, IMAGENET_RAND_AUGMENT
from dataloader.steps import (
    CenterCrop,
    ColorJitter,
    Cutout,
    HorizontalFlip,
    RandomResizedCrop,
    Resize,
    Rotation,
    Step,
    between,
    describe,
)

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

REVISION = 1  # raise it when the same steps come to give other pixels


@dataclass(frozen=True)
class ViewDefinition:
    """A view's name, its letter in the names of cells if it trains models, and its steps."""

    name: str
    letter: str | None
    cifar: tuple[Step, ...]
    imagenet: tuple[Step, ...]


_CIFAR_CROP = RandomResizedCrop(scale=(0.2, 1.0), interpolation="bicubic")
_IMAGENET_CROP = RandomResizedCrop(scale=(0.08, 1.0), interpolation="bilinear")
_IMAGENET_WEAK = (
    _IMAGENET_CROP,
    HorizontalFlip(),
    ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4),
)

VIEWS = (
    ViewDefinition(
        "weak",
        "w",
        cifar=(_CIFAR_CROP, HorizontalFlip(), Rotation(degrees=15)),
        imagenet=_IMAGENET_WEAK,
    ),
    ViewDefinition(
        "strong",
        "s",
        cifar=(_CIFAR_CROP, HorizontalFlip(), CIFAR_AUTO_AUGMENT, Cutout(side=16)),
        imagenet=(*_IMAGENET_WEAK, IMAGENET_RAND_AUGMENT),
    ),
    ViewDefinition("base", None, cifar=(_CIFAR_CROP,), imagenet=(_IMAGENET_CROP,)),
    ViewDefinition(
        "test", None, cifar=(Resize(),), imagenet=(Resize(side=256 / 224), CenterCrop())
    ),
)

VIEW_NAMES = tuple(view.name for view in VIEWS)
VIEW_LETTERS = {view.letter: view.name for view in VIEWS if view.letter}


@dataclass(frozen=True)
class View:
    """Steps that make a picture of `size` x `size` pixels of an image, with draws from torch's
    default generator (`random_streams.seeded_draws` seeds it)."""

    size: int
    steps: tuple[Step, ...]

    @property
    def description(self) -> str:
        """One line of all that the view does. Views that do the same have the same line."""
        steps = "; ".join(map(describe, self.steps))
        return f"revision {REVISION}, {self.size} pixels: {steps}"

    def picture(self, image: Image) -> Image:
        """The view of an RGB Pillow image, as one of size x size pixels.

        Raises UserError for an image that the steps do not make square.
        """
        from dataloader.pipeline import perform  # only who makes pictures waits for torch

        picture = perform(self.steps, self.size, image)
        if picture.size != (self.size, self.size):
            raise UserError(
                f"an image of {image.width}x{image.height} pixels makes a view of "
                f"{picture.width}x{picture.height}, not square: use square images"
            )
        return picture

    def __call__(self, image: Image) -> torch.Tensor:
        """The view of an RGB Pillow image, (3, size, size) uint8."""
        from dataloader.pipeline import pixels

        return pixels(self.picture(image))


def cifar_view(name: str, size: int, *, strength: float = 1.0) -> View:
    """The CIFAR view `name` (of VIEW_NAMES) at `size` x `size` pixels.

    strength in [0, 1] is for the strong view alone: 0 makes it the weak one (`steps.between`).
    Raises UserError for an unknown name or a strength out of range.
    """
    return _view({view.name: view.cifar for view in VIEWS}, name, size, strength)


def imagenet_view(name: str, size: int, *, strength: float = 1.0) -> View:
    """The ImageNet view `name` (of VIEW_NAMES) at `size` x `size` pixels; else as `cifar_view`."""
    return _view({view.name: view.imagenet for view in VIEWS}, name, size, strength)


def _view(steps: dict[str, tuple[Step, ...]], name: str, size: int, strength: float) -> View:
    if name not in steps:
        raise UserError(f"unknown view {name!r}: use {', '.join(steps)}")
    if not 0 <= strength <= 1:
        raise UserError(f"a strength of {strength} is not between 0 (weak) and 1 (strong)")
    if name == "strong":
        return View(size, between(steps["weak"], steps["strong"], strength))
    return View(size, steps[name])


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of a data set's channels, pixels in [0, 1]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def normalise(self, views: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) uint8 views to float32 of zero mean and unit variance, same device."""
        return self.normaliser(views.device)(views)

    def normaliser(self, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
        """`normalise` for views on `device`, which waits for nothing: what it needs is there."""
        import torch

        mean = torch.tensor(self.mean, device=device).view(3, 1, 1) * 255
        std = torch.tensor(self.std, device=device).view(3, 1, 1) * 255
        return lambda views: views.float().sub_(mean).div_(std)


CIFAR_STATISTICS = Statistics((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
IMAGENET_STATISTICS = Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
