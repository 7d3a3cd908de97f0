"""Class folders on disk and the images in them: which files count, and a word on those that do not.

What torchvision's ImageFolder takes is taken: images in subfolders of a class folder too, links
followed. Names that look alike are alike: an accented letter is one character or two, and systems
differ in which they keep."""

from __future__ import annotations

import functools
import os
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from common.errors import UserError


def form(name: str) -> str:
    """What the names that look like this one have in common (Unicode's form NFC)."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def by_form(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Each of the names in `folder` under its form; UserError where two have the same."""
    found: dict[str, str] = {}
    for name in names:
        if found.setdefault(form(name), name) != name:
            raise UserError(
                f"{folder} holds two names that look like {form(name)!r} and differ in how their "
                "letters are composed: rename or remove one"
            )
    return found


class Speller:
    """Finds how the disk spells the paths, relative to `root`, that a list names."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._listings: dict[Path, dict[str, list[str]]] = {}

    def spelled(self, path: str) -> str:
        """The path of the file that looks like `path`; `path` itself where it is there, is ASCII or
        nothing looks like it. UserError where several files do."""
        if path.isascii():
            return path
        found = PurePosixPath()
        for part in PurePosixPath(path).parts:
            found /= part if part.isascii() else self._name(self.root / found, part)
        return str(found)

    def _name(self, folder: Path, name: str) -> str:
        alike = self._listing(folder).get(form(name), [name])
        return name if name in alike else by_form(folder, alike)[form(name)]

    def _listing(self, folder: Path) -> dict[str, list[str]]:
        """The names in `folder` by their form."""
        if folder not in self._listings:
            listing: dict[str, list[str]] = {}
            for name in _names(folder):
                listing.setdefault(form(name), []).append(name)
            self._listings[folder] = listing
        return self._listings[folder]


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:  # told where the file is missed
        return []


EXTENSIONS = (".jpeg", ".jpg", ".png", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
ENDINGS_TOLD = 5

_Listing = tuple[list[str], list[str]]  # names of folders and of files, sorted


def class_folders(folder: Path) -> dict[str, str]:
    """The name on disk of each class's folder, by the class's name (`form`), sorted by it.

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
    folders: list[str] = []
    files: list[str] = []
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
