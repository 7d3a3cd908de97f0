"""ImageNet and ImageNet-LT on disk: class folders, flat validation images, and list files.

A data root holds train/<wnid>/*.JPEG and either val/<wnid>/*.JPEG or the validation images as
distributed (val/ILSVRC2012_val_00000001.JPEG ...) with something that labels them. A class's
label is its place among the sorted folder names of train/, in every layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dataloader.class_folders import class_folders, images_of_classes
from dataloader.class_lists import resolved
from dataloader.errors import UserError
from dataloader.file_set import FileImageSet
from dataloader.flat_folder import KAGGLE, flat_entries

FOLDERS = {"train": "train", "test": "val"}  # ImageNet's test images have no public labels
LT_LISTS = {
    "train": "ImageNet_LT_train.txt",
    "validation": "ImageNet_LT_val.txt",
    "test": "ImageNet_LT_test.txt",
}
LT_FOLDER = "ImageNet_LT"


def load_imagenet(root: Path, split: str) -> FileImageSet:
    """The "train" or "test" split below `root`, by class then file name; "test" reads val/.

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
    return FileImageSet.of(root, resolved(root, list_file, names), names)


def class_names(root: Path) -> tuple[str, ...]:
    """The sorted folder names of root/train, as `spelling.form` has them; UserError where there are
    none."""
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
