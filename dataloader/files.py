"""Files that are either whole or not there."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dataloader.errors import UserError


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Yield a path to create a file or folder at; it becomes `target` if the block succeeds.

    Whatever goes wrong, `target` is untouched and nothing temporary is left beside it; what a
    killed process left there is cleared away. UserError, with the path, for an OSError (a full
    disk, no permission).
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(target)
        prefix = f"{_prefix(target)}{os.getpid()}-"
        # A path inside a private temporary folder, so that target gets the usual permissions.
        with tempfile.TemporaryDirectory(prefix=prefix, dir=target.parent) as folder:
            path = Path(folder) / target.name
            yield path
            path.replace(target)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error}") from error


def _prefix(target: Path) -> str:
    return f".{target.name}-{socket.gethostname()}-"


def _clear_leftovers(target: Path) -> None:
    """Delete what processes of this machine that are no more began to write for `target`."""
    prefix = _prefix(target)
    for path in target.parent.glob(f"{glob.escape(prefix)}*-*"):
        owner = path.name.removeprefix(prefix).partition("-")[0]
        if owner.isdecimal() and not _is_alive(int(owner)):
            shutil.rmtree(path, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content` at once; UserError on a full disk, and the old file stays."""
    with staged(path) as partial, partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_text(path: Path, content: str) -> None:
    """Replace the text file `path` at once."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Replace the JSON file `path` at once."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of the file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
