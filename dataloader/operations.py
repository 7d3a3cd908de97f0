"""The picture operations of the strong views: RGB Pillow image and magnitude in, new image out.

Each gives the pixels of Pillow's own operation of that name, often for less: a table of 256 levels
is worked out in numpy, and nothing leaves Pillow's memory.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from dataloader.steps import BLACK, Colour

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
LEVELS = np.arange(256)


def operate(
    name: str,
    image: Image.Image,
    magnitude: float | None = None,
    *,
    interpolation: str = "nearest",
    fill: Colour = BLACK,
) -> Image.Image:
    """The operation `name` at `magnitude`; those that move pixels fill what they uncover."""
    if name in MOVING:
        return MOVING[name](image, magnitude, INTERPOLATIONS[interpolation], fill)
    if name in PLAIN:
        return PLAIN[name](image)
    return GRADED[name](image, magnitude)


# Moving pixels


def rotate(
    image: Image.Image, degrees: float, resample: Image.Resampling, fill: Colour
) -> Image.Image:
    """Counter-clockwise about the middle."""
    return image.rotate(degrees, resample, fillcolor=fill)


def shear_x(
    image: Image.Image, slope: float, resample: Image.Resampling, fill: Colour
) -> Image.Image:
    """Rows to the left, the further down the more, by `slope` pixels a row."""
    return _affine(image, (1, slope, 0, 0, 1, 0), resample, fill)


def shear_y(
    image: Image.Image, slope: float, resample: Image.Resampling, fill: Colour
) -> Image.Image:
    """Columns up, the further right the more, by `slope` pixels a column."""
    return _affine(image, (1, 0, 0, slope, 1, 0), resample, fill)


def translate_x(
    image: Image.Image, share: float, resample: Image.Resampling, fill: Colour
) -> Image.Image:
    """To the left by `share` of the width."""
    return _affine(image, (1, 0, share * image.width, 0, 1, 0), resample, fill)


def translate_y(
    image: Image.Image, share: float, resample: Image.Resampling, fill: Colour
) -> Image.Image:
    """Up by `share` of the height."""
    return _affine(image, (1, 0, 0, 0, 1, share * image.height), resample, fill)


def _affine(
    image: Image.Image, matrix: tuple[float, ...], resample: Image.Resampling, fill: Colour
) -> Image.Image:
    """Pillow's matrix leads from a pixel of the result to one of `image`."""
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, resample=resample, fillcolor=fill
    )


# Changing colours, with a magnitude


def brightness(image: Image.Image, factor: float) -> Image.Image:
    """From black (0) over the image (1) on."""
    return Image.blend(Image.new("RGB", image.size), image, factor)


def contrast(image: Image.Image, factor: float) -> Image.Image:
    """From the mean grey (0) over the image (1) on."""
    counts = image.convert("L").histogram()
    mean = int(int(np.dot(counts, LEVELS)) / (image.width * image.height) + 0.5)
    return Image.blend(Image.new("RGB", image.size, (mean, mean, mean)), image, factor)


def color(image: Image.Image, factor: float) -> Image.Image:
    """From grey (0) over the image (1) to stronger colours."""
    return Image.blend(image.convert("L").convert("RGB"), image, factor)


def sharpness(image: Image.Image, factor: float) -> Image.Image:
    """From smoothed (0) over the image (1) to sharper."""
    return Image.blend(image.filter(ImageFilter.SMOOTH), image, factor)


def posterize(image: Image.Image, bits: int) -> Image.Image:
    """Keep the `bits` highest bits of each channel."""
    return _looked_up(image, LEVELS & ~(2 ** (8 - bits) - 1))


def solarize(image: Image.Image, threshold: float) -> Image.Image:
    """Invert the channels at or above `threshold`."""
    return _looked_up(image, np.where(threshold <= LEVELS, 255 - LEVELS, LEVELS))


def solarize_add(image: Image.Image, added: int) -> Image.Image:
    """Add to the channels below 128."""
    return _looked_up(image, np.where(LEVELS < 128, np.minimum(LEVELS + added, 255), LEVELS))


# Changing colours, without one


def autocontrast(image: Image.Image) -> Image.Image:
    """Each channel's darkest level to 0, its lightest to 255, those between in proportion."""
    counts = np.reshape(image.histogram(), (3, 256))
    return _looked_up(image, np.concatenate([_stretch(channel) for channel in counts]))


def _stretch(counts: np.ndarray) -> np.ndarray:
    (present,) = counts.nonzero()
    low, high = present[0], present[-1]
    if low == high:
        return LEVELS
    scale = 255.0 / (high - low)
    return np.clip((LEVELS * scale - low * scale).astype(int), 0, 255)


def equalize(image: Image.Image) -> Image.Image:
    """Each channel's levels spread as evenly as their order allows."""
    counts = np.reshape(image.histogram(), (3, 256))
    return _looked_up(image, np.concatenate([_spread(channel) for channel in counts]))


def _spread(counts: np.ndarray) -> np.ndarray:
    (present,) = counts.nonzero()
    step = (counts.sum() - counts[present[-1]]) // 255
    if step == 0:
        return LEVELS
    darker = np.cumsum(counts) - counts
    return np.minimum((step // 2 + darker) // step, 255)


def _looked_up(image: Image.Image, table: np.ndarray) -> Image.Image:
    """Each level replaced by the table's: 256 entries for all channels, or 256 for each."""
    return image.point(table.tolist() * (768 // len(table)))


MOVING: dict[str, Callable[..., Image.Image]] = {
    "rotate": rotate,
    "shear_x": shear_x,
    "shear_y": shear_y,
    "translate_x": translate_x,
    "translate_y": translate_y,
}
GRADED: dict[str, Callable[..., Image.Image]] = {
    "brightness": brightness,
    "contrast": contrast,
    "color": color,
    "sharpness": sharpness,
    "posterize": posterize,
    "solarize": solarize,
    "solarize_add": solarize_add,
}
PLAIN: dict[str, Callable[[Image.Image], Image.Image]] = {
    "autocontrast": autocontrast,
    "equalize": equalize,
    "invert": ImageChops.invert,
}
