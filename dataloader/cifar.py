"""CIFAR-100: its published archive, taken apart without trusting it, and its images in memory.

A tar file can name any path and a pickle can call any function, so neither is given the chance:
only three known members are written, and unpickling knows plain data and arrays of bytes. A few
bytes of a tar file can also ask for gigabytes: what is read at once and in all is bounded.
"""

from __future__ import annotations

import gzip
import io
import pickle
import pickletools
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from common.errors import UserError, one_line, shown
from common.files import regular
from dataloader.image_list import load_listed
from dataloader.images import DataSet, ImageSet
from dataloader.views import CIFAR_STATISTICS, cifar_view

FOLDER = "cifar-100-python"
IMAGE_FOLDER = "CIFAR100"  # of PNG files, beside it
ARCHIVE = f"{FOLDER}.tar.gz"
ARCHIVES = (ARCHIVE, f"{FOLDER}.tar")  # the second is what some browsers make of the first
ARCHIVE_MD5 = "eb9058c3a382ffc7106e4002c42a8d85"
MEMBER_MD5 = {
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}
SPLITS = ("train", "test")
NUM_CLASSES = 100
SIDE = 32

MAX_BYTES = 256 * 2**20  # of a member; the published train has 148 MiB
MAX_MEMO = 10_000_000  # entries; it has some 100,000
MAX_ARCHIVE_BYTES = 2**30  # unpacked; the published one has 178 MiB
MAX_MEMBERS = 100  # it has 5
MAX_READ = 2**20  # at once: tarfile reads a name or a pax record whole, however long it says it is
GZIP_MAGIC = b"\x1f\x8b"


# The archive


