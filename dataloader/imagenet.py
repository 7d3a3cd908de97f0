"""ImageNet: class folders, and its validation images as they are distributed: in one flat folder,
labelled by a list val.txt, Kaggle's table LOC_val_solution.csv or the devkit."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from common.errors import UserError, shown
from common.files import read_text, regular
from dataloader.class_folders import by_form, class_folders, form, image_names, images_of_classes
from dataloader.image_list import checked_entries, resolved
from dataloader.images import DataSet, FileImageSet
from dataloader.views import IMAGENET_STATISTICS, imagenet_view

DEVKIT = Path("ILSVRC2012_devkit_t12", "data")
SOLUTION = "LOC_val_solution.csv"
KAGGLE = Path("ILSVRC", "Data", "CLS-LOC")  # below the table, where Kaggle's archive has train/
BOX = 5  # words a box: the class and four numbers


def flat_entries(root: Path, folder: Path, names: tuple[str, ...]) -> list[tuple[str, int]]:
    """(path, label) of each image of the flat `folder` below `root`, by class then file name.

    UserError when nothing labels them, or what does is damaged or labels other images.
    """
    files = image_names(folder)
    lists = [place / f"{folder.name}.txt" for place in (root, folder)]
    tables = [place / SOLUTION for place in (root, folder, *_above_kaggles(root))]
    if found := _first_there(lists):
        labels = _listed_labels(found, folder, files, names)
    elif found := _first_there(tables):
        labels = _solution_labels(found, folder, files, names)
    elif (root / DEVKIT).is_dir():
        labels = _devkit_labels(root / DEVKIT, folder, files, names)
    else:
        raise UserError(
            f"nothing labels the images of {folder}: put {lists[0].name} (lines `file label`), "
            f"{SOLUTION} (Kaggle's) or {DEVKIT.parent} into {root}, or move the images into class "
            f"folders; looked for {', '.join(map(str, [*lists, *tables, root / DEVKIT]))}"
        )
    ordered = sorted(zip(labels, files, strict=True))
    return [(f"{folder.name}/{file}", label) for label, file in ordered]


def _above_kaggles(root: Path) -> list[Path]:
    place = root.resolve()
    return [place.parents[2]] if place.parts[-3:] == KAGGLE.parts else []


def _first_there(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if path.exists()), None)


def _listed_labels(
    list_file: Path, folder: Path, files: list[str], names: tuple[str, ...]
) -> list[int]:
    entries = checked_entries(list_file, names)
    pairs = ((path.rpartition("/")[2], label) for _, path, label in entries)
    return _matched(list_file, _once(list_file, pairs), folder, files)


def _solution_labels(
    table: Path, folder: Path, files: list[str], names: tuple[str, ...]
) -> list[int]:
    """Kaggle names an image without its ending, and its class in front of each box in it."""
    label_of = {name: label for label, name in enumerate(names)}
    pairs = []
    for number, (image, boxes) in _rows(table):
        wnids = set(boxes.split()[::BOX])
        if len(wnids) != 1:
            raise UserError(f"{table}, line {number}: {shown(boxes)} does not name one class")
        wnid = form(wnids.pop())
        if wnid not in label_of:
            raise UserError(f"{table}, line {number}: {wnid} is not a folder of train/")
        pairs.append((image, label_of[wnid]))
    stems = [file.rpartition(".")[0] for file in files]
    return _matched(table, _once(table, pairs), folder, stems)


def _rows(table: Path) -> list[tuple[int, list[str]]]:
    """(line number, [ImageId, PredictionString]) of each row."""
    try:
        reader = csv.reader(read_text(table).splitlines())
        rows = [(reader.line_num, row) for row in reader if row]
    except (OSError, csv.Error) as error:
        raise UserError(f"cannot use {table}: {error}") from None
    wrong = next((number for number, row in rows if len(row) != 2), None)
    if not rows or rows[0][1] != ["ImageId", "PredictionString"] or wrong:
        raise UserError(
            f"{table}, line {wrong or 1}: not Kaggle's table of ImageId,PredictionString"
        )
    return rows[1:]


def _once(labels: Path, pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Label by name; UserError where a name has two."""
    label_of: dict[str, int] = {}
    for name, label in pairs:
        if label_of.setdefault(form(name), label) != label:
            raise UserError(f"{labels} has {shown(name)} twice, with different labels")
    return label_of


def _matched(labels: Path, label_of: dict[str, int], folder: Path, names: list[str]) -> list[int]:
    if unmatched := set(by_form(folder, names)) ^ set(label_of):
        raise UserError(f"{labels} and {folder} differ: {min(unmatched)} is in only one of them")
    return [label_of[form(name)] for name in names]


