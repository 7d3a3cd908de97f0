"""A data set in Parquet files, as the Hugging Face hub keeps sets of images."""

from __future__ import annotations

import io
import json
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from common.checked_zip import MOST_UNFOLDED
from common.errors import DamagedError, UserError
from common.files import regular
from dataloader.array_file import checked_class_names, checked_labels
from dataloader.images import Labelled, fingerprint_of, read_rgb

FILE = re.compile(r"(train|validation|valid|val|test)(-\d+-of-0*(\d+))?(-.*)?\.parquet")
IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "fine_label")
BATCH = 256  # rows, of which Python objects are made at once


@dataclass(frozen=True)
class EncodedImageSet(Labelled):
    """One split whose images are in memory as the files that they were, decoded when asked for.

    content: uint8, the files end to end; offsets: (M + 1,) int64, where in it each begins, and the
    end; rows: (N,) int64, which of the M are in this set; labels: (N,) int64 in [0, number of
    classes). As in FileImageSet there is no Python object per image; subsets share `content`.
    """

    name: str
    content: np.ndarray
    offsets: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    masks: None = None

    def image(self, index: int) -> Image.Image:
        """The image at `index`, RGB, as `read_rgb` makes it; UserError when it cannot be read."""
        where = f"{self.rows[index]} (from 0) of {self.name}"
        return read_rgb(io.BytesIO(self._encoded(index).tobytes()), where)

    def subset(self, indices: np.ndarray) -> EncodedImageSet:
        """The images at `indices` (1-d integers), in that order."""
        return replace(self, rows=self.rows[indices], labels=self.labels[indices])

    def fingerprint(self) -> str:
        """SHA-256 of all images as they are stored, labels and class names."""
        files = (self._encoded(index) for index in range(len(self)))
        return fingerprint_of(self.class_names, self.labels, *files)

    def _encoded(self, index: int) -> np.ndarray:
        start, end = self.offsets[self.rows[index] : self.rows[index] + 2]
        return self.content[start:end]


class _Columns(NamedTuple):
    """What a file calls its images and labels, and its classes where it names them."""

    image: str
    label: str
    classes: tuple[str, ...] | None


def holds_parquet(folder: Path) -> bool:
    """Whether the set in `folder` is one of Parquet files: class folders come first."""
    return not (folder / "train").is_dir() and any(_files(folder).values())


def load_parquet(folder: Path, split: str) -> EncodedImageSet | None:
    """The "train", "validation" or "test" split in the files <split>-*.parquet of `folder` or of
    its folder data/.

    Images are structs with the encoded `bytes`, in a column of IMAGE_COLUMNS; labels are integers
    from 0, in a column of LABEL_COLUMNS or the only one of integers. The classes' names are those
    that `datasets` has written beside the columns, else their numbers. Without a test split the
    validation split is the test split, and None itself. UserError where pyarrow is not installed,
    files or columns are missing, a column cannot be told, or images have no bytes or over
    MOST_UNFOLDED of them.
    """
    files = _files(folder)
    if split == "validation" and not (files["validation"] and files["test"]):
        return None
    files["test"] = files["test"] or files["validation"]
    asked = dict.fromkeys(("train", "test", split))
    if missing := [each for each in asked if not files[each]]:
        raise UserError(f"{folder} holds Parquet files, and no {missing[0]}-*.parquet")
    columns = _agreed([path for each in asked for path in files[each]])
    labels = {each: _labels(files[each], columns.label) for each in asked}
    content, offsets = _contents(files[split], columns.image)
    if len(offsets) - 1 != len(labels[split]) or not len(labels[split]):
        raise UserError(f"the {split} split in {folder} has no images, or is being written")
    names = None if columns.classes is None else np.array(columns.classes, np.str_)
    classes = checked_class_names(str(folder), names, labels)
    rows = np.arange(len(labels[split]))
    return EncodedImageSet(
        f"the {split} split in {folder}", content, offsets, rows, labels[split], classes
    )


