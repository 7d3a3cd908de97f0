"""The data sets by name: what `--dataset` means is decided here and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataloader.cifar import class_names as cifar_class_names
from dataloader.cifar import load_cifar100
from dataloader.errors import UserError
from dataloader.image_list import load_listed
from dataloader.image_set import Images
from dataloader.imagenet import class_names as imagenet_class_names
from dataloader.imagenet import load_image_list, load_imagenet, load_imagenet_lt
from dataloader.long_tail import exponential_counts, select
from dataloader.synthetic import CLASS_NAMES, load_synthetic
from dataloader.views import (
    CIFAR_STATISTICS,
    IMAGENET_STATISTICS,
    Statistics,
    View,
    cifar_view,
    imagenet_view,
)

IMBALANCE_RATIOS = (10, 50, 100)


@dataclass(frozen=True)
class Family:
    """What a data set and its long-tailed versions have in common.

    load: (data root, split, folder of lists or None) to the split "train", "validation" or
    "test", None where the set has no validation split of its own;
    view: (name, size, strength=1.0) to the view;
    class_names: data root to the names of all classes;
    load_list: (list file, data root, class names) to the listed images.
    """

    load: Callable[[Path, str, Path | None], Images | None]
    class_names: Callable[[Path], tuple[str, ...]]
    load_list: Callable[[Path, Path, tuple[str, ...]], Images]
    view: Callable[..., View]
    statistics: Statistics


@dataclass(frozen=True)
class DatasetName:
    """A data set's name taken apart: `CIFAR100_imb50` is CIFAR100 at an imbalance of 50."""

    base: str
    imbalance: int | None

    @property
    def family(self) -> Family:
        """How its images are read and viewed."""
        return _families()[self.base]


def parse_dataset(name: str) -> DatasetName:
    """Take a data set's name apart; UserError when there is none of that name."""
    match = re.fullmatch(r"(.+?)(?:_imb(\d+))?", name)
    base, imbalance = (match[1], match[2] and int(match[2])) if match else (name, None)
    if base not in _families() or imbalance not in (None, *IMBALANCE_RATIOS):
        known = ", ".join(_families())
        tails = ", ".join(f"_imb{ratio}" for ratio in IMBALANCE_RATIOS)
        raise UserError(f"unknown data set {name!r}: use {known}, or one of them with {tails}")
    return DatasetName(base, imbalance)


def load_split(
    name: str,
    split: str,
    data_path: Path,
    *,
    train_list: Path | None = None,
    list_path: Path | None = None,
) -> Images | None:
    """The "train", "validation" or "test" split of data set `name`, below the folder `data_path`.

    A long-tailed set is the balanced one's training split cut down; its test split stays
    balanced. `train_list` replaces the training split by the images of a list file; `list_path`
    is the folder of ImageNet-LT's lists. None for a validation split that the set does not have.
    """
    dataset = parse_dataset(name)
    family = dataset.family
    if split == "train" and train_list is not None:
        return family.load_list(train_list, data_path, family.class_names(data_path))
    images = family.load(data_path, split, list_path)
    if split == "train" and dataset.imbalance is not None:
        return _long_tailed(images, dataset.imbalance)
    return images


def _long_tailed(images: Images, ratio: int) -> Images:
    largest = int(np.bincount(images.labels).max())
    counts = exponential_counts(largest, ratio, images.num_classes)
    return images.subset(select(images.labels, counts))


def _families() -> dict[str, Family]:
    cifar = (load_listed, cifar_view, CIFAR_STATISTICS)
    imagenet = (_load_imagenet_list, imagenet_view, IMAGENET_STATISTICS)
    return {
        "CIFAR100": Family(_load_cifar100, cifar_class_names, *cifar),
        "synthetic": Family(_load_synthetic, _synthetic_class_names, *cifar),
        "ImageNet": Family(_load_imagenet, imagenet_class_names, *imagenet),
        "ImageNet_LT": Family(_load_imagenet_lt, imagenet_class_names, *imagenet),
    }


def _load_cifar100(data_path: Path, split: str, list_path: Path | None) -> Images | None:
    return None if split == "validation" else load_cifar100(data_path, split)


def _load_synthetic(data_path: Path, split: str, list_path: Path | None) -> Images | None:
    return None if split == "validation" else load_synthetic(split)


def _synthetic_class_names(data_path: Path) -> tuple[str, ...]:
    return CLASS_NAMES


def _load_imagenet(data_path: Path, split: str, list_path: Path | None) -> Images | None:
    return None if split == "validation" else load_imagenet(data_path, split)


def _load_imagenet_lt(data_path: Path, split: str, list_path: Path | None) -> Images | None:
    return load_imagenet_lt(data_path, split, list_path=list_path)


def _load_imagenet_list(path: Path, data_path: Path, class_names: tuple[str, ...]) -> Images:
    return load_image_list(data_path, path, class_names)
