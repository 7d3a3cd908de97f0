"""CIFAR-100's published archive, taken apart without trusting it.

A tar file can name any path and a pickle can call any function, so neither is given the chance:
only three known members are written, and unpickling builds plain containers and byte arrays.
"""

from __future__ import annotations

import gzip
import hashlib
import pickle
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from dataloader.errors import UserError

FOLDER = "cifar-100-python"
ARCHIVE = f"{FOLDER}.tar.gz"
ARCHIVE_MD5 = "eb9058c3a382ffc7106e4002c42a8d85"
MEMBER_MD5 = {
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}
MAX_MEMBER_BYTES = 512 * 2**20  # the largest published member, train, has 148 MiB


def md5_of(path: Path) -> str:
    """MD5 of the file at `path`, in hexadecimal. Raises OSError if it cannot be read."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def extract_archive(archive: Path, folder: Path) -> None:
    """Write the members train, test and meta of the .tar.gz file `archive` into a new `folder`.

    Raises UserError if the archive is corrupt, lacks one of them or holds an unsafe member;
    OSError if the disk fails.
    """
    folder.mkdir()
    try:
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                _check_member(archive, member)
                _write_member(tar, member, folder)
            while stream.read(2**20):  # the checksum of gzip comes after the last byte
                pass
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise UserError(
            f"{archive}: not a .tar.gz file, or a truncated or corrupt one ({error}); get it again"
        ) from error
    require_members(folder, named=archive)


def _check_member(archive: Path, member: tarfile.TarInfo) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{archive}: refused, member {member.name!r:.80} leads outside the archive")
    if not (member.isreg() or member.isdir()):
        raise UserError(f"{archive}: refused, member {member.name!r:.80} is a link or a device")
    if member.size > MAX_MEMBER_BYTES:
        raise UserError(f"{archive}: refused, member {member.name!r:.80} has {member.size} bytes")


def _write_member(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    path = PurePosixPath(member.name)
    if path.parts[:-1] != (FOLDER,) or path.name not in MEMBER_MD5:
        return  # the published archive also carries a stray editor backup
    content = tar.extractfile(member)
    if content is not None:  # None for a directory
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


class _PickledArray:
    """Stands in for numpy.ndarray and its constructor while unpickling; takes bytes only."""

    values: np.ndarray | None = None

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, is_fortran, content = state
        if not isinstance(dtype, _PickledDtype):
            raise pickle.UnpicklingError("an array without a data type")
        flat = np.frombuffer(content, np.uint8)
        self.values = flat.reshape(shape, order="F" if is_fortran else "C")


class _PickledDtype:
    """Stands in for numpy.dtype: unsigned bytes are admitted, objects and all else are not."""

    def __init__(self, code: bytes | str, *_: object) -> None:
        if code not in (b"u1", "u1"):
            raise pickle.UnpicklingError(f"refused an array of type {code!r:.40}, expected uint8")

    def __setstate__(self, state: object) -> None:
        pass  # byte order and alignment mean nothing for single bytes


_STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _PickledArray,
    ("numpy._core.multiarray", "_reconstruct"): _PickledArray,  # its name since numpy 2
    ("numpy", "ndarray"): _PickledArray,
    ("numpy", "dtype"): _PickledDtype,
}


class _ByteArrayUnpickler(pickle.Unpickler):
    """Builds containers, numbers, strings and uint8 arrays; nothing a file names is imported."""

    def find_class(self, module: str, name: str) -> type:
        """The stand-in for `module.name`; raises UnpicklingError for all but numpy's arrays."""
        if (module, name) not in _STAND_INS:
            raise pickle.UnpicklingError(f"refused the global {f'{module}.{name}'[:80]!r}")
        return _STAND_INS[module, name]


def read_pickle(path: Path) -> dict[Any, Any]:
    """The dict pickled in the file at `path`, with Python 2's strings as bytes.

    Arrays among its values are uint8. Raises UserError if the file is missing, too large or
    corrupt, or holds anything but plain data; none of its code is run.
    """
    try:
        if path.stat().st_size > MAX_MEMBER_BYTES:
            raise pickle.UnpicklingError("too large")
        with path.open("rb") as file:
            content = _ByteArrayUnpickler(file, encoding="bytes").load()
    except Exception as error:  # corrupt opcodes can raise nearly anything
        raise UserError(f"{path}: not a usable CIFAR-100 file ({error})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a usable CIFAR-100 file (no dict in it)")
    return {k: v.values if isinstance(v, _PickledArray) else v for k, v in content.items()}
