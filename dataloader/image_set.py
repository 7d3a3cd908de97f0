"""Labelled images: what every data set becomes once loaded, in memory or on disk."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from PIL import Image


class Images(Protocol):
    """What loaders and measures ask of a split, wherever its pixels are.

    labels: (N,) int64 in [0, num_classes); masks: (N, H, W) bool, True on the object, or None.
    """

    labels: np.ndarray
    class_names: tuple[str, ...]
    masks: np.ndarray | None

    def __len__(self) -> int: ...

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        ...

    def image(self, index: int) -> Image.Image:
        """The image at `index`, RGB; UserError when it cannot be read."""
        ...

    def subset(self, indices: np.ndarray) -> Images:
        """The images at `indices`, in that order."""
        ...

    def fingerprint(self) -> str:
        """A text that differs where images, labels or classes do."""
        ...


@dataclass(frozen=True)
class ImageSet:
    """One split of a data set.

    images: (N, H, W, 3) uint8; labels: (N,) int64 in [0, number of classes);
    masks: (N, H, W) bool, True on the object, where the data set knows it.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    masks: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """Number of classes, whether or not each has an image in this split."""
        return len(self.class_names)

    def image(self, index: int) -> Image.Image:
        """The image at `index` as an RGB Pillow image."""
        return Image.fromarray(self.images[index])

    def subset(self, indices: np.ndarray) -> ImageSet:
        """The images at `indices` (1-d integers), in that order."""
        masks = None if self.masks is None else self.masks[indices]
        return replace(self, images=self.images[indices], labels=self.labels[indices], masks=masks)

    def fingerprint(self) -> str:
        """SHA-256 of all pixels, labels and class names."""
        return fingerprint_of(self.class_names, self.images, self.labels)


def evenly_spaced(size: int, most: int) -> np.ndarray:
    """Indices of at most `most` of `size` images, ascending, the first and the last among them."""
    return np.linspace(0, size - 1, min(size, most)).round().astype(np.int64)


def fingerprint_of(class_names: tuple[str, ...], *arrays: np.ndarray) -> str:
    """SHA-256 of class names and of arrays, their shapes included."""
    digest = hashlib.sha256(repr(class_names).encode())
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