def extract_archive(archive: Path, folder: Path) -> None:
    """Write the members train, test and meta of `archive`, .tar.gz or .tar, into a new `folder`.

    Whatever else it holds is left out. Raises UserError if the archive is no file, corrupt, too
    large or lacks one of them; OSError if the disk fails.
    """
    folder.mkdir()
    try:
        with _bounded(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for count, member in enumerate(tar, start=1):
                _check_size(archive, member, count)
                _write_member(tar, member, folder)
            while stream.read(MAX_READ):  # the checksum of gzip comes after the last byte
                pass
    except gzip.BadGzipFile as error:
        raise _corrupt(archive, error) from error
    except (UserError, OSError):
        raise
    except Exception as error:  # a damaged header can raise nearly anything
        raise _corrupt(archive, error) from error
    require_members(folder, named=archive)


def _bounded(archive: Path) -> _BoundedGzip | _BoundedFile:
    """What is packed in `archive`, or `archive` itself where nothing packs it."""
    with regular(archive).open("rb") as file:
        is_packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    return _BoundedGzip(archive) if is_packed else _BoundedFile(archive)


class _BoundedGzip(gzip.GzipFile):
    """A .gz file, unfolded, that gives so many bytes at once, and in all, and no more."""

    def read(self, size: int | None = -1) -> bytes:
        """At most `size` bytes; UserError as `_check_read`."""
        _check_read(self.name, size, self.tell())
        return super().read(size)


class _BoundedFile(io.FileIO):
    """A file as it is, likewise."""

    def read(self, size: int | None = -1) -> bytes:
        """At most `size` bytes; UserError as `_check_read`."""
        _check_read(self.name, size, self.tell())
        return super().read(size)


def _check_read(name: object, size: int | None, at: int) -> None:
    """UserError when that is too many bytes, or too far into the file."""
    if size is None or not 0 <= size <= MAX_READ:
        raise UserError(f"{name}: refused, it holds a name or a record of {size} bytes")
    if at + size > MAX_ARCHIVE_BYTES + MAX_READ:
        raise UserError(f"{name}: refused, it holds over {MAX_ARCHIVE_BYTES} bytes")


def _corrupt(archive: Path, error: Exception) -> UserError:
    return UserError(
        f"{archive}: not a .tar.gz or .tar file, or a truncated or corrupt one "
        f"({one_line(error):.200}); get it again"
    )


def _check_size(archive: Path, member: tarfile.TarInfo, count: int) -> None:
    if count > MAX_MEMBERS:
        raise UserError(f"{archive}: refused, it has more than {MAX_MEMBERS} members")
    if not 0 <= member.size <= MAX_BYTES:
        raise UserError(f"{archive}: refused, member {member.name!r:.80} has {member.size} bytes")
    if member.offset_data + member.size > MAX_ARCHIVE_BYTES:
        raise UserError(f"{archive}: refused, it holds over {MAX_ARCHIVE_BYTES} bytes")


def _write_member(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    path = PurePosixPath(member.name)
    if not member.isreg() or path.parts[:-1] != (FOLDER,) or path.name not in MEMBER_MD5:
        return  # the published archive also carries a stray editor backup
    content = tar.extractfile(member)
    if content is None:  # of a regular file there is one
        return
    with content, (folder / path.name).open("wb") as file:
        shutil.copyfileobj(content, file)


def copy_members(source: Path, folder: Path) -> None:
    """Copy train, test and meta from the folder `source` into a new `folder`.

    Raises UserError if one is missing; OSError if the disk fails.
    """
    require_members(source, named=source)
    folder.mkdir()
    for name in MEMBER_MD5:
        shutil.copyfile(source / name, folder / name)


def require_members(folder: Path, *, named: Path) -> None:
    """Raise UserError, blaming `named`, unless `folder` has the files train, test and meta."""
    missing = [name for name in MEMBER_MD5 if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{named}: holds no {FOLDER} data, {', '.join(missing)} missing")


# Its pickles


def read_pickle(path: Path) -> dict[str | bytes, Any]:
    """The dict pickled in the file at `path`, with Python 2's strings as bytes.

    Arrays among its values are uint8. Raises UserError if the file is missing, too large or
    corrupt, or names anything but arrays of bytes; none of its code is run.
    """
    try:
        if regular(path).stat().st_size > MAX_BYTES:
            raise pickle.UnpicklingError("too large")
        file = io.BytesIO(path.read_bytes())
        _check_memo(file)
        content = PlainUnpickler(file, encoding="bytes").load()
    except Exception as error:  # corrupt instructions can raise nearly anything
        raise UserError(f"{path}: not a usable CIFAR-100 file ({one_line(error):.200})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a usable CIFAR-100 file (no dict in it)")
    return {k: v.values if isinstance(v, _ByteArray) else v for k, v in content.items()}


def _check_memo(file: io.BytesIO) -> None:
    """UnpicklingError where an index is so large that a table up to it would fill the memory, which
    one flipped bit can make it."""
    for instruction, operand, _ in pickletools.genops(file):
        if instruction.name.endswith("PUT") and int(operand or 0) > MAX_MEMO:
            raise pickle.UnpicklingError(f"refused an index of {operand}")
    file.seek(0)


class _ByteArray:
    """Stands for an array: numpy's own would take any type and size from the file."""

    def __init__(self, *empty: Any) -> None:
        self.values: np.ndarray | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, _dtype, is_fortran, content = state
        flat = np.frombuffer(content, np.uint8)
        self.values = flat.reshape(shape, order="F" if is_fortran else "C")


class _ByteType:
    """Stands for the one data type admitted, whose byte order and alignment mean nothing."""

    def __init__(self, name: str | bytes, *flags: Any) -> None:
        if name not in ("u1", b"u1"):
            raise pickle.UnpicklingError(f"refused an array of type {shown(name)}, expected uint8")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        pass


_STANDS_FOR = {
    "numpy.core.multiarray._reconstruct": _ByteArray,
    "numpy._core.multiarray._reconstruct": _ByteArray,  # its name since numpy 2
    "numpy.ndarray": _ByteArray,
    "numpy.dtype": _ByteType,
}


class PlainUnpickler(pickle.Unpickler):
    """Unpickles plain data and arrays of bytes; UnpicklingError for any other name in the file."""

    def find_class(self, module: str, name: str) -> type:
        """What stands for a name in the file."""
        wanted = f"{module}.{name}"
        if wanted not in _STANDS_FOR:
            raise pickle.UnpicklingError(f"refused the global {wanted[:80]!r}")
        return _STANDS_FOR[wanted]


# Its images


def load_cifar100(root: Path, split: str, list_path: Path | None = None) -> ImageSet:
    """The "train" or "test" split under the data root `root`; it needs no list.

    images (N, 32, 32, 3) uint8, labels (N,) int64 in [0, 100), both in archive order; N is
    whatever the file holds. Raises UserError if a file is missing or its content is invalid.
    """
    path, batch = _read_split(root, split)
    pixels = _checked_pixels(path, batch.get(b"data"))
    labels = _checked_labels(path, batch.get(b"fine_labels"), len(pixels))
    planes = pixels.reshape(-1, 3, SIDE, SIDE)
    images = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
    return ImageSet(images, np.array(labels, np.int64), class_names(root))


def load_file_names(root: Path, split: str) -> list[str]:
    """The N original file names of a split, in archive order and exactly as stored.

    Raises UserError if the file is missing or has no valid names.
    """
    path, batch = _read_split(root, split)
    return _strings(path, batch, b"filenames")


def _read_split(root: Path, split: str) -> tuple[Path, dict[Any, Any]]:
    if split not in SPLITS:
        raise UserError(f"CIFAR-100 has no split {split!r}, only {' and '.join(SPLITS)}")
    return _read_member(root, split)


def _read_member(root: Path, name: str) -> tuple[Path, dict[Any, Any]]:
    path = root / FOLDER / name
    if not path.is_file():
        raise UserError(
            f"CIFAR-100 is not prepared: {path} is missing; "
            "run `python dataloader/dealWith_cifar_dataset.py`"
        )
    return path, read_pickle(path)


def _checked_pixels(path: Path, pixels: object) -> np.ndarray:
    if not isinstance(pixels, np.ndarray):
        raise UserError(f"{path}: no array 'data' in it")
    if pixels.ndim != 2 or pixels.shape[1] != 3 * SIDE * SIDE or len(pixels) == 0:
        raise UserError(f"{path}: 'data' has shape {pixels.shape}, expected (N, 3072), N > 0")
    return pixels


def _checked_labels(path: Path, labels: object, count: int) -> list[int]:
    if not isinstance(labels, list):
        raise UserError(f"{path}: no list 'fine_labels' in it")
    if len(labels) != count:
        first = min(len(labels), count)
        raise UserError(
            f"{path}: {count} images but {len(labels)} labels, index {first} is the first unpaired"
        )
    for index, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < NUM_CLASSES:
            raise UserError(f"{path}: label {shown(label)} at index {index} is not in [0, 100)")
    return labels


def class_names(root: Path) -> tuple[str, ...]:
    """The 100 names, by label; UserError where the archive is not prepared or is damaged."""
    path, meta = _read_member(root, "meta")
    names = _strings(path, meta, b"fine_label_names")
    if len(names) != NUM_CLASSES:
        raise UserError(f"{path}: {len(names)} class names, expected {NUM_CLASSES}")
    return tuple(names)


def _strings(path: Path, content: dict[Any, Any], key: bytes) -> list[str]:
    values = content.get(key)
    if not isinstance(values, list):
        raise UserError(f"{path}: no list {key.decode()!r} in it")
    for index, value in enumerate(values):
        if not isinstance(value, bytes):
            raise UserError(f"{path}: {key.decode()} at index {index} is not a string")
    return [value.decode("latin-1") for value in values]  # never fails; published names are ASCII


def load_list(root: Path, list_file: Path, names: tuple[str, ...]) -> ImageSet:
    """The listed images. Paths begin at `root`, or as in the paper's published lists
    (`train/0/NAME.png`, and `val/0/NAME.png` of the test images) at the tree of PNG files in it."""
    return load_listed(root, list_file, names, lambda path: _place(root, list_file, path))


def _place(root: Path, list_file: Path, path: str) -> str:
    split, _, file = path.partition("/")
    in_tree = f"{IMAGE_FOLDER}/{'test' if split == 'val' else split}/{file}"
    for place in (path, in_tree):
        if (root / place).is_file():
            return place
    raise UserError(
        f"{list_file}: there is no image {root / path}, nor {root / in_tree}: "
        "python dataloader/dealWith_cifar_dataset.py --images writes the tree that the paper's "
        "lists name"
    )


CIFAR100 = DataSet(
    load=load_cifar100,
    class_names=class_names,
    load_list=load_list,
    view=cifar_view,
    statistics=CIFAR_STATISTICS,
)
