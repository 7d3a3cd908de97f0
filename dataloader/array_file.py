"""A data set in one .npz file: arrays of images and of their labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from common.checked_zip import read_any_npz
from common.errors import UserError, shown
from dataloader.images import ImageSet

SPLITS = ("train", "test")
CLASSES = "classes"


def load_arrays(path: Path, split: str) -> ImageSet:
    """The "train" or "test" split in a file of `x_train`, `y_train`, `x_test` and `y_test`.

    x: (N, H, W, 3) uint8, or (N, H, W) and (N, H, W, 1) of grey; y: (N,) or (N, 1) class numbers
    from 0. `classes`, (C,) text, names the classes; without it they are called by their numbers,
    up to the largest of both splits. UserError where an array is missing or of another kind.
    """
    names = [f"x_{split}", *(f"y_{each}" for each in SPLITS)]
    arrays, found = read_any_npz(path, (*names, CLASSES))
    if missing := [name for name in names if name not in arrays]:
        raise UserError(
            f"{path} holds {shown(found)} and no {missing[0]}: x_train, y_train, x_test and y_test "
            "are needed"
        )
    labels = {each: checked_labels(arrays[f"y_{each}"], f"{path}: y_{each}") for each in SPLITS}
    images = _pixels(arrays[f"x_{split}"], f"{path}: x_{split}")
    if len(images) != len(labels[split]):
        raise UserError(f"{path}: {len(images)} images and {len(labels[split])} labels to {split}")
    classes = checked_class_names(str(path), arrays.get(CLASSES), labels)
    return ImageSet(images, labels[split], classes)


def refuse_lists(path: Path, list_file: Path, names: tuple[str, ...]) -> ImageSet:
    """UserError: a list names files, and here are none."""
    raise UserError(f"{list_file} lists files of images, and {path} holds none: leave it out")


def _pixels(images: np.ndarray, where: str) -> np.ndarray:
    """(N, H, W, 3), a view of grey levels repeated."""
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.dtype != np.uint8 or images.shape[-1] not in (1, 3):
        first = images.ndim == 4 and images.shape[1] in (1, 3)
        raise UserError(
            f"{where} is {images.dtype} of shape {images.shape}: uint8 of shape (N, H, W, 3) is "
            f"needed{', the colours last: x.transpose(0, 2, 3, 1)' if first else ''}"
        )
    if 0 in images.shape:
        raise UserError(f"{where} holds no images: its shape is {images.shape}")
    return np.ascontiguousarray(np.broadcast_to(images, (*images.shape[:3], 3)))


def checked_labels(labels: np.ndarray, where: str) -> np.ndarray:
    """(N,) int64 of class numbers, (N,) or (N, 1); UserError where they are none."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UserError(
            f"{where} is {labels.dtype} of shape {labels.shape}: one class number an image is "
            "needed"
        )
    if len(labels) and labels.min() < 0:
        raise UserError(f"{where} holds {labels.min()}: class numbers begin at 0")
    return labels.astype(np.int64)


def checked_class_names(
    where: str, names: np.ndarray | None, labels: Mapping[str, np.ndarray]
) -> tuple[str, ...]:
    """`names`, (C,) text, or without them the numbers up to the largest of the `labels` of all
    splits. UserError where they do not fit the labels, or "train" has no image of a number."""
    classes = 1 + max(int(label.max(initial=-1)) for label in labels.values())
    if names is None:
        empty = classes - len(np.unique(labels["train"]))
        if classes < 2 or empty:
            raise UserError(
                f"{where}: the training split has no image of {empty} of {classes} classes, two "
                "classes are needed at least: number them from 0, or name them in the file"
            )
        return tuple(map(str, range(classes)))
    if names.ndim != 1 or names.dtype.kind not in "US" or len(names) < max(classes, 2):
        raise UserError(
            f"{where}: {CLASSES} names {names.shape} classes, the labels are of {classes}"
        )
    return tuple(map(str, names.astype(np.str_)))
