"""Performs a view's steps on Pillow images, with draws from the generator that is passed.

Crop, flip, rotation and jitter make the draws that torchvision's transforms of those names make, in
their order, and so the same pixels from the same seed; they are written out because torchvision
spends more time on checking its arguments than on a picture of 32 pixels."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from PIL import Image
from torch import Generator

from dataloader.operations import INTERPOLATIONS, brightness, color, contrast, operate
from dataloader.steps import (
    AutoAugment,
    CenterCrop,
    ColorJitter,
    Colour,
    Cutout,
    HorizontalFlip,
    Operation,
    PaddedCrop,
    RandAugment,
    RandomResizedCrop,
    Resize,
    Rotation,
    Step,
)


def uniform(low: float, high: float, random: Generator) -> float:
    """A number of [low, high)."""
    return torch.empty(1).uniform_(low, high, generator=random).item()


def normal(mean: float, std: float, random: Generator) -> float:
    """A normally distributed number."""
    return torch.empty(1).normal_(mean, std, generator=random).item()


def below(count: int, random: Generator) -> int:
    """A whole number of [0, count)."""
    return int(torch.randint(0, count, size=(1,), generator=random).item())


def happens(probability: float, random: Generator) -> bool:
    """A coin that shows True with `probability`; 1 draws nothing."""
    return probability >= 1 or torch.rand(1, generator=random).item() < probability


CROP_ATTEMPTS = 10
LONGEST = 8  # times the shorter side, of what is resized at once: memory for it is bounded

Box = tuple[int, int, int, int]  # left, top, right, bottom, the last two exclusive


def perform(
    steps: tuple[Step, ...], size: int, image: Image.Image, random: Generator
) -> Image.Image:
    """The picture that the `steps` of a view of `size` pixels make of an RGB image."""
    for step in steps:
        image = PERFORM[type(step)](step, size, image, random)
    return image


def pixels(picture: Image.Image) -> torch.Tensor:
    """(3, H, W) uint8 of an RGB picture."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def random_resized_crop(
    step: RandomResizedCrop, size: int, image: Image.Image, random: Generator
) -> Image.Image:
    """Crop, then resize: the crop's border is the resampling's too."""
    part = image.crop(_crop_box(step, *image.size, random))
    return part.resize((size, size), INTERPOLATIONS[step.interpolation])


def _crop_box(step: RandomResizedCrop, width: int, height: int, random: Generator) -> Box:
    low, high = _log_range(step.ratio)
    for _ in range(CROP_ATTEMPTS):
        area = width * height * uniform(*step.scale, random)
        ratio = torch.exp(torch.empty(1).uniform_(low, high, generator=random)).item()
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top, left = below(height - h + 1, random), below(width - w + 1, random)
            return left, top, left + w, top + h
    return _middle_box(step.ratio, width, height)


@cache
def _log_range(ratio: tuple[float, float]) -> tuple[float, float]:
    low, high = torch.log(torch.tensor(ratio)).tolist()
    return low, high


