"""ImageNet and ImageNet-LT on disk: class folders, flat validation images, and list files.

A data root holds train/<wnid>/*.JPEG and either val/<wnid>/*.JPEG or the validation images as
distributed (val/ILSVRC2012_val_00000001.JPEG ...) with something that labels them. A class's
label is its place among the sorted folder names of train/, in every layout.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dataloader.errors import UserError
from dataloader.file_set import FileImageSet, pack, spans_of
from dataloader.files import staged
from dataloader.image_list import list_entries

FOLDERS = {"train": "train", "test": "val"}  # ImageNet's test images have no public labels
LT_LISTS = {
    "train": "ImageNet_LT_train.txt",
    "validation": "ImageNet_LT_val.txt",
    "test": "ImageNet_LT_test.txt",
}
LT_FOLDER = "ImageNet_LT"
DEVKIT = Path("ILSVRC2012_devkit_t12", "data")
EXTENSIONS = (".jpeg", ".jpg", ".png", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp")

_Index = dict[str, np.ndarray]
_INDEX_KEYS = ("folders", "mtimes", "extensions", "text", "ends", "labels")


def load_imagenet(root: Path, split: str) -> FileImageSet:
    """The "train" or "test" split below `root`, by class then file name; "test" reads val/.

    The list of files is kept in root/.image_index_<split>.npz until a class folder changes.
    Raises UserError when a folder is missing or empty, or val/ cannot be labelled.
    """
    names = class_names(root)
    folder = root / FOLDERS[split]
    folders = _folders(folder)
    if not folders:
        return FileImageSet.of(root, _flat_entries(root, folder, names), names)
    if unmatched := set(folders) ^ set(names):
        raise UserError(
            f"{root / 'train'} and {folder} differ: only one of them has a folder {min(unmatched)}"
        )
    index = _index(root, folder.name, folders, root / f".image_index_{split}.npz")
    return FileImageSet(root, index["text"], spans_of(index["ends"]), index["labels"], names)


def load_imagenet_lt(
    root: Path, split: str, *, list_path: Path | None = None
) -> FileImageSet | None:
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
    return FileImageSet.of(root, _resolved(root, list_file, names), names)


def class_names(root: Path) -> tuple[str, ...]:
    """The sorted folder names of root/train; UserError where there are none."""
    names = _folders(root / "train")
    if not names:
        raise UserError(
            f"{root / 'train'} holds no class folders: unpack the images into train/<class>/ "
            "(ImageNet's archives into train/<wnid>/), or let --data-path name the folder that "
            "holds train/ and val/"
        )
    return tuple(names)


def _folders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    except OSError as error:
        raise UserError(
            f"cannot read the folder {folder}: {error.strerror}; "
            "let --data-path name the folder that holds train/ and val/"
        ) from None


def _image_names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if _is_image(e.name))
    except OSError as error:
        raise UserError(f"cannot read the folder {folder}: {error.strerror}") from None
    if not names:
        raise UserError(
            f"{folder} holds no images ({', '.join(EXTENSIONS)}): unpack them again, or remove it"
        )
    return names


def _is_image(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


# The index of a tree of class folders


def _index(root: Path, folder: str, folders: list[str], cache: Path) -> _Index:
    """What class folders below root/folder hold: from the cache, unless they changed since."""
    mtimes = [(root / folder / name).stat().st_mtime_ns for name in folders]
    state = {
        "folders": np.array(folders),
        "mtimes": np.array(mtimes),
        "extensions": np.array(EXTENSIONS),
    }
    cached = _read_cache(cache)
    if cached and all(np.array_equal(cached[key], state[key]) for key in state):
        return cached
    # Folders were stamped before they are scanned: a change meanwhile makes the cache stale.
    text, ends, labels = pack(_scanned(root, folder, folders))
    index = {**state, "text": text, "ends": ends, "labels": labels}
    _write_cache(cache, index)
    return index


def _scanned(root: Path, folder: str, folders: list[str]) -> Iterator[tuple[str, int]]:
    progress = tqdm(folders, desc=f"listing {folder}", unit="folder", disable=None)
    for label, name in enumerate(progress):
        for image in _image_names(root / folder / name):
            yield f"{folder}/{name}/{image}", label


def _read_cache(cache: Path) -> _Index | None:
    try:
        with np.load(cache, allow_pickle=False) as file:
            index = {key: file[key] for key in _INDEX_KEYS}
        ends, text = index["ends"], index["text"]
        is_whole = len(ends) == len(index["labels"]) and ends[-1] == len(text)
    except Exception:  # a damaged file can raise nearly anything, and is made again
        return None
    return index if is_whole else None


def _write_cache(cache: Path, index: _Index) -> None:
    try:
        with staged(cache) as partial, partial.open("wb") as file:
            np.savez(file, **index)
    except UserError as error:
        print(f"the list of files is not kept for next time: {error}", file=sys.stderr)


# The flat validation folder


def _flat_entries(root: Path, folder: Path, names: tuple[str, ...]) -> list[tuple[str, int]]:
    """(path, label) of each image of the flat `folder`, by class then file name."""
    files = _image_names(folder)
    lists = (root / f"{folder.name}.txt", folder / f"{folder.name}.txt")
    found = next((path for path in lists if path.exists()), None)
    if found is not None:
        labels = _listed_labels(found, folder, files, names)
    elif (root / DEVKIT).is_dir():
        labels = _devkit_labels(root / DEVKIT, folder, files, names)
    else:
        raise UserError(
            f"nothing labels the images of {folder}: put {lists[0].name} (lines `file label`) or "
            f"{DEVKIT.parent} into {root}, or move the images into class folders"
        )
    ordered = sorted(zip(labels, files, strict=True))
    return [(f"{folder.name}/{file}", label) for label, file in ordered]


def _listed_labels(
    list_file: Path, folder: Path, files: list[str], names: tuple[str, ...]
) -> list[int]:
    entries = _checked_entries(list_file, names)
    label_of = {path.rpartition("/")[2]: label for _, path, label in entries}
    if unmatched := set(files) ^ set(label_of):
        raise UserError(f"{list_file} and {folder} differ: {min(unmatched)} is in only one of them")
    return [label_of[file] for file in files]


def _devkit_labels(
    devkit: Path, folder: Path, files: list[str], names: tuple[str, ...]
) -> list[int]:
    """Labels of the sorted `files`: line i of the ground truth is the ILSVRC id of image i."""
    truth = devkit / "ILSVRC2012_validation_ground_truth.txt"
    wnid_of = _devkit_classes(devkit / "meta.mat")
    try:
        wnids = [wnid_of[int(line)] for line in truth.read_text().split()]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"cannot use {truth}: {error!r}") from None
    if len(wnids) != len(files):
        raise UserError(f"{truth} labels {len(wnids)} images, {folder} holds {len(files)}")
    if unknown := set(wnids) - set(names):
        raise UserError(f"{truth} has images of {min(unknown)}, which is not a folder of train/")
    label_of = {wnid: label for label, wnid in enumerate(names)}
    return [label_of[wnid] for wnid in wnids]


def _devkit_classes(meta: Path) -> dict[int, str]:
    """The wnid of each ILSVRC id: of the synsets without children, the 1000 classes."""
    from scipy.io import loadmat  # slow to import, and rarely needed

    try:
        synsets = np.atleast_1d(loadmat(meta, squeeze_me=True)["synsets"])
        leaves = synsets[synsets["num_children"].astype(int) == 0]
        return {int(s["ILSVRC2012_ID"]): str(s["WNID"]) for s in leaves}
    except Exception as error:  # a damaged file can raise nearly anything
        raise UserError(f"cannot use {meta}: {error}") from None


# List files


def _checked_entries(list_file: Path, names: tuple[str, ...]) -> Iterator[tuple[int, str, int]]:
    """`list_entries` whose class folders agree with their labels."""
    label_of = {name: label for label, name in enumerate(names)}
    for number, path, label in list_entries(list_file, len(names)):
        folder = path.rpartition("/")[0].rpartition("/")[2]
        expected = label_of.get(folder)
        if expected is None and re.fullmatch(r"n\d{8}", folder):
            raise UserError(f"{list_file}, line {number}: {folder} is not a class of this data set")
        if expected not in (None, label):
            raise UserError(
                f"{list_file}, line {number}: {path} has label {label} ({names[label]}), but "
                f"{folder} is class {expected} of the sorted class folders"
            )
        yield number, path, label


def _resolved(root: Path, list_file: Path, names: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """(path, label) of each line, the path in the layout that is on disk.

    The first line of a folder decides for all of it: a million files are not looked up.
    """
    is_moved: dict[tuple[str, bool], bool] = {}
    for number, path, label in _checked_entries(list_file, names):
        folder, has_class, other = _other_layout(path, names[label])
        if (folder, has_class) not in is_moved:
            where = f"{list_file}, line {number}"
            is_moved[folder, has_class] = _is_only_there(root, path, other, where)
        yield other if is_moved[folder, has_class] else path, label


def _other_layout(path: str, class_name: str) -> tuple[str, bool, str]:
    """The folder above the class's, whether there is one for the class, and the path if not so.

    `val/a/1.png` of class a gives ("val", True, "val/1.png"), and the reverse.
    """
    folder, _, file = path.rpartition("/")
    above, _, last = folder.rpartition("/")
    if last == class_name:
        return above, True, f"{above}/{file}".lstrip("/")
    return folder, False, f"{folder}/{class_name}/{file}".lstrip("/")


def _is_only_there(root: Path, path: str, other: str, where: str) -> bool:
    if (root / path).exists():
        return False
    if (root / other).exists():
        return True
    raise UserError(
        f"{where}: there is no image {root / path} (nor {other}); "
        "let --data-path name the folder that the list's paths start from"
    )
