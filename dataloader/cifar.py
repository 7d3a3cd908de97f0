"""CIFAR-100 in memory, from the three files of its python version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError, shown
from dataloader.archive import FOLDER
from dataloader.images import ImageSet
from dataloader.plain_pickle import read_pickle

SPLITS = ("train", "test")
NUM_CLASSES = 100
SIDE = 32


def load_cifar100(root: Path, split: str) -> ImageSet:
    """The "train" or "test" split under the data root `root`.

    images (N, 32, 32, 3) uint8, labels (N,) int64 in [0, 100), both in archive order; N is
    whatever the file holds. Raises UserError if a file is missing or its content is invalid.
    """
    path, batch = _read_split(root, split)
    pixels = _checked_pixels(path, batch.get(b"data"))
    labels = _checked_labels(path, batch.get(b"fine_labels"), len(pixels))
    planes = pixels.reshape(-1, 3, SIDE, SIDE)
    images = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
    return ImageSet(images, np.array(labels, np.int64), class_names(root))


def load_file_names(root: Path, split: str) -> list[str]:
    """The N original file names of a split, in archive order and exactly as stored.

    Raises UserError if the file is missing or has no valid names.
    """
    path, batch = _read_split(root, split)
    return _strings(path, batch, b"filenames")


def _read_split(root: Path, split: str) -> tuple[Path, dict[Any, Any]]:
    if split not in SPLITS:
        raise UserError(f"CIFAR-100 has no split {split!r}, only {' and '.join(SPLITS)}")
    return _read_member(root, split)


def _read_member(root: Path, name: str) -> tuple[Path, dict[Any, Any]]:
    path = root / FOLDER / name
    if not path.is_file():
        raise UserError(
            f"CIFAR-100 is not prepared: {path} is missing; "
            "run `python dataloader/dealWith_cifar_dataset.py`"
        )
    return path, read_pickle(path)


def _checked_pixels(path: Path, pixels: object) -> np.ndarray:
    if not isinstance(pixels, np.ndarray):
        raise UserError(f"{path}: no array 'data' in it")
    if pixels.ndim != 2 or pixels.shape[1] != 3 * SIDE * SIDE or len(pixels) == 0:
        raise UserError(f"{path}: 'data' has shape {pixels.shape}, expected (N, 3072), N > 0")
    return pixels


def _checked_labels(path: Path, labels: object, count: int) -> list[int]:
    if not isinstance(labels, list):
        raise UserError(f"{path}: no list 'fine_labels' in it")
    if len(labels) != count:
        first = min(len(labels), count)
        raise UserError(
            f"{path}: {count} images but {len(labels)} labels, index {first} is the first unpaired"
        )
    for index, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < NUM_CLASSES:
            raise UserError(f"{path}: label {shown(label)} at index {index} is not in [0, 100)")
    return labels


def class_names(root: Path) -> tuple[str, ...]:
    """The 100 names, by label; UserError where the archive is not prepared or is damaged."""
    path, meta = _read_member(root, "meta")
    names = _strings(path, meta, b"fine_label_names")
    if len(names) != NUM_CLASSES:
        raise UserError(f"{path}: {len(names)} class names, expected {NUM_CLASSES}")
    return tuple(names)


def _strings(path: Path, content: dict[Any, Any], key: bytes) -> list[str]:
    values = content.get(key)
    if not isinstance(values, list):
        raise UserError(f"{path}: no list {key.decode()!r} in it")
    for index, value in enumerate(values):
        if not isinstance(value, bytes):
            raise UserError(f"{path}: {key.decode()} at index {index} is not a string")
    return [value.decode("latin-1") for value in values]  # never fails; published names are ASCII
