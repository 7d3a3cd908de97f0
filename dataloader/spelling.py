"""Names that look alike: an accented letter is one character or two, and systems differ in which
they keep, so that a list and the files that it names, or two folders, may differ in it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from dataloader.errors import UserError


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
