"""Class folders on disk and the images in them: which files count, and a word on those that do not.

What torchvision's ImageFolder takes is taken: images in subfolders of a class folder too, links
followed.
"""

from __future__ import annotations

import functools
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from dataloader.errors import UserError
from dataloader.spelling import by_form

EXTENSIONS = (".jpeg", ".jpg", ".png", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
ENDINGS_TOLD = 5

_Listing = tuple[list[str], list[str]]  # names of folders and of files, sorted


def class_folders(folder: Path) -> dict[str, str]:
    """The name on disk of each class's folder, by the class's name (`spelling.form`), sorted by it.

    UserError where `folder` cannot be read, or two folders have names that look alike.
    """
    return dict(sorted(by_form(folder, _listing(folder)[0]).items()))


def images_of_classes(root: Path, split: str, classes: dict[str, str]) -> Iterator[tuple[str, int]]:
    """(path below `root`, label) of the images in each of the `class_folders` of root/split.

    What was left out is said in a line at the end, once in a process. UserError for a class without
    images, or a folder that cannot be read or contains itself.
    """
    left_out = Counter(
        f"{_ending(name)} outside the class folders" for name in _listing(root / split)[1]
    )
    progress = tqdm(classes.values(), desc=f"listing {split}", unit="folder", disable=None)
    for label, name in enumerate(progress):
        for image in _images_below(root / split / name, left_out):
            yield f"{split}/{name}/{image}", label
    if left_out:
        _tell(root / split, left_out)


def image_names(folder: Path) -> list[str]:
    """The images right in `folder`, sorted; UserError where there are none."""
    names = [name for name in _listing(folder)[1] if _is_image(name)]
    _require_images(folder, names)
    return names


def _images_below(folder: Path, left_out: Counter[str]) -> list[str]:
    """The paths of images, relative to `folder`, in ImageFolder's order; what else there is, is
    counted by its ending."""
    found: list[tuple[str, list[str]]] = []
    waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while waiting:
        below, above = waiting.pop()
        folders, files = _listing(folder / below)
        state = (folder / below).stat()
        itself = (state.st_dev, state.st_ino)
        if itself in above:
            raise UserError(f"{folder / below} is a link to a folder that it is in: remove it")
        found.append((below, [name for name in files if _is_image(name)]))
        left_out.update(_ending(name) for name in files if not _is_image(name))
        waiting += [(_joined(below, name), above | {itself}) for name in folders]
    images = [_joined(below, name) for below, names in sorted(found) for name in names]
    _require_images(folder, images)
    return images


def _joined(below: str, name: str) -> str:
    return f"{below}/{name}" if below else name


def _listing(folder: Path) -> _Listing:
    """What is in `folder`, but for names that begin with a dot: a system's, not the user's."""
    folders, files = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    (folders if _is_folder(entry) else files).append(entry.name)
    except OSError as error:
        raise UserError(
            f"cannot read the folder {folder}: {error.strerror}; "
            "let --data-path name the folder that holds train/ and val/"
        ) from None
    return sorted(folders), sorted(files)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_image(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS)


def _require_images(folder: Path, names: list[str]) -> None:
    if not names:
        raise UserError(
            f"{folder} holds no images ({', '.join(EXTENSIONS)}): unpack them again, or remove it"
        )


def _ending(name: str) -> str:
    ending = Path(name).suffix.lower()[:12]
    return (ending if ending.isprintable() else ascii(ending)) or "without ending"


def _tell(folder: Path, left_out: Counter[str]) -> None:
    counts = [f"{count} {ending}" for ending, count in left_out.most_common(ENDINGS_TOLD)]
    others = left_out.total() - sum(count for _, count in left_out.most_common(ENDINGS_TOLD))
    if others:
        counts.append(f"{others} of other endings")
    _say_once(f"files left out of {folder}: {left_out.total()} ({', '.join(counts)})")


@functools.cache
def _say_once(text: str) -> None:
    print(text, file=sys.stderr)
