"""Zip files, whose every member has a checksum that numpy verifies late and torch never."""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from common.errors import DamagedError, UserError
from common.files import regular

MAGIC = b"PK\x03\x04"
MOST_UNFOLDED = 2**34  # bytes that the arrays of a file from elsewhere may take


def check_zip(path: Path) -> None:
    """Read a zip file once, a megabyte at a time. DamagedError when it is none, a member is not
    what was written, or its members would take more room than the file: neither torch.save nor
    np.savez compresses, and what is not compressed cannot unfold into gigabytes."""
    try:
        with zipfile.ZipFile(regular(path)) as file:
            _refuse_compressed(path, file)
            damaged = file.testzip()
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged file can raise nearly anything
        raise _damaged(path, error) from None
    if damaged is not None:
        raise _damaged(path, f"{damaged!r:.80} is not what was written")


def read_npz(
    path: Path, arrays: Mapping[str, tuple[str, int]], *, optional: tuple[str, ...] = ()
) -> dict[str, np.ndarray]:
    """The named arrays of a file that np.savez wrote.

    arrays: each one's data type ("float32"; "U", text of any length) and number of dimensions.
    Those `optional` may be left out. DamagedError when the file is missing, damaged or encrypted,
    lacks an array, has it in another type or number of dimensions, or with a NaN or an infinity;
    nothing is unpickled.
    """
    try:
        with zipfile.ZipFile(regular(path)) as file:
            _refuse_compressed(path, file)
            names = set(file.namelist())
            wanted = [name for name in arrays if name not in optional or f"{name}.npy" in names]
            return {name: _read_array(file, name, *arrays[name]) for name in wanted}
    except Exception as error:  # a damaged file can raise nearly anything
        raise _damaged(path, error) from None


def read_any_npz(path: Path, names: Collection[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Of an .npz file from elsewhere, compressed or not, the arrays of these names that it has,
    whatever their type, and what all its arrays are called.

    UserError when what is asked for would take over MOST_UNFOLDED bytes; DamagedError when the file
    is missing, damaged or encrypted, or an array holds Python objects: nothing is unpickled.
    """
    try:
        with zipfile.ZipFile(regular(path)) as file:
            members = {m.filename.removesuffix(".npy"): m for m in file.infolist()}
            found = [name for name in names if name in members]
            if sum(members[name].file_size for name in found) > MOST_UNFOLDED:
                raise UserError(
                    f"{path} unfolds into more than {MOST_UNFOLDED >> 30} GB: give an .npy file, "
                    "which is read by parts"
                )
            return {name: _member(file, name) for name in found}, list(members)
    except UserError:
        raise
    except Exception as error:  # a damaged file can raise nearly anything
        raise _damaged(path, error) from None


def _member(file: zipfile.ZipFile, name: str) -> np.ndarray:
    with file.open(f"{name}.npy") as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
        if stream.read(1):  # the checksum is compared at the last byte
            raise ValueError(f"{name} is longer than its shape {array.shape}")
    return array


def _read_array(file: zipfile.ZipFile, name: str, dtype: str, ndim: int) -> np.ndarray:
    array = _member(file, name)
    if array.ndim != ndim or not _is_dtype(array.dtype, dtype):
        raise ValueError(
            f"{name} has {array.ndim} dimensions of {array.dtype}, not {ndim} of {dtype}"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name} has a NaN or an infinity")
    return array


def _is_dtype(found: np.dtype, wanted: str) -> bool:
    return found.kind == "U" if wanted == "U" else found == np.dtype(wanted)


def _refuse_compressed(path: Path, file: zipfile.ZipFile) -> None:
    if sum(member.file_size for member in file.infolist()) > path.stat().st_size:
        raise ValueError("its members would take more room than the file")


def _damaged(path: Path, reason: object) -> DamagedError:
    return DamagedError(f"{path} is truncated or damaged ({reason})")
