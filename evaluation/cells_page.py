"""runs/<set>/report/cells.md: each cell's figures over its seeds with 95% intervals."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from engine.cells import StudentCell, parse_cell
from evaluation.table import Row
from metrics.intervals import half_width
from metrics.shots import SHOT_GROUPS

COLUMNS = {  # heading and decimals
    "top1_last": ("top-1, %", 1),
    "top1_best": ("best epoch, %", 1),
    **{f"top1_{name}": (f"top-1 {name}, %", 1) for name in SHOT_GROUPS},
    "gap_points": ("gap, points", 1),
    "fidelity_ensemble": ("fidelity, %", 1),
    "kl_ensemble_to_student_nats": ("KL to student, nats", 3),
    "kl_student_to_ensemble_nats": ("KL from student, nats", 3),
    "entropy_nats": ("entropy, nats", 3),
    "mutual_information_nats": ("MI, nats", 3),
    "cohen_kappa": ("kappa", 3),
    "error_consistency": ("error consistency", 3),
    "ece": ("ECE", 3),
    "iou_teachers": ("IoU teachers", 3),
    "iou_teachers_chance": ("its chance", 3),
    "iou_student": ("IoU with student", 3),
    "iou_student_chance": ("its chance", 3),
    "affinity": ("affinity", 3),
    "diversity": ("diversity", 3),
}
NOTE = (
    "Mean and 95% interval over n seeds by Student's t (none with one seed); test images, last "
    "epoch unless named. Bold: the difference of top-1 to the student of the same view without a "
    "teacher, paired by seed, has an interval that leaves out 0. KL, mutual information, kappa and "
    "error consistency: student and ensemble of its teachers. No correction for the number of "
    "cells."
)


def cells_page(rows: Sequence[Row], top1: Mapping[str, Mapping[int, float]], dataset: str) -> str:
    """Rows of the report as Markdown; top1: of each cell by seed."""
    shown = [name for name in COLUMNS if any(row.get(name) is not None for row in rows)]
    lines = [f"# The cells of {dataset}", "", NOTE, ""]
    lines += ["| cell | n | " + " | ".join(COLUMNS[name][0] for name in shown) + " |"]
    lines += ["|---" * (len(shown) + 2) + "|"]
    for row in rows:
        texts = [_figure(row, name) for name in shown]
        if _differs(row["cell"], top1):
            texts[0] = f"**{texts[0]}**"
        lines.append(f"| {row['cell']} | {row['seeds']} | " + " | ".join(texts) + " |")
    return "\n".join([*lines, ""])


def _figure(row: Row, name: str) -> str:
    value, std, decimals = row.get(name), row.get(f"{name}_std"), COLUMNS[name][1]
    if value is None:
        return "-"
    text = f"{value:.{decimals}f}"
    return text if std is None else f"{text} ± {half_width(std, row['seeds']):.{decimals}f}"


def _differs(name: str, top1: Mapping[str, Mapping[int, float]]) -> bool:
    cell = parse_cell(name)
    if not (isinstance(cell, StudentCell) and cell.teachers):
        return False
    own, alone = top1.get(name, {}), top1.get(f"S{cell.letter}", {})
    differences = [own[seed] - alone[seed] for seed in sorted(own.keys() & alone.keys())]
    if len(differences) < 2:
        return False
    width = half_width(statistics.stdev(differences), len(differences))
    return abs(statistics.fmean(differences)) > width
