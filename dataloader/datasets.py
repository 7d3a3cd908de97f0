"""The data sets by name: what `--dataset` means is decided here and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataloader.cifar import load_cifar100
from dataloader.errors import DataError
from dataloader.image_list import load_listed
from dataloader.image_set import ImageSet
from dataloader.long_tail import exponential_counts, select
from dataloader.synthetic import load_synthetic
from dataloader.views import CIFAR_STATISTICS, Statistics, View, cifar_view

IMBALANCE_RATIOS = (10, 50, 100)


@dataclass(frozen=True)
class Family:
    """What the balanced data set and its long-tailed versions have in common."""

    load: Callable[[Path, str], ImageSet]  # (data root, "train" or "test")
    view: Callable[[str, int], View]
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
    """Take a data set's name apart; DataError when there is none of that name."""
    match = re.fullmatch(r"(.+?)(?:_imb(\d+))?", name)
    base, imbalance = (match[1], match[2] and int(match[2])) if match else (name, None)
    if base not in _families() or imbalance not in (None, *IMBALANCE_RATIOS):
        known = ", ".join(_families())
        tails = ", ".join(f"_imb{ratio}" for ratio in IMBALANCE_RATIOS)
        raise DataError(f"unknown data set {name!r}: use {known}, or one of them with {tails}")
    return DatasetName(base, imbalance)


def load_split(
    name: str, split: str, data_path: Path, *, train_list: Path | None = None
) -> ImageSet:
    """The "train" or "test" split of data set `name`, below the folder `data_path`.

    A long-tailed set is the balanced one's training split cut down; its test split stays
    balanced. `train_list` replaces the training split by the images of a list file.
    """
    dataset = parse_dataset(name)
    images = dataset.family.load(data_path, split)
    if split != "train":
        return images
    if train_list is not None:
        return load_listed(train_list, data_path, images.class_names)
    return images if dataset.imbalance is None else _long_tailed(images, dataset.imbalance)


def _long_tailed(images: ImageSet, ratio: int) -> ImageSet:
    largest = int(np.bincount(images.labels).max())
    counts = exponential_counts(largest, ratio, images.num_classes)
    return images.subset(select(images.labels, counts))


def _families() -> dict[str, Family]:
    return {
        "CIFAR100": Family(load_cifar100, cifar_view, CIFAR_STATISTICS),
        "synthetic": Family(_load_synthetic, cifar_view, CIFAR_STATISTICS),
    }


def _load_synthetic(data_path: Path, split: str) -> ImageSet:
    return load_synthetic(split)
