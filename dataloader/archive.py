"""CIFAR-100's published archive, taken apart without trusting it.

A tar file can name any path and a pickle can call any function, so neither is given the chance:
only three known members are written, and unpickling builds plain containers and byte arrays. A
few bytes of either can also ask for gigabytes: what is read at once and in all is bounded.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from common.errors import UserError, one_line
from common.files import regular
from dataloader.plain_pickle import MAX_BYTES

FOLDER = "cifar-100-python"
ARCHIVE = f"{FOLDER}.tar.gz"
ARCHIVES = (ARCHIVE, f"{FOLDER}.tar")  # the second is what some browsers make of the first
ARCHIVE_MD5 = "eb9058c3a382ffc7106e4002c42a8d85"
MEMBER_MD5 = {
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}
MAX_ARCHIVE_BYTES = 2**30  # unpacked; the published one has 178 MiB
MAX_MEMBERS = 100  # it has 5
GZIP_MAGIC = b"\x1f\x8b"
MAX_READ = 2**20  # at once: tarfile reads a name or a pax record whole, however long it says it is


def md5_of(path: Path) -> str:
    """MD5 of the file at `path`, in hexadecimal. UserError, OSError as `regular`."""
    digest = hashlib.md5(usedforsecurity=False)
    with regular(path).open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def extract_archive(archive: Path, folder: Path) -> None:
    """Write the members train, test and meta of `archive`, .tar.gz or .tar, into a new `folder`.

    Raises UserError if the archive is no file, corrupt, lacks one of them or holds an unsafe
    member; OSError if the disk fails.
    """
    folder.mkdir()
    try:
        with _bounded(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for count, member in enumerate(tar, start=1):
                _check_member(archive, member, count)
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


def _bounded(archive: Path) -> BinaryIO:
    """What is packed in `archive`, or `archive` itself where nothing packs it."""
    with regular(archive).open("rb") as file:
        is_packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    return _BoundedGzip(archive) if is_packed else _BoundedFile(archive)


class _Bounded:
    """A file that gives so many bytes at once, and in all, and no more."""

    def read(self, size: int | None = -1) -> bytes:
        """At most `size` bytes; UserError when that is too many, or too far into the file."""
        if size is None or not 0 <= size <= MAX_READ:
            raise UserError(f"{self.name}: refused, it holds a name or a record of {size} bytes")
        if self.tell() + size > MAX_ARCHIVE_BYTES + MAX_READ:
            raise UserError(f"{self.name}: refused, it holds over {MAX_ARCHIVE_BYTES} bytes")
        return super().read(size)


class _BoundedGzip(_Bounded, gzip.GzipFile):
    """A .gz file, unfolded."""


class _BoundedFile(_Bounded, io.FileIO):
    """A file as it is."""


def _corrupt(archive: Path, error: Exception) -> UserError:
    return UserError(
        f"{archive}: not a .tar.gz or .tar file, or a truncated or corrupt one "
        f"({one_line(error):.200}); get it again"
    )


def _check_member(archive: Path, member: tarfile.TarInfo, count: int) -> None:
    if count > MAX_MEMBERS:
        raise UserError(f"{archive}: refused, it has more than {MAX_MEMBERS} members")
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{archive}: refused, member {member.name!r:.80} leads outside the archive")
    if member.issparse() or not (member.isreg() or member.isdir()):
        raise UserError(f"{archive}: refused, member {member.name!r:.80} is a link or a device")
    if not 0 <= member.size <= MAX_BYTES:
        raise UserError(f"{archive}: refused, member {member.name!r:.80} has {member.size} bytes")
    if member.offset_data + member.size > MAX_ARCHIVE_BYTES:
        raise UserError(f"{archive}: refused, it holds over {MAX_ARCHIVE_BYTES} bytes")


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
    for name in MEMBER_MD5:
        if (size := (source / name).stat().st_size) > MAX_BYTES:
            raise UserError(f"{source / name}: refused, it has {size} bytes")
    folder.mkdir()
    for name in MEMBER_MD5:
        shutil.copyfile(source / name, folder / name)


def require_members(folder: Path, *, named: Path) -> None:
    """Raise UserError, blaming `named`, unless `folder` has the files train, test and meta."""
    missing = [name for name in MEMBER_MD5 if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{named}: holds no {FOLDER} data, {', '.join(missing)} missing")
