"""Lists of images in class folders, which say an image's class twice: by label and by folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from dataloader.errors import UserError
from dataloader.image_list import list_entries
from dataloader.spelling import Speller, form


def checked_entries(list_file: Path, names: tuple[str, ...]) -> Iterator[tuple[int, str, int]]:
    """`list_entries` whose class folders agree with their labels."""
    label_of = {name: label for label, name in enumerate(names)}
    for number, path, label in list_entries(list_file, len(names)):
        folder = form(path.rpartition("/")[0].rpartition("/")[2])
        expected = label_of.get(folder)
        if expected is None and re.fullmatch(r"n[0-9]{8}", folder):
            raise UserError(f"{list_file}, line {number}: {folder} is not a class of this data set")
        if expected not in (None, label):
            raise UserError(
                f"{list_file}, line {number}: {path} has label {label} ({names[label]}), but "
                f"{folder} is class {expected} of the sorted class folders"
            )
        yield number, path, label


def resolved(root: Path, list_file: Path, names: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """(path, label) of each line, the path in the layout and the spelling that are on disk.

    The first line of a folder decides on the layout of all of it: a million files are not looked
    up.
    """
    speller, is_moved = Speller(root), {}
    for number, listed, label in checked_entries(list_file, names):
        path = speller.spelled(listed)
        folder, has_class, other = _other_layout(path, names[label])
        other = speller.spelled(other)
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
    if form(last) == class_name:
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
