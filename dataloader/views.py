"""The views of the paper, as data: what each does to an image stands here and nowhere else.

Importing this file is cheap (no torch, no Pillow): the code that knows only the views' names reads
it too. A picture stays uint8; conversion to float and normalisation run in batches, on the model's
device. Source: the protocol of Guo et al. 2025 (arXiv 2405.00739); Cutout, DeVries and Taylor 2017.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.errors import UserError
from dataloader.steps import (
    AutoAugment,
    CenterCrop,
    ColorJitter,
    Cutout,
    HorizontalFlip,
    Operation,
    PaddedCrop,
    RandAugment,
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

NEAREST = ("nearest",)
DRAWN = ("bilinear", "bicubic")

# Levels 0 to 9. Shear is a slope, translate a share of the side, rotate in degrees, posterize in
# bits kept, solarize a threshold; colour, contrast, sharpness and brightness are factors.
CIFAR_OPERATIONS = (
    Operation("shear_y", 0, 0, 0.3 / 9, either_sign=True, interpolations=("bicubic",)),
    Operation("translate_x", 0, 0, 150 / 331 / 9, either_sign=True, interpolations=NEAREST),
    Operation("translate_y", 0, 0, 150 / 331 / 9, either_sign=True, interpolations=NEAREST),
    Operation("rotate", 0, 0, 30 / 9, interpolations=NEAREST),
    Operation("color", 1, 1, 0.9 / 9, either_sign=True),
    Operation("contrast", 1, 1, 0.9 / 9, either_sign=True),
    Operation("sharpness", 1, 1, 0.9 / 9, either_sign=True),
    Operation("brightness", 1, 1, 0.9 / 9, either_sign=True),
    Operation("posterize", 8, 8, -4 / 9, whole="nearest"),
    Operation("solarize", 256, 256, -256 / 9),
    Operation("autocontrast"),
    Operation("equalize"),
    Operation("invert"),
)

# (operation, probability, level)
CIFAR_SUB_POLICIES = (
    (("invert", 0.1, None), ("contrast", 0.2, 6)),
    (("rotate", 0.7, 2), ("translate_x", 0.3, 9)),
    (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
    (("shear_y", 0.5, 8), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.5, None), ("equalize", 0.9, None)),
    (("shear_y", 0.2, 7), ("posterize", 0.3, 7)),
    (("color", 0.4, 3), ("brightness", 0.6, 7)),
    (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
    (("equalize", 0.6, None), ("equalize", 0.5, None)),
    (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
    (("color", 0.7, 7), ("translate_x", 0.5, 8)),
    (("equalize", 0.3, None), ("autocontrast", 0.4, None)),
    (("translate_y", 0.4, 3), ("sharpness", 0.2, 6)),
    (("brightness", 0.9, 6), ("color", 0.2, 8)),
    (("solarize", 0.5, 2), ("invert", 0.0, None)),
    (("equalize", 0.2, None), ("autocontrast", 0.6, None)),
    (("equalize", 0.2, None), ("equalize", 0.6, None)),
    (("color", 0.9, 9), ("equalize", 0.6, None)),
    (("autocontrast", 0.8, None), ("solarize", 0.2, 8)),
    (("brightness", 0.1, 3), ("color", 0.7, 0)),
    (("solarize", 0.4, 5), ("autocontrast", 0.9, None)),
    (("translate_y", 0.9, 9), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.9, None), ("solarize", 0.8, 3)),
    (("equalize", 0.8, None), ("invert", 0.1, None)),
    (("translate_y", 0.7, 9), ("autocontrast", 0.9, None)),
)

# AutoAugment's policy for ImageNet (Cubuk et al. 2019), in the same units and levels.
IMAGENET_AUTO_OPERATIONS = (
    Operation("shear_x", 0, 0, 0.3 / 9, either_sign=True, interpolations=NEAREST),
    Operation("rotate", 0, 0, 30 / 9, either_sign=True, interpolations=NEAREST),
    Operation("solarize", 256, 255, -255 / 9),
    *(
        one
        for one in CIFAR_OPERATIONS
        if not one.interpolations and one.name not in ("brightness", "solarize")
    ),
)

IMAGENET_SUB_POLICIES = (
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, None)),
    (("equalize", 0.8, None), ("equalize", 0.6, None)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, None), ("solarize", 0.2, 4)),
    (("equalize", 0.4, None), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, None)),
    (("posterize", 0.8, 5), ("equalize", 1.0, None)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, None), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("color", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, None)),
    (("equalize", 0.0, None), ("equalize", 0.8, None)),
    (("invert", 0.6, None), ("equalize", 1.0, None)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("color", 1.0, 2)),
    (("color", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, None)),
    (("shear_x", 0.6, 5), ("equalize", 1.0, None)),
    (("color", 0.4, 0), ("equalize", 0.6, None)),
    (("equalize", 0.4, None), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, None)),
    (("invert", 0.6, None), ("equalize", 1.0, None)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, None), ("equalize", 0.6, None)),
)

# Levels up to 10, where posterize and solarize do least, and a factor is .1 at level 0.
IMAGENET_OPERATIONS = (
    Operation("autocontrast"),
    Operation("equalize"),
    Operation("invert"),
    Operation("rotate", 0, 0, 3, either_sign=True, interpolations=DRAWN),
    Operation("posterize", 8, 0, 0.4, whole="down"),
    Operation("solarize", 256, 0, 25.6, whole="down"),
    Operation("solarize_add", 0, 0, 11, whole="down"),
    Operation("color", 1, 0.1, 0.18),
    Operation("contrast", 1, 0.1, 0.18),
    Operation("brightness", 1, 0.1, 0.18),
    Operation("sharpness", 1, 0.1, 0.18),
    Operation("shear_x", 0, 0, 0.03, either_sign=True, interpolations=DRAWN),
    Operation("shear_y", 0, 0, 0.03, either_sign=True, interpolations=DRAWN),
    Operation("translate_x", 0, 0, 0.045, either_sign=True, interpolations=DRAWN),
    Operation("translate_y", 0, 0, 0.045, either_sign=True, interpolations=DRAWN),
)

CIFAR_AUTO_AUGMENT = AutoAugment(CIFAR_SUB_POLICIES, CIFAR_OPERATIONS, fill=(128, 128, 128))
IMAGENET_AUTO_AUGMENT = AutoAugment(
    IMAGENET_SUB_POLICIES, IMAGENET_AUTO_OPERATIONS, fill=(128, 128, 128)
)
IMAGENET_RAND_AUGMENT = RandAugment(
    IMAGENET_OPERATIONS,
    count=2,
    probability=0.5,
    level_mean=10,
    level_std=0.5,
    fill=(124, 116, 104),
)


REVISION = 1  # raise it when the same steps come to give other pixels


@dataclass(frozen=True)
class ViewDefinition:
    """A view's name, its letter in the names of cells if it trains models, and its steps. Groups of
    cells and columns of tables are of the views `in_grid`."""

    name: str
    letter: str | None
    cifar: tuple[Step, ...]
    imagenet: tuple[Step, ...]
    in_grid: bool = True


_CIFAR_CROP = RandomResizedCrop(scale=(0.2, 1.0), interpolation="bicubic")
_CIFAR_STRONG = (_CIFAR_CROP, HorizontalFlip(), CIFAR_AUTO_AUGMENT, Cutout(side=16))
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
        cifar=_CIFAR_STRONG,
        imagenet=(*_IMAGENET_WEAK, IMAGENET_RAND_AUGMENT),
    ),
    ViewDefinition(  # what "strong" stands for where --strong-view says so
        "autoaugment",
        None,
        cifar=_CIFAR_STRONG,  # which is AutoAugment's as it is
        imagenet=(*_IMAGENET_WEAK, IMAGENET_AUTO_AUGMENT),
    ),
    ViewDefinition("base", None, cifar=(_CIFAR_CROP,), imagenet=(_IMAGENET_CROP,)),
    ViewDefinition(
        "test",
        None,
        cifar=(Resize(), CenterCrop()),  # the crop leaves square images, CIFAR's, as they are
        imagenet=(Resize(side=256 / 224), CenterCrop()),
    ),
    ViewDefinition(  # 4 pixels around CIFAR's 32
        "literature",
        "l",
        cifar=(Resize(), PaddedCrop(padding=4 / 32), HorizontalFlip()),
        imagenet=(_IMAGENET_CROP, HorizontalFlip()),
        in_grid=False,
    ),
)

STRONG_VIEWS = ("strong", "autoaugment")
VIEW_NAMES = tuple(view.name for view in VIEWS)
VIEW_LETTERS = {view.letter: view.name for view in VIEWS if view.letter}
GRID_LETTERS = {view.letter: view.name for view in VIEWS if view.letter and view.in_grid}


@dataclass(frozen=True)
class View:
    """Steps that make a picture of `size` x `size` pixels of an image, with draws from a generator
    (`random_streams.generator` has one for each image)."""

    size: int
    steps: tuple[Step, ...]

    @property
    def description(self) -> str:
        """One line of all that the view does. Views that do the same have the same line."""
        steps = "; ".join(map(describe, self.steps))
        return f"revision {REVISION}, {self.size} pixels: {steps}"

    def picture(self, image: Image, random: torch.Generator | None = None) -> Image:
        """The view of an RGB Pillow image, as one of size x size pixels. Draws from `random`, or
        from torch's global generator.

        Raises UserError for an image that the steps do not make square.
        """
        from torch import default_generator  # only who makes pictures waits for torch

        from dataloader.pipeline import perform

        draws = default_generator if random is None else random
        picture = perform(self.steps, self.size, image, draws)
        if picture.size != (self.size, self.size):
            raise UserError(
                f"an image of {image.width}x{image.height} pixels makes a view of "
                f"{picture.width}x{picture.height}, not square: use square images"
            )
        return picture

    def __call__(self, image: Image, random: torch.Generator | None = None) -> torch.Tensor:
        """The view of an RGB Pillow image, (3, size, size) uint8; draws as `picture`."""
        from dataloader.pipeline import pixels

        return pixels(self.picture(image, random))


def cifar_view(name: str, size: int, *, strength: float = 1.0) -> View:
    """The CIFAR view `name` (of VIEW_NAMES) at `size` x `size` pixels.

    strength in [0, 1] is for the strong views alone: 0 makes it the weak one (`steps.between`).
    Raises UserError for an unknown name or a strength out of range.
    """
    return _view({view.name: view.cifar for view in VIEWS}, name, size, strength)


def imagenet_view(name: str, size: int, *, strength: float = 1.0) -> View:
    """The ImageNet view `name` (of VIEW_NAMES) at `size` x `size` pixels; else as `cifar_view`."""
    return _view({view.name: view.imagenet for view in VIEWS}, name, size, strength)


VIEW_FAMILIES = {"cifar": cifar_view, "imagenet": imagenet_view}


def _view(steps: dict[str, tuple[Step, ...]], name: str, size: int, strength: float) -> View:
    if name not in steps:
        raise UserError(f"unknown view {name!r}: use {', '.join(steps)}")
    if not 0 <= strength <= 1:
        raise UserError(f"a strength of {strength} is not between 0 (weak) and 1 (strong)")
    if name in STRONG_VIEWS:
        return View(size, between(steps["weak"], steps[name], strength))
    return View(size, steps[name])


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of a data set's channels, pixels in [0, 1]."""

    mean: tuple[float, ...]  # of red, green and blue
    std: tuple[float, ...]

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
LITERATURE_STATISTICS = Statistics((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))
IMAGENET_STATISTICS = Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