def _files(folder: Path) -> dict[str, list[Path]]:
    """The files of each split, by name. UserError where some of those that a name counts lack."""
    found: dict[str, list[Path]] = {"train": [], "validation": [], "test": []}
    counts = dict.fromkeys(found, 0)
    for path in sorted(folder.glob("*.parquet")) or sorted(folder.glob("data/*.parquet")):
        if match := FILE.fullmatch(path.name):
            split = "validation" if match[1].startswith("val") else match[1]
            found[split].append(path)
            counts[split] = int(match[3] or 0)
    for split, paths in found.items():
        if counts[split] not in (0, len(paths)):
            raise UserError(f"{folder}: {len(paths)} of {counts[split]} files of {split} are there")
    return found


def _agreed(paths: Sequence[Path]) -> _Columns:
    """The columns, the same in each file."""
    first = _columns(paths[0])
    for path in paths[1:]:
        if _columns(path) != first:
            raise UserError(f"{path} and {paths[0]} differ in their columns or classes")
    return first


def _columns(path: Path) -> _Columns:
    with _opened(path) as file:
        from pyarrow import types

        schema = file.schema_arrow
        structs = [column.name for column in schema if types.is_struct(column.type) and any(
            part.name == "bytes" and types.is_binary(part.type) for part in column.type
        )]  # fmt: skip
    integers = [column.name for column in schema if types.is_integer(column.type)]
    image = next((name for name in IMAGE_COLUMNS if name in structs), None)
    label = next((name for name in LABEL_COLUMNS if name in integers), None)
    if image is None:
        raise UserError(
            f"{path} has the columns {', '.join(schema.names)}: images are needed as structs with "
            f"`bytes`, in one called {' or '.join(IMAGE_COLUMNS)}"
        )
    if label is None and len(integers) != 1:
        raise UserError(
            f"{path} has the columns {', '.join(schema.names)}: name the one of class numbers "
            f"{LABEL_COLUMNS[0]!r}, for {len(integers)} are of integers"
        )
    label = label or integers[0]
    return _Columns(image, label, _named_classes(path, schema.metadata or {}, label))


def _named_classes(
    path: Path, metadata: Mapping[bytes, bytes], label: str
) -> tuple[str, ...] | None:
    """The names that `datasets` keeps with a column of class numbers; None where it does not."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {})["features"]
        names = features[label]["names"]
    except KeyError:
        return None
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise DamagedError(f"{path} is damaged: what it says of its columns is no JSON") from None
    if not isinstance(names, list):
        raise DamagedError(f"{path} is damaged: it names no classes of {label}")
    return tuple(map(str, names))


def _labels(files: Sequence[Path], column: str) -> np.ndarray:
    """(N,) int64."""
    labels = []
    for path in files:
        for values in _batches(path, column):
            if values.null_count:
                raise UserError(f"{path}: a row has no {column}")
            labels.append(values.to_numpy())
    return checked_labels(np.concatenate(labels or [np.empty(0, np.int64)]), f"{path}: {column}")


def _contents(files: Sequence[Path], column: str) -> tuple[np.ndarray, np.ndarray]:
    """Encoded images end to end, uint8, and the (N + 1,) offsets between them."""
    content, offsets = bytearray(), array("q", [0])
    for path in files:
        for values in _batches(path, column, "bytes"):
            for encoded in values.to_pylist():
                if encoded is None:
                    raise UserError(f"{path}: a row has no bytes in {column}: embed its image")
                content += encoded
                offsets.append(len(content))
            if len(content) > MOST_UNFOLDED:
                raise UserError(
                    f"{path}: more than {MOST_UNFOLDED >> 30} GB of images do not fit in memory: "
                    "write them as files in class folders"
                )
    return np.frombuffer(content, np.uint8), np.array(offsets, np.int64)


def _batches(path: Path, column: str, field: str = "") -> Iterator[Any]:
    """The values of a column, or of a field of its structs, BATCH rows at a time."""
    name = f"{column}.{field}" if field else column
    with _opened(path) as file:
        for batch in file.iter_batches(BATCH, columns=[name], use_threads=False):
            values = batch.column(0)
            yield values.flatten()[0] if field else values


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """pyarrow's ParquetFile. DamagedError for what it finds wrong in the block."""
    try:
        from pyarrow import ArrowException, parquet  # optional, and slow to import
    except ImportError:
        raise UserError(f"{path} needs the package pyarrow: pip install pyarrow") from None
    try:
        with parquet.ParquetFile(regular(path), page_checksum_verification=True) as file:
            yield file
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        raise DamagedError(
            f"{path} is truncated or damaged ({' '.join(str(error).split())})"
        ) from None
