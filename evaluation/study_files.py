"""What is kept of a replicate when its runs are gone: replicate_<r>.csv, its values and where they
come from, and replicate_<r>.npz, what each test image adds to each figure that is judged."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.checked_zip import read_npz
from common.errors import DamagedError, UserError, shown
from common.files import read_text, sha256, staged, write_text
from evaluation.judging import Measured
from evaluation.tables import Row, is_number

COLUMNS = ("figure", "cell", "value")
ORIGIN = ("replicate", "images", "trained at", "measured at")
OF_ONE_STUDY = ("training code", "measuring code", "settings", "data")  # the same in all replicates
FACTS = (*ORIGIN, *OF_ONE_STUDY)
CHECKSUM = "npz sha256"
STEPS = 127  # of the int8 that a contribution is kept as: its covariances need no more


@dataclass(frozen=True)
class ReplicateFile:
    """facts: of FACTS, as texts; measured: the judged figures; cells: rows of figure, cell, value,
    which are described and not judged."""

    facts: Mapping[str, str]
    measured: Mapping[str, Measured]
    cells: Sequence[Row]


def write_replicate(folder: Path, kept: ReplicateFile) -> list[Path]:
    """Both files, the CSV last; returns their paths."""
    stem = folder / f"replicate_{kept.facts['replicate']}"
    table, arrays = stem.with_suffix(".csv"), stem.with_suffix(".npz")
    content = _packed(kept.measured)
    with staged(arrays) as partial, partial.open("wb") as file:
        np.savez(file, **content)
    rows: list[Row] = [{"figure": fact, "cell": "", "value": kept.facts[fact]} for fact in FACTS]
    rows.append({"figure": CHECKSUM, "cell": "", "value": sha256(arrays)})
    rows += [{"figure": name, "cell": "", "value": repr(measured.value)}
             for name, measured in kept.measured.items()]  # fmt: skip
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows([*rows, *kept.cells])
    write_text(table, text.getvalue())
    return [table, arrays]


def read_replicate(table: Path) -> ReplicateFile:
    """From the CSV's path; DamagedError where it or what is beside it is not what was written."""
    rows = _rows(table)
    texts = {row["figure"]: row["value"] for row in rows if not row["cell"]}
    if missing := [name for name in (*FACTS, CHECKSUM) if name not in texts]:
        raise DamagedError(f"{table} is damaged: it has no {missing[0]}")
    arrays = table.with_suffix(".npz")
    if not arrays.is_file() or sha256(arrays) != texts[CHECKSUM]:
        raise DamagedError(f"{arrays} is missing or not the one that {table.name} was written with")
    added = _unpacked(arrays)
    if unknown := added.keys() - texts.keys():
        raise DamagedError(f"{table} is damaged: it has no {min(unknown)}")
    if {f"{len(values)}" for values in added.values()} != {texts["images"]}:
        raise DamagedError(
            f"{arrays} is not of the {shown(texts['images'])} images of {table.name}"
        )
    values = {name: _number(table, name, texts[name]) for name in added}
    return ReplicateFile(
        {name: texts[name] for name in FACTS},
        {name: Measured(values[name], deviations) for name, deviations in added.items()},
        [row | {"value": _number(table, row["figure"], row["value"])}
         for row in rows if row["cell"]],
    )  # fmt: skip


def one_study(files: Mapping[Path, ReplicateFile], alike: Sequence[str]) -> None:
    """UserError unless all were made by one code (codes that are `alike` count as one), from the
    same settings and data, hold the same figures, and are replicates of their names: no copies."""
    for path, file in files.items():
        name = f"replicate_{file.facts['replicate']}"
        if path.stem != name:
            raise UserError(f"{path} is of {shown(name)}: a replicate counts once, by its own name")
    for name in OF_ONE_STUDY:
        by_value: dict[str, Path] = {}
        for path, file in files.items():
            by_value.setdefault(_without(file.facts[name], alike), path)
        if len(by_value) > 1:
            (value, one), (other, another) = list(by_value.items())[:2]
            raise UserError(
                f"{one} and {another} differ in {name} ({shown(value)}, {shown(other)}): only "
                "replicates of one study are judged together; codes whose results are equal to the "
                f"bit are listed in {one.parent / ALIKE}, one a line"
            )
    first = next(iter(files))
    for path, file in files.items():
        if lacking := files[first].measured.keys() ^ file.measured.keys():
            raise UserError(f"{first} and {path} do not both have {min(lacking)}: write them anew")


ALIKE = "same_code.txt"


def codes_alike(folder: Path) -> list[str]:
    """Those of the folder's list: a code a line, and why; none where there is no list."""
    path = folder / ALIKE
    lines = read_text(path).splitlines() if path.is_file() else []
    return [line.split()[0] for line in lines if line.strip()]


def _without(value: str, alike: Sequence[str]) -> str:
    """Codes, those that are alike under one name."""
    names = {"one of those alike" if code in alike else code for code in value.split()}
    return " ".join(sorted(names))


def _packed(measured: Mapping[str, Measured]) -> dict[str, Any]:
    added = torch.stack([figure.contributions for figure in measured.values()])
    deviations = added - added.mean(dim=1, keepdim=True)
    steps = deviations.abs().amax(dim=1, keepdim=True) / STEPS
    rounded = (deviations / steps.clamp_min(torch.finfo(torch.float64).tiny)).round()
    return {
        "names": np.array(list(measured)),
        "steps": steps[:, 0].numpy(),
        "rounded": rounded.to(torch.int8).numpy(),
    }


def _unpacked(path: Path) -> dict[str, Tensor]:
    """Deviations from the figure by its name, (n,) float64 each."""
    kinds = {"names": ("U", 1), "steps": ("float64", 1), "rounded": ("int8", 2)}
    arrays = read_npz(path, kinds)
    names, steps, rounded = (arrays[name] for name in kinds)
    if not len(names) == len(steps) == len(rounded):
        raise DamagedError(f"{path} is damaged: not as many figures as names")
    added = torch.from_numpy(rounded).double() * torch.from_numpy(steps)[:, None]
    return dict(zip(names.tolist(), added, strict=True))


def _rows(table: Path) -> list[Row]:
    reader = csv.DictReader(io.StringIO(read_text(table)))
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise DamagedError(f"{table} is no replicate's table: its columns are not {COLUMNS}")
    rows = list(reader)
    if any(None in row or None in row.values() for row in rows):
        raise DamagedError(f"{table} is damaged: a line has more or less than its columns")
    return rows


def _number(table: Path, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not is_number(value):
        raise DamagedError(f"{table} is damaged: {shown(name)} is {shown(text)}")
    return value
