"""The data sets by name: what `--dataset` means is decided here and nowhere else."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import UserError
from dataloader.cifar import class_names as cifar_class_names
from dataloader.cifar import load_cifar100
from dataloader.image_list import load_listed
from dataloader.imagenet import class_names as imagenet_class_names
from dataloader.imagenet import load_image_list, load_imagenet, load_imagenet_lt
from dataloader.images import Images, evenly_spaced
from dataloader.subsets import select, tail_counts
from dataloader.synthetic import CLASS_NAMES, load_synthetic
from dataloader.views import (
    CIFAR_STATISTICS,
    IMAGENET_STATISTICS,
    VIEW_FAMILIES,
    Statistics,
    View,
    cifar_view,
    imagenet_view,
)

TAILS = {"": None, "_imb10": 10, "_imb50": 50, "_imb100": 100}  # of a name: what a tail divides by


@dataclass(frozen=True)
class Family:
    """What a data set and its long-tailed versions have in common.

    load: (data root, split, folder of lists or None) to the split "train", "validation" or
    "test", None where the set has no validation split of its own;
    view: (name, size, strength=1.0) to the view;
    class_names: data root to the names of all classes;
    load_list: (list file, data root, class names) to the listed images;
    statistics: None where they must be given or measured (`dataloader.channel_statistics`).
    """

    load: Callable[[Path, str, Path | None], Images | None]
    class_names: Callable[[Path], tuple[str, ...]]
    load_list: Callable[[Path, Path, tuple[str, ...]], Images]
    view: Callable[..., View]
    statistics: Statistics | None


@dataclass(frozen=True)
class DatasetName:
    """A data set's name taken apart: `CIFAR100_imb50` is CIFAR100 at an imbalance of 50.

    views: of VIEW_FAMILIES, where it is a user's name for images of their own, else None.
    """

    base: str
    imbalance: int | None
    views: str | None = None

    @property
    def family(self) -> Family:
        """How its images are read and viewed."""
        return _families()[self.base] if self.views is None else _own_family(self.views)


def parse_dataset(name: str, views: str | None = None) -> DatasetName:
    """Take a data set's name apart; UserError when there is none of that name.

    With `views` (of VIEW_FAMILIES) any name that is safe as a folder's is that of images of the
    user's own, but for the names of the built-in sets.
    """
    base, tail = _taken_apart(name)
    if tail not in TAILS or (views is None and base not in _families()):
        known = ", ".join(_families())
        tails = ", ".join(filter(None, TAILS))
        raise UserError(
            f"unknown data set {name!r}: use {known}, a name for images of your own with --views "
            f"{' or '.join(VIEW_FAMILIES)}, or one of them with {tails}"
        )
    if views is not None:
        _check_own_name(base)
    return DatasetName(base, TAILS[tail], views)


def _taken_apart(name: str) -> tuple[str, str]:
    """The name before its tail, and the tail. `_imb` is meant as one with anything but a letter
    after it: `_imb010`, `_IMB10` or other scripts' digits do not make a set aside."""
    match = re.fullmatch(r"(.+?)(_imb(?![a-z]).*|)", name, re.IGNORECASE)
    return (match[1], match[2]) if match else (name, "")


def _check_own_name(name: str) -> None:
    """UserError for a name that is taken or may not be a folder's (of some system's)."""
    taken = next((known for known in _families() if known.lower() == name.lower()), None)
    if taken is not None:
        raise UserError(
            f"{taken} has its views: leave --views out, or name images of your own otherwise"
        )
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UserError(
            f"the data set's name {name!r} names a folder: use letters, digits, '.', '_' and '-', "
            "first a letter or a digit"
        )


def load_split(
    name: str,
    split: str,
    data_path: Path,
    *,
    views: str | None = None,
    train_list: Path | None = None,
    test_list: Path | None = None,
    list_path: Path | None = None,
    most: int = 0,
) -> Images | None:
    """The "train", "validation" or "test" split of data set `name`, below the folder `data_path`.

    A long-tailed set is the balanced one's training split cut down; its test split stays
    balanced. `views` is as in `parse_dataset`; `train_list` and `test_list` replace the training
    and the test split by the images of a list file; `list_path` is the folder of ImageNet-LT's
    lists; `most` leaves so many evenly spaced images of what is stored, before a tail is cut (0:
    all). None for a validation split that the set does not have. UserError where there is but one
    class.
    """
    dataset = parse_dataset(name, views)
    family = dataset.family
    chosen = {"train": train_list, "test": test_list}.get(split)
    if chosen is None:
        images = family.load(data_path, split, list_path)
    else:
        images = family.load_list(chosen, data_path, family.class_names(data_path))
    if images is None:
        return None
    if images.num_classes < 2:
        raise UserError(f"{data_path / 'train'} has one class folder: two are needed at least")
    if most:
        images = images.subset(evenly_spaced(len(images), most))
    if split == "train" and chosen is None and dataset.imbalance is not None:
        return _long_tailed(images, dataset.imbalance)
    return images


def _long_tailed(images: Images, ratio: int) -> Images:
    available = np.bincount(images.labels, minlength=images.num_classes)
    return images.subset(select(images.labels, tail_counts(available, ratio)))


def _families() -> dict[str, Family]:
    cifar = (load_listed, cifar_view, CIFAR_STATISTICS)
    imagenet = (_load_imagenet_list, imagenet_view, IMAGENET_STATISTICS)
    return {
        "CIFAR100": Family(_load_cifar100, cifar_class_names, *cifar),
        "synthetic": Family(_load_synthetic, _synthetic_class_names, *cifar),
        "ImageNet": Family(_load_imagenet, imagenet_class_names, *imagenet),
        "ImageNet_LT": Family(_load_imagenet_lt, imagenet_class_names, *imagenet),
    }


def _own_family(views: str) -> Family:
    view = VIEW_FAMILIES[views]
    return Family(_load_imagenet, imagenet_class_names, _load_imagenet_list, view, statistics=None)


def _load_cifar100(data_path: Path, split: str, list_path: Path | None) -> Images | None:
    return None if split == "validation" else load_cifar100(data_path, split)


def _load_synthetic(data_path: Path, split: str, list_path: Path | None) -> Images | None:
    return None if split == "validation" else _rendered(split)


@functools.cache
def _rendered(split: str) -> Images:
    """Once in a process, which may train and measure many nets: rendering takes as long as asking
    one of them. All share the arrays, which nobody writes to."""
    return load_synthetic(split)


def _synthetic_class_names(data_path: Path) -> tuple[str, ...]:
    return CLASS_NAMES


def _load_imagenet(data_path: Path, split: str, list_path: Path | None) -> Images | None:
    return None if split == "validation" else load_imagenet(data_path, split)


def _load_imagenet_lt(data_path: Path, split: str, list_path: Path | None) -> Images | None:
    return load_imagenet_lt(data_path, split, list_path=list_path)


def _load_imagenet_list(path: Path, data_path: Path, class_names: tuple[str, ...]) -> Images:
    return load_image_list(data_path, path, class_names)