def _middle_box(ratio: tuple[float, float], width: int, height: int) -> Box:
    """The largest part of an allowed ratio, from the middle."""
    w, h = width, height
    if width / height < min(ratio):
        h = round(width / min(ratio))
    elif width / height > max(ratio):
        w = round(height * max(ratio))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def resize(step: Resize, size: int, image: Image.Image, random: Generator) -> Image.Image:
    """The shorter side to its length, the other in proportion, rounded down.

    Of an image longer than LONGEST, whose ends the crop that follows would cut off, the middle.
    """
    image = _middle(image, LONGEST * min(image.size))
    shorter, short = min(image.size), round(size * step.side)
    width, height = (short * side // shorter for side in image.size)
    return image.resize((width, height), INTERPOLATIONS[step.interpolation])


def _middle(image: Image.Image, longest: int) -> Image.Image:
    """The image, without as much at both ends of a side as leaves `longest` pixels, or one more."""
    left, top = (max(side - longest, 0) // 2 for side in image.size)
    if not left and not top:
        return image
    return image.crop((left, top, image.width - left, image.height - top))


def center_crop(step: CenterCrop, size: int, image: Image.Image, random: Generator) -> Image.Image:
    """The middle."""
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def padded_crop(step: PaddedCrop, size: int, image: Image.Image, random: Generator) -> Image.Image:
    """A part of the picture and its border: what lies outside of an image is black."""
    border = round(size * step.padding)
    top = below(image.height + 2 * border - size + 1, random) - border
    left = below(image.width + 2 * border - size + 1, random) - border
    return image.crop((left, top, left + size, top + size))


def horizontal_flip(
    step: HorizontalFlip, size: int, image: Image.Image, random: Generator
) -> Image.Image:
    """Left and right exchanged, or not."""
    if happens(step.probability, random):
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image


def rotation(step: Rotation, size: int, image: Image.Image, random: Generator) -> Image.Image:
    """By an angle drawn, about the middle."""
    if not happens(step.probability, random):
        return image
    degrees = uniform(-step.degrees, step.degrees, random)
    return operate("rotate", image, degrees, interpolation=step.interpolation, fill=step.fill)


def color_jitter(
    step: ColorJitter, size: int, image: Image.Image, random: Generator
) -> Image.Image:
    """Three factors and an order drawn; torchvision's order has hue as a fourth."""
    if not happens(step.probability, random):
        return image
    order = torch.randperm(4, generator=random).tolist()
    spreads = (step.brightness, step.contrast, step.saturation)
    factors = [uniform(max(0.0, 1 - spread), 1 + spread, random) for spread in spreads]
    changes = (brightness, contrast, color)
    for k in order:
        if k < len(changes):
            image = changes[k](image, factors[k])
    return image


def auto_augment(
    step: AutoAugment, size: int, image: Image.Image, random: Generator
) -> Image.Image:
    """One sub-policy's operations, each if its coin says so."""
    sub_policy = step.sub_policies[below(len(step.sub_policies), random)]
    for name, probability, level in sub_policy:
        if happens(probability, random):
            operation = next(one for one in step.operations if one.name == name)
            image = at_level(operation, level, image, step.fill, random)
    return image


def rand_augment(
    step: RandAugment, size: int, image: Image.Image, random: Generator
) -> Image.Image:
    """Operations drawn, each applied if its coin says so, at a level of its own."""
    for _ in range(step.count):
        operation = step.operations[below(len(step.operations), random)]
        if happens(step.probability, random):
            level = min(max(normal(step.level_mean, step.level_std, random), 0.0), step.level_mean)
            image = at_level(operation, level, image, step.fill, random)
    return image


def at_level(
    operation: Operation,
    level: float | None,
    image: Image.Image,
    fill: Colour,
    random: Generator,
) -> Image.Image:
    """The operation at `level`, its sign and interpolation drawn where it has several."""
    if operation.neutral is None or level is None:
        return operate(operation.name, image)
    magnitude = _magnitude(operation, level, random)
    if not operation.interpolations:
        return operate(operation.name, image, magnitude)
    among = operation.interpolations
    interpolation = among[below(len(among), random)] if len(among) > 1 else among[0]
    return operate(operation.name, image, magnitude, interpolation=interpolation, fill=fill)


def _magnitude(operation: Operation, level: float, random: Generator) -> float:
    magnitude = operation.offset + operation.slope * level
    if operation.whole == "down":
        return math.floor(magnitude + 1e-9)  # 4 may be computed as 3.9999999999999996
    if operation.whole == "nearest":
        return round(magnitude)
    if operation.either_sign and operation.neutral is not None and happens(0.5, random):
        return 2 * operation.neutral - magnitude
    return magnitude


def cutout(step: Cutout, size: int, image: Image.Image, random: Generator) -> Image.Image:
    """A copy with the square filled."""
    if not happens(step.probability, random):
        return image
    side = round(step.side)
    left = below(image.width, random) - side // 2
    top = below(image.height, random) - side // 2
    image = image.copy()
    image.paste(step.fill, (left, top, left + side, top + side))
    return image


PERFORM: dict[type, Callable[..., Image.Image]] = {
    RandomResizedCrop: random_resized_crop,
    Resize: resize,
    CenterCrop: center_crop,
    PaddedCrop: padded_crop,
    HorizontalFlip: horizontal_flip,
    Rotation: rotation,
    ColorJitter: color_jitter,
    AutoAugment: auto_augment,
    RandAugment: rand_augment,
    Cutout: cutout,
}
