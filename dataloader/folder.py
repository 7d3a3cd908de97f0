"""A folder of images, with or without folders of classes in it."""

from __future__ import annotations

from pathlib import Path

from common.errors import UserError
from dataloader.class_folders import class_folders, image_names, images_of_classes
from dataloader.images import FileImageSet

HERE = "."


def load_folder(folder: Path) -> FileImageSet:
    """The images of `folder`, a class for each of its folders, sorted; where it has none, those
    right in it, of one class. UserError where there are none, or no folder."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: name one of images, or of class folders")
    if classes := class_folders(folder):
        below = images_of_classes(folder, HERE, classes)
        entries = [(path.removeprefix(f"{HERE}/"), label) for path, label in below]
        return FileImageSet.of(folder, entries, tuple(classes))
    return FileImageSet.of(folder, [(name, 0) for name in image_names(folder)], (folder.name,))
