"""The data sets by name: what `--dataset` means is decided here and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.settings import check_folder_name
from dataloader import array_file
from dataloader.cifar import CIFAR100
from dataloader.imagenet import IMAGENET, IMAGENET_LT
from dataloader.images import DataSet, Images, evenly_spaced
from dataloader.parquet_folder import holds_parquet, load_parquet
from dataloader.subsets import select, tail_counts
from dataloader.synthetic import SYNTHETIC
from dataloader.views import VIEW_FAMILIES

DATASETS = {
    "CIFAR100": CIFAR100,
    "synthetic": SYNTHETIC,
    "ImageNet": IMAGENET,
    "ImageNet_LT": IMAGENET_LT,
}
TAILS = {"": None, "_imb10": 10, "_imb50": 50, "_imb100": 100}  # of a name: what a tail divides by


@dataclass(frozen=True)
class DatasetName:
    """A data set's name taken apart: `CIFAR100_imb50` is CIFAR100 at an imbalance of 50.

    views: of VIEW_FAMILIES, where it is a user's name for images of their own, else None.
    """

    base: str
    imbalance: int | None
    views: str | None = None

    @property
    def data_set(self) -> DataSet:
        """How its images are read and viewed."""
        if self.views is None:
            return DATASETS[self.base]
        return replace(IMAGENET, view=VIEW_FAMILIES[self.views], statistics=None)

    def at(self, place: Path) -> DataSet:
        """The same for what is at `place`: images of the user's own may be arrays in a file, or
        Parquet files in a folder."""
        load: Callable[[Path, str], Images | None] = array_file.load_arrays
        if self.views is not None and (has_validation := holds_parquet(place)):
            load = load_parquet
        elif self.views is None or not place.is_file():
            return self.data_set
        return replace(
            self.data_set,
            load=lambda path, split, _: load(path, split),
            class_names=lambda _: (),  # asked for lists alone
            load_list=array_file.refuse_lists,
            has_validation=has_validation,
        )


def parse_dataset(name: str, views: str | None = None) -> DatasetName:
    """Take a data set's name apart; UserError when there is none of that name.

    With `views` (of VIEW_FAMILIES) any name that is safe as a folder's is that of images of the
    user's own, but for the names of the built-in sets.
    """
    base, tail = _taken_apart(name)
    if tail not in TAILS or (views is None and base not in DATASETS):
        known = ", ".join(DATASETS)
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
    taken = next((known for known in DATASETS if known.lower() == name.lower()), None)
    if taken is not None:
        raise UserError(
            f"{taken} has its views: leave --views out, or name images of your own otherwise"
        )
    check_folder_name("--dataset", name)


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
    """The "train", "validation" or "test" split of data set `name`, below the folder `data_path`,
    or, of images of the user's own, in that file of arrays or folder of Parquet files.

    A long-tailed set is the balanced one's training split cut down; its test split stays
    balanced. `views` is as in `parse_dataset`; `train_list` and `test_list` replace the training
    and the test split by the images of a list file; `list_path` is the folder of ImageNet-LT's
    lists; `most` leaves so many evenly spaced images of what is stored, before a tail is cut (0:
    all). None for a validation split that the set does not have. UserError where there is but one
    class.
    """
    dataset = parse_dataset(name, views)
    chosen = {"train": train_list, "test": test_list}.get(split)
    images = _stored(dataset.at(data_path), split, data_path, chosen, list_path)
    if images is None:
        return None
    if images.num_classes < 2:
        raise UserError(f"{data_path / 'train'} has one class folder: two are needed at least")
    if most:
        images = images.subset(evenly_spaced(len(images), most))
    if split == "train" and chosen is None and dataset.imbalance is not None:
        return _long_tailed(images, dataset.imbalance)
    return images


def _stored(
    data_set: DataSet, split: str, root: Path, list_file: Path | None, list_path: Path | None
) -> Images | None:
    if list_file is not None:
        return data_set.load_list(root, list_file, data_set.class_names(root))
    if split == "validation" and not data_set.has_validation:
        return None
    return data_set.load(root, split, list_path)


def _long_tailed(images: Images, ratio: int) -> Images:
    available = np.bincount(images.labels, minlength=images.num_classes)
    return images.subset(select(images.labels, tail_counts(available, ratio)))
