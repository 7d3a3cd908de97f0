"""Images with labels and class names, in memory or as files; reading one; what makes a data set."""

from __future__ import annotations

import errno
import hashlib
import os
import warnings
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, UnidentifiedImageError

from common.errors import UserError
from common.files import regular
from dataloader.views import Statistics, View

# Errors that say nothing of the file: --on-bad-image skip must not leave it out for them.
OF_THE_MACHINE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
# Each is decoded inside this process. Of the others Pillow hands some to a program of the
# machine: PostScript, whatever its file is called, to Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM", "TIFF")

SCALED_TO_16_BITS = ("PNG", "PPM")  # what Pillow's mode I, of 32 bits, holds of these
BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # tags of TIFF, and a value of one


def read_rgb(source: Path | BytesIO, name: object = None) -> Image.Image:
    """The image file `source`, decoded and RGB, 8 bits a channel; messages call it `name`, else its
    path.

    Pillow's convert("RGB") of what the file holds, but for grey levels of 12 or 16 bits: Pillow
    clips them, here their upper 8 bits are taken, as Pillow does of colours. UserError when it is
    missing, corrupt, of a format that is not in FORMATS, of levels whose range it does not say
    (floating point, 32 bits), or of more pixels than Pillow allows (some 89 million); OSError when
    the machine has no room for it. Pillow's warnings, of odd metadata, are not passed on: an image
    would tell of them at each reading.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _decoded(source)
    except UserError:
        raise
    except UnidentifiedImageError:
        reason = f"it is none of {', '.join(FORMATS)}"
    except Exception as error:  # a damaged file can raise nearly anything
        if getattr(error, "errno", None) in OF_THE_MACHINE:
            raise
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or repr(error)
    raise UserError(f"cannot read the image {name or source}: {reason}")


def _decoded(source: Path | BytesIO) -> Image.Image:
    file = regular(source) if isinstance(source, Path) else source
    with Image.open(file, formats=FORMATS) as opened:
        opened.load()
        image: Image.Image = opened
        if image.mode.startswith(("I", "F")):
            image = _upper_bits(image)
        if image.mode == "La":  # converts to nothing else
            image = image.convert("LA")
        return image if image.mode == "RGB" else image.convert("RGB")  # else a copy


def _upper_bits(image: Image.Image) -> Image.Image:
    """The 8 upper bits of grey levels that have more."""
    tags = getattr(image, "tag_v2", {})  # of a TIFF file
    if image.mode.startswith("I;16"):
        bits = tags.get(BITS_PER_SAMPLE, (16,))[0]
    elif image.mode == "I" and image.format in SCALED_TO_16_BITS:
        bits = 16
    else:
        raise ValueError(f"its levels (mode {image.mode}) have no known range: make them 8 bits")
    levels = (np.asarray(image) >> (bits - 8)).astype(np.uint8)
    return Image.fromarray(255 - levels if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else levels)


class Images(Protocol):
    """What loaders and measures ask of a split, wherever its pixels are."""

    def __len__(self) -> int: ...

    @property
    def labels(self) -> np.ndarray:
        """(N,) int64 in [0, num_classes)."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """By class, whether or not each has an image in this split."""
        ...

    @property
    def masks(self) -> np.ndarray | None:
        """(N, H, W) bool, True on the object, where the data set knows it."""
        ...

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


class Labelled:
    """What every kind of split says by its labels and class names."""

    labels: np.ndarray
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """Number of classes, whether or not each has an image in this split."""
        return len(self.class_names)


@dataclass(frozen=True)
class ImageSet(Labelled):
    """One split of a data set.

    images: (N, H, W, 3) uint8; labels: (N,) int64 in [0, number of classes);
    masks: (N, H, W) bool, True on the object, where the data set knows it.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    masks: np.ndarray | None = None

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
    for values in arrays:
        digest.update(f"{values.dtype} {values.shape}".encode())
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


SIZED_FILES = 100_000


@dataclass(frozen=True)
class FileImageSet(Labelled):
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


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """What a data set and its long-tailed versions have in common: an entry of `datasets.DATASETS`.

    load: (data root, split, folder of lists or None) to the split "train", "validation" or "test";
    "validation" is asked for if `has_validation`, and None where it is not there;
    class_names: data root to the names of all classes, by label;
    load_list: (data root, list file, class names) to the listed images;
    view: (name, size, strength=1.0) to the view: of views.VIEW_FAMILIES;
    statistics: of its channels; None where they must be given or measured
    (`dataloader.channel_statistics`).
    """

    load: Callable[[Path, str, Path | None], Images | None]
    class_names: Callable[[Path], tuple[str, ...]]
    load_list: Callable[[Path, Path, tuple[str, ...]], Images]
    view: Callable[..., View]
    statistics: Statistics | None
    has_validation: bool = False
