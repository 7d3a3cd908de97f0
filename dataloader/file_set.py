"""A labelled set of images that stay on disk: what a data set too large for memory becomes."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from dataloader.image_file import read_rgb
from dataloader.image_set import evenly_spaced, fingerprint_of

SIZED_FILES = 100_000


@dataclass(frozen=True)
class FileImageSet:
    """One split of a data set whose images are read when asked for.

    text: uint8, relative paths end to end; spans: (N, 2) int64, where in it each path begins and
    ends; labels: (N,) int64 in [0, number of classes).

    There is no Python object per image: a forked worker that reads one would write its reference
    count, and so end up with a copy of all of them. Subsets share `text`.
    """

    root: Path
    text: np.ndarray
    spans: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    masks: None = None

    @classmethod
    def of(
        cls, root: Path, entries: Iterable[tuple[str, int]], class_names: tuple[str, ...]
    ) -> FileImageSet:
        """The images root / path of the (path, label) `entries`, in their order."""
        text, ends, labels = pack(entries)
        return cls(root, text, spans_of(ends), labels, class_names)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """Number of classes, whether or not each has an image in this split."""
        return len(self.class_names)

    def relative_path(self, index: int) -> str:
        """Where the image at `index` is below the root, with forward slashes."""
        start, end = self.spans[index]
        return os.fsdecode(self.text[start:end].tobytes())

    def path(self, index: int) -> Path:
        """The file of the image at `index`."""
        return self.root / self.relative_path(index)

    def image(self, index: int) -> Image.Image:
        """The image at `index` as an RGB Pillow image.

        As torchvision's loader has it, whatever the file holds (grey, CMYK, a PNG named .JPEG), but
        for levels of more than 8 bits (`read_rgb`); its EXIF orientation is not applied. UserError
        when it is missing, truncated or corrupt.
        """
        return read_rgb(self.path(index))

    def subset(self, indices: np.ndarray) -> FileImageSet:
        """The images at `indices` (1-d integers), in that order."""
        return replace(self, spans=self.spans[indices], labels=self.labels[indices])

    def fingerprint(self) -> str:
        """SHA-256 of all names, labels and class names and of the sizes of at most SIZED_FILES
        evenly spaced files (-1 where one is missing): cheap for a million of them."""
        rows = evenly_spaced(len(self), SIZED_FILES)
        sizes = np.array([_size(self.path(row)) for row in rows], np.int64)
        return fingerprint_of(self.class_names, self.text, self.spans, self.labels, sizes)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def pack(entries: Iterable[tuple[str, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of (path, label) pairs: paths end to end (uint8), where each ends and labels (N,) int64."""
    text, ends, labels = bytearray(), array("q"), array("q")
    for path, label in entries:
        text += os.fsencode(path)
        ends.append(len(text))
        labels.append(label)
    return np.array(text, np.uint8), np.array(ends, np.int64), np.array(labels, np.int64)


def spans_of(ends: np.ndarray) -> np.ndarray:
    """(N, 2) starts and ends of neighbours that end at `ends` (N,)."""
    return np.column_stack((np.concatenate(([0], ends))[:-1], ends)).astype(np.int64)
