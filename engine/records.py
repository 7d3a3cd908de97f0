"""What a run says of itself in JSON: sealed with a checksum when written, checked when read.

A flipped bit leaves most JSON valid. A record from before there was a seal is read without one.
"""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import Any

from common.errors import DamagedError
from common.files import parse_json, read_json, read_text, write_json, write_text

SEAL = "crc32"

Record = dict[str, Any]

_FIGURES = {"loss": float, "top1": float}
_EPOCH = {
    "epoch": int,
    "lr": float,
    "train": _FIGURES,
    "seconds": float,
}
_VALIDATED = {"validation": _FIGURES, "gap_points": float}  # both or none
_METRICS = {
    "cell": str,
    "seed": int,
    "selected_on": str,
    "last": {"test": {"top1": float}},
    "best": {"test": {"top1": float}},
}
_TEACHER = {"file": str, "sha256": str}


def write_epochs(path: Path, records: list[Record]) -> None:
    """Replace the lines, an epoch each, at once."""
    write_text(path, "".join(json.dumps(_sealed(record)) + "\n" for record in records))


def read_epochs(path: Path, until: int) -> list[Record]:
    """The records of epochs 1 to `until`, or as many of them as there are; DamagedError when one
    is not what was written."""
    lines = read_text(path).splitlines()[:until] if path.is_file() else []
    records = []
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        record = _unsealed(parse_json(line, where), where, _EPOCH)
        if record.keys() & _VALIDATED.keys():
            _check(record, _VALIDATED, where)
        if record["epoch"] != number:
            raise DamagedError(f"{where} is epoch {record['epoch']}")
        records.append(record)
    return records


def write_metrics(path: Path, metrics: Record) -> None:
    """Replace the file at once."""
    write_json(path, _sealed(metrics))


def read_metrics(path: Path) -> Record:
    """A finished run's figures; DamagedError when they are not what was written."""
    metrics = _unsealed(read_json(path), f"{path}", _METRICS)
    for which in ("last", "best"):
        _check_figures(metrics[which]["test"], f"{path}, {which}")
    return metrics


def read_environment(path: Path) -> Record:
    """The teachers ({name: {"file", "sha256"}}), view and sessions of a run so far, none before its
    first; DamagedError when they are no such things."""
    saved = read_json(path) if path.is_file() else {}
    if not isinstance(saved, dict):
        raise DamagedError(f"{path} is damaged: no record")
    saved = {"teachers": {}, "sessions": [], **saved}
    _check(saved, {"teachers": dict, "sessions": list}, f"{path}")
    for name, teacher in saved["teachers"].items():
        _check(teacher, _TEACHER, f"{path}, teacher {name!r:.20}")
    return saved


def _sealed(record: Record) -> Record:
    return {**record, SEAL: _checksum(record)}


def _unsealed(record: Any, where: str, needed: dict[str, Any]) -> Record:
    """The record without its seal, if that fits it and if it has what is `needed`."""
    _check(record, needed, where)
    bare = {name: value for name, value in record.items() if name != SEAL}
    if record.get(SEAL, _checksum(bare)) != _checksum(bare):
        raise DamagedError(f"{where} is damaged: it is not what was written there")
    return bare


def _checksum(record: Record) -> int:
    return zlib.crc32(json.dumps(record).encode())


def _check(value: Any, needed: dict[str, Any], where: str) -> None:
    """DamagedError unless `value` is a mapping with the `needed` names, of the types given."""
    if not isinstance(value, dict):
        raise DamagedError(f"{where} is damaged: no record")
    for name, kind in needed.items():
        inner = value.get(name)
        if isinstance(kind, dict):
            _check(inner, kind, f"{where}, {name}")
        elif not (_is_number(inner) if kind is float else type(inner) is kind):
            raise DamagedError(f"{where} is damaged: {name} is missing or no {kind.__name__}")


def _check_figures(figures: dict[str, Any], where: str) -> None:
    """Accuracy and agreement are shares; DamagedError for anything else."""
    for name, value in figures.items():
        is_share = name.startswith(("top1", "fidelity"))
        if not _is_number(value) or (is_share and not 0 <= value <= 1):
            raise DamagedError(f"{where} is damaged: {name} is {value!r:.30}")


def _is_number(value: Any) -> bool:
    """A float (NaN too, which a diverged run writes), or an integer that fits one."""
    if isinstance(value, float):
        return True
    return type(value) is int and math.log2(abs(value) + 1) < 1000
