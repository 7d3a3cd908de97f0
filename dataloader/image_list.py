"""A user's own choice of images: a text file with `path label` a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dataloader.errors import UserError, shown
from dataloader.files import open_text
from dataloader.image_file import read_rgb
from dataloader.image_set import ImageSet
from dataloader.spelling import Speller

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


def load_listed(list_path: Path, data_path: Path, class_names: tuple[str, ...]) -> ImageSet:
    """The listed images, paths relative to `data_path`, all of one size."""
    entries = read_list(list_path, len(class_names))
    spelled = Speller(data_path).spelled
    images = [np.asarray(read_rgb(data_path / spelled(name))) for name, _ in entries]
    odd = next((i for i, image in enumerate(images) if image.shape != images[0].shape), None)
    if odd is not None:
        raise UserError(f"{entries[odd][0]} in {list_path} differs in size from the first image")
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
