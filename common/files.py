"""Files that are either whole or not there, and reading them back without trusting them."""

from __future__ import annotations

import codecs
import glob
import hashlib
import json
import os
import re
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from common.errors import DamagedError, UserError

MOST_TEXT_BYTES = 64 * 2**20  # the records of 100,000 epochs take less
NO_TEXT = "backslashreplace"  # a file's name may hold bytes that are none: they are spelled out


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
        # whole: another machine's name may begin as this one's, gpu and gpu-1
        owner = re.fullmatch(r"([0-9]+)-[a-z0-9_]+", path.name.removeprefix(prefix))
        if owner and not _is_alive(int(owner[1])):
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
    """Replace the UTF-8 text file `path` at once."""
    write_bytes(path, content.encode(errors=NO_TEXT))


def write_json(path: Path, content: Any) -> None:
    """Replace the JSON file `path` at once."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def append_line(path: Path, text: str) -> None:
    """Add a line to a UTF-8 text file; UserError, with the path, on a full disk."""
    try:
        with path.open("a", encoding="utf-8", errors=NO_TEXT) as file:
            file.write(text + "\n")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error}") from error


def regular(path: Path) -> Path:
    """`path`, which every reader asks for before it opens it. UserError when something other than a
    file, or a link to one, is there: a pipe is waited for, a device never ends. OSError when
    nothing is."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kind = "folder" if stat.S_ISDIR(mode) else "pipe, socket or device"
        raise UserError(f"{path} is a {kind}: give a file")
    return path


def encoding_of(head: bytes) -> str:
    """The encoding of a text that begins so: editors of Windows put a mark first, also to UTF-8."""
    is_utf16 = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return "utf-16" if is_utf16 else "utf-8-sig"


def read_text(path: Path, *, most_bytes: int = MOST_TEXT_BYTES) -> str:
    """The UTF-8 text of a file, without its byte order mark. DamagedError when it is none or longer
    than `most_bytes`, of which no more is read; else as `regular`."""
    with regular(path).open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise DamagedError(f"{path} has over {most_bytes} bytes, more than such a file can need")
    try:
        return content.decode(encoding_of(content))
    except UnicodeDecodeError as error:
        raise DamagedError(
            f"{path} is no UTF-8 text ({error.reason}, byte {error.start})"
        ) from None


def open_text(path: Path) -> TextIO:
    """A text of any length, to be read by its lines, as `read_text` has it; bytes that are no UTF-8
    become what os.fsencode makes these bytes of, for a list may name files by them."""
    with regular(path).open("rb") as file:
        encoding = encoding_of(file.read(3))
    errors = "surrogateescape" if encoding == "utf-8-sig" else "strict"
    return path.open(encoding=encoding, errors=errors)


def read_json(path: Path) -> Any:
    """The content of a JSON file; DamagedError, OSError as `read_text`."""
    return parse_json(read_text(path), f"{path}")


def parse_json(text: str, where: str) -> Any:
    """The value that `text` writes in JSON; DamagedError, which names `where`, when it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of 5,000 digits
        raise DamagedError(f"{where} is damaged, or no JSON ({error})") from None


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of the file's bytes; UserError, OSError as `regular`."""
    with regular(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
