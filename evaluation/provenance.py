"""Which checkpoint, code and question a row of a table comes from, and whether it still holds.

Imports nothing heavy: the report reads it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dataloader.files import sha256
from evaluation.table import Row

# The columns that say what a row is about: a newer row with the same ones takes its place.
IDENTITY = ("cell", "seed", "pair", "view", "asked")


@dataclass
class CheckpointHashes:
    """SHA-256 of checkpoints, each computed once for each state of its file."""

    _known: dict[tuple[Path, int, int], str] = field(default_factory=dict)

    def of(self, path: Path) -> str:
        """Hexadecimal; OSError where there is no file."""
        state = path.stat()
        key = (path, state.st_mtime_ns, state.st_size)
        if key not in self._known:
            self._known[key] = sha256(path)
        return self._known[key]

    def changed(self, row: Row, folder: Path) -> str | None:
        """Why the row no longer holds: a checkpoint below `folder` that is gone or changed, or
        none recorded; None where it does."""
        if not row.get("checkpoints"):
            return "it does not say which checkpoints it is of"
        for name, expected in row["checkpoints"].items():
            path = folder / name
            if not path.is_file():
                return f"{path} is gone"
            if self.of(path) != expected:
                return f"{path} changed"
        return None


def updated(rows: Sequence[Row], newer: Sequence[Row]) -> list[Row]:
    """The rows, those about the same thing as a newer one replaced by it."""
    return list({_identity(row): row for row in (*rows, *newer)}.values())


def _identity(row: Row) -> tuple:
    return tuple(row.get(name) for name in IDENTITY)
