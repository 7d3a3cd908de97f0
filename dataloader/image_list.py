"""Lists of images (`path label` a line), also of those in class folders, which say an image's class
twice: by label and by folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from common.errors import UserError, shown
from common.files import open_text
from dataloader.class_folders import Speller, form
from dataloader.images import ImageSet, read_rgb

LONGEST_LINE = 8192  # a path has at most 4,096
LONGEST_LABEL = 9  # digits


def read_list(path: Path, num_classes: int) -> list[tuple[str, int]]:
    """The (path, label) of each line; UserError names the file and line that cannot be used."""
    return [(name, label) for _, name, label in list_entries(path, num_classes)]


def list_entries(path: Path, num_classes: int) -> Iterator[tuple[int, str, int]]:
    """(line number, path, label) of each line, read as asked for; UserError as `read_list`."""
    is_empty = True
    try:
        with open_text(path) as lines:
            for number, line in enumerate(iter(lambda: lines.readline(LONGEST_LINE), ""), start=1):
                if len(line) == LONGEST_LINE:
                    raise UserError(f"{path}, line {number} is too long to be `path label`")
                if line.strip():
                    is_empty = False
                    yield number, *_entry(line, f"{path}, line {number}", num_classes)
    except OSError as error:
        raise UserError(f"cannot read the image list {path}: {error}") from None
    except UnicodeDecodeError as error:
        reason = f"no text ({error.reason})"
        raise UserError(f"cannot read the image list {path}: {reason}") from None
    if is_empty:
        raise UserError(f"the image list {path} is empty: give `path label` a line")


def load_listed(
    root: Path,
    list_file: Path,
    class_names: tuple[str, ...],
    place: Callable[[str], str] = str,
) -> ImageSet:
    """The listed images, all of one size, in memory; `place` makes of a listed path the one
    relative to `root`, which it is already unless the data set says otherwise."""
    entries = read_list(list_file, len(class_names))
    spelled = Speller(root).spelled
    entries = [(place(name), label) for name, label in entries]
    images = [np.asarray(read_rgb(root / spelled(name))) for name, _ in entries]
    odd = next((i for i, image in enumerate(images) if image.shape != images[0].shape), None)
    if odd is not None:
        raise UserError(f"{entries[odd][0]} in {list_file} differs in size from the first image")
    labels = np.array([label for _, label in entries], dtype=np.int64)
    return ImageSet(np.stack(images), labels, class_names)


def _entry(line: str, where: str, num_classes: int) -> tuple[str, int]:
    name, _, label = line.strip().rpartition(" ")
    is_number = label.isascii() and label.isdigit()
    if not name or not is_number or "\0" in name:
        raise UserError(f"{where}: {shown(line.strip())} is not `path label`")
    if len(label) > LONGEST_LABEL or int(label) >= num_classes:
        raise UserError(f"{where}: label {label:.20} is out of range 0 to {num_classes - 1}")
    return name.strip(), int(label)


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
