"""A user's own choice of images: a text file with `path label` a line."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from dataloader.errors import DataError
from dataloader.image_set import ImageSet

# What Pillow raises for a file that is not the image it seems to be.
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)


def read_list(path: Path, num_classes: int) -> list[tuple[str, int]]:
    """The (path, label) of each line; DataError names the file and line that cannot be used."""
    return [(name, label) for _, name, label in list_entries(path, num_classes)]


def list_entries(path: Path, num_classes: int) -> Iterator[tuple[int, str, int]]:
    """(line number, path, label) of each line, read as asked for; DataError as `read_list`."""
    is_empty = True
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    is_empty = False
                    yield number, *_entry(line, f"{path}, line {number}", num_classes)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the image list {path}: {error}") from None
    if is_empty:
        raise DataError(f"the image list {path} is empty: give `path label` a line")


def load_listed(list_path: Path, data_path: Path, class_names: tuple[str, ...]) -> ImageSet:
    """The listed images, paths relative to `data_path`, all of one size."""
    entries = read_list(list_path, len(class_names))
    images = [read_image(data_path / name) for name, _ in entries]
    odd = next((i for i, image in enumerate(images) if image.shape != images[0].shape), None)
    if odd is not None:
        raise DataError(f"{entries[odd][0]} in {list_path} differs in size from the first image")
    labels = np.array([label for _, label in entries], dtype=np.int64)
    return ImageSet(np.stack(images), labels, class_names)


def read_image(path: Path) -> np.ndarray:
    """The image file at `path` as (H, W, 3) uint8; DataError when it is missing or corrupt."""
    return np.asarray(read_rgb(path))


def read_rgb(path: Path) -> Image.Image:
    """The image file at `path`, decoded and RGB; DataError when it is missing or corrupt."""
    try:
        with Image.open(path) as image:
            image.load()
            return image if image.mode == "RGB" else image.convert("RGB")  # else a copy
    except _UNREADABLE as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(f"cannot read the image {path}: {reason}") from None


def _entry(line: str, where: str, num_classes: int) -> tuple[str, int]:
    name, _, label = line.strip().rpartition(" ")
    if not name or not label.isdecimal():
        raise DataError(f"{where}: {line.strip()!r} is not `path label`")
    if int(label) >= num_classes:
        raise DataError(f"{where}: label {label} is out of range 0 to {num_classes - 1}")
    return name.strip(), int(label)