def _devkit_labels(
    devkit: Path, folder: Path, files: list[str], names: tuple[str, ...]
) -> list[int]:
    """Labels of the sorted `files`: line i of the ground truth is the ILSVRC id of image i."""
    truth = devkit / "ILSVRC2012_validation_ground_truth.txt"
    wnid_of = _devkit_classes(devkit / "meta.mat")
    try:
        wnids = [wnid_of[line] for line in read_text(truth).split()]
    except (OSError, KeyError) as error:
        raise UserError(f"cannot use {truth}: {error!r}") from None
    if len(wnids) != len(files):
        raise UserError(f"{truth} labels {len(wnids)} images, {folder} holds {len(files)}")
    if unknown := set(wnids) - set(names):
        raise UserError(f"{truth} has images of {min(unknown)}, which is not a folder of train/")
    label_of = {wnid: label for label, wnid in enumerate(names)}
    return [label_of[wnid] for wnid in wnids]


def _devkit_classes(meta: Path) -> dict[str, str]:
    """The wnid of each ILSVRC id, as text: of the synsets without children, the 1000 classes."""
    from scipy.io import loadmat  # slow to import, and rarely needed

    try:
        synsets = np.atleast_1d(loadmat(regular(meta), squeeze_me=True)["synsets"])
        leaves = synsets[synsets["num_children"].astype(int) == 0]
        return {str(int(s["ILSVRC2012_ID"])): str(s["WNID"]) for s in leaves}
    except Exception as error:  # a damaged file can raise nearly anything
        raise UserError(f"cannot use {meta}: {error}") from None


FOLDERS = {"train": "train", "test": "val"}  # ImageNet's test images have no public labels
LT_LISTS = {
    "train": "ImageNet_LT_train.txt",
    "validation": "ImageNet_LT_val.txt",
    "test": "ImageNet_LT_test.txt",
}
LT_FOLDER = "ImageNet_LT"


def load_imagenet(root: Path, split: str, list_path: Path | None = None) -> FileImageSet:
    """The "train" or "test" split below `root`, by class then file name; "test" reads val/, and
    neither a list.

    Raises UserError when a folder is missing or empty, or val/ cannot be labelled.
    """
    names = class_names(root)
    folder = root / FOLDERS[split]
    folders = class_folders(folder)
    if not folders:
        return FileImageSet.of(root, flat_entries(root, folder, names), names)
    if unmatched := set(folders) ^ set(names):
        raise UserError(
            f"{root / 'train'} and {folder} differ: only one of them has a folder {min(unmatched)}"
        )
    return FileImageSet.of(root, images_of_classes(root, folder.name, folders), names)


def load_imagenet_lt(root: Path, split: str, list_path: Path | None = None) -> FileImageSet | None:
    """The "train", "validation" or "test" split of ImageNet-LT over the ImageNet below `root`.

    Lists are looked for in the folder `list_path`, without it in root and root/ImageNet_LT.
    "validation" is None when its list is not there. Raises UserError as `load_image_list`.
    """
    names = class_names(root)
    folders = [root, root / LT_FOLDER] if list_path is None else [list_path]
    lists = [folder / LT_LISTS[split] for folder in folders]
    found = next((path for path in lists if path.exists()), None)
    if found is None and split == "validation":
        return None
    if found is None:
        raise UserError(
            f"no {LT_LISTS[split]} in {' or '.join(map(str, folders))}: put the list of "
            "OpenLongTailRecognition-OLTR there, or make one of the same profile with "
            f"python dataloader/make_long_tail_list.py --data-path {root}"
        )
    return load_image_list(root, found, names)


def load_image_list(root: Path, list_file: Path, class_names: Sequence[str]) -> FileImageSet:
    """The images of a file of lines `path label`, in its order, paths relative to `root`.

    Raises UserError, naming the line, where the format or the label is wrong or the class folder
    in the path is not the label's in `class_names`; and where the first image of a folder is
    missing both there and in the folder's other layout (images in class folders, or not).
    """
    names = tuple(class_names)
    return FileImageSet.of(root, resolved(root, list_file, names), names)


def class_names(root: Path) -> tuple[str, ...]:
    """The sorted folder names of root/train, as `class_folders.form` has them; UserError where
    there are none."""
    if (root / KAGGLE / "train").is_dir() and not (root / "train").exists():
        raise UserError(f"{root} holds Kaggle's folders: let --data-path name {root / KAGGLE}")
    names = class_folders(root / "train")
    if not names:
        raise UserError(
            f"{root / 'train'} holds no class folders: unpack the images into train/<class>/ "
            "(ImageNet's archives into train/<wnid>/), or let --data-path name the folder that "
            "holds train/ and val/"
        )
    return tuple(names)


IMAGENET = DataSet(
    load=load_imagenet,
    class_names=class_names,
    load_list=load_image_list,
    view=imagenet_view,
    statistics=IMAGENET_STATISTICS,
)
IMAGENET_LT = replace(IMAGENET, load=load_imagenet_lt, has_validation=True)
