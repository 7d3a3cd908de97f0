"""The mean and standard deviation of images that come without published ones."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from common.errors import UserError
from common.files import read_json, write_json
from dataloader.images import Images, evenly_spaced
from dataloader.views import Statistics

MEASURED_IMAGES = 4_000  # leave the mean an error of about .003
DECIMALS = 4


def measured_statistics(images: Images, cache: Path) -> Statistics:
    """`channel_statistics`, kept in the file `cache` until the images change."""
    fingerprint = images.fingerprint()
    kept = _read_cache(cache, fingerprint)
    if kept is not None:
        return kept
    statistics = channel_statistics(images)
    try:
        write_json(cache, {"images": fingerprint, **vars(statistics)})
    except UserError as error:
        print(f"the measured mean is not kept for next time: {error}", file=sys.stderr)
    return statistics


def channel_statistics(images: Images) -> Statistics:
    """Mean and standard deviation of red, green and blue over all pixels, at their native size,
    of at most MEASURED_IMAGES evenly spaced images, each image weighing the same.

    Images that cannot be read are left out (the training pass tells of them). UserError where
    none can, or a channel is the same everywhere.
    """
    chosen = evenly_spaced(len(images), MEASURED_IMAGES)
    progress = tqdm(chosen, desc="measuring mean and deviation", unit="image", disable=None)
    shares, error = np.zeros((3, 256)), None  # of each level in each channel
    for index in progress:
        try:
            image = images.image(index)
        except UserError as unreadable:
            error = unreadable
            continue
        shares += np.reshape(image.histogram(), (3, 256)) / (image.width * image.height)
    if error is not None and not shares.any():
        raise error
    return _of_levels(shares / shares.sum(axis=1, keepdims=True))


def _of_levels(shares: np.ndarray) -> Statistics:
    """Statistics of channels whose levels 0 to 255 have these shares, (3, 256), summing to 1."""
    levels = np.arange(256) / 255
    mean = shares @ levels
    std = np.sqrt(((levels - mean[:, None]) ** 2 * shares).sum(axis=1))
    if not (std > 10**-DECIMALS).all():
        raise UserError("a channel is the same in all training images: give --mean and --std")
    return Statistics(*(tuple(np.round(values, DECIMALS).tolist()) for values in (mean, std)))


def _read_cache(cache: Path, fingerprint: str) -> Statistics | None:
    try:
        kept = read_json(cache)
        mean, std = (tuple(map(float, kept[name])) for name in ("mean", "std"))
        is_current = kept["images"] == fingerprint
    except (OSError, ValueError, KeyError, TypeError, OverflowError):  # none, or damaged
        return None
    return Statistics(mean, std) if is_current and _are_possible(mean, std) else None


def _are_possible(mean: tuple[float, ...], std: tuple[float, ...]) -> bool:
    """Whether levels between 0 and 1, three channels of them, can have these. A NaN cannot."""
    are_three = len(mean) == len(std) == 3
    return are_three and all(0 <= m <= 1 for m in mean) and all(0 < s <= 0.5 for s in std)
