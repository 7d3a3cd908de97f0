"""Files that are either whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dataloader.errors import UserError


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Yield a path to create a file or folder at; it becomes `target` if the block succeeds.

    Whatever goes wrong, `target` is untouched and nothing temporary is left beside it.
    UserError, with the path, for an OSError (a full disk, no permission).
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # A path inside a private temporary folder, so that target gets the usual permissions.
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as folder:
            path = Path(folder) / target.name
            yield path
            path.replace(target)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error}") from error


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
