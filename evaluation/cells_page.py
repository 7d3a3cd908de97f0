"""runs/<set>/report/cells.md: each cell's figures over its seeds with 95% intervals."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from engine.cells import TEACHER_NUMBERS, StudentCell, parse_cell
from evaluation.tables import Row
from metrics.intervals import half_width
from metrics.shots import SHOT_GROUPS

Columns = Mapping[str, tuple[str, int]]  # of a row of the report: heading and decimals

ACCURACY: Columns = {
    "top1_last": ("top-1, %", 1),
    "top1_best": ("top-1 of the best epoch, %", 1),
    **{f"top1_{name}": (f"{name}-shot, %", 1) for name in SHOT_GROUPS},
    "gap_points": ("gap, points", 1),
    "ece": ("ECE", 3),
    "affinity": ("affinity", 3),
    "diversity": ("diversity", 3),
}
AGREEMENT: Columns = {
    "fidelity_ensemble": ("fidelity to the ensemble, %", 1),
    "fidelity_ensemble_weak": ("weak view, %", 1),
    "fidelity_ensemble_strong": ("strong view, %", 1),
    "fidelity_ensemble_train": ("training images, %", 1),
    "fidelity_right": ("where the ensemble is right, %", 1),
    "fidelity_wrong": ("where it is wrong, %", 1),
    **{f"fidelity_{name}": (f"{name}-shot, %", 1) for name in SHOT_GROUPS},
    **{f"fidelity_T{k}_test": (f"to T{k}, %", 1) for k in TEACHER_NUMBERS},
    "cohen_kappa": ("kappa", 3),
    "error_consistency": ("error consistency", 3),
}
INFORMATION: Columns = {
    "kl_ensemble_to_student_nats": ("KL(ensemble, student)", 3),
    "kl_student_to_ensemble_nats": ("KL(student, ensemble)", 3),
    "mutual_information_nats": ("mutual information", 3),
    "chance_floor_nats": ("its chance floor", 3),
    "entropy_nats": ("entropy", 3),
    "entropy_ensemble_nats": ("entropy of the ensemble", 3),
}
ATTENTION: Columns = {
    "iou_teachers": ("IoU, teachers", 3),
    "iou_teachers_chance": ("chance", 3),
    "iou_student": ("IoU, teachers and student", 3),
    "iou_student_chance": ("chance", 3),
}
NOTE = (
    "Mean ± 95% interval by Student's t over n seeds, with the standard deviation in brackets (one "
    "seed: the value alone); test images; the last epoch unless named; the best one is chosen on "
    "the {selected_on} images. **Bold**: top-1 differs from that of the student of the same view "
    "without a teacher; the 95% interval of the difference, paired by seed, leaves out 0. Nothing "
    "is corrected for the number of cells. Every column, fidelity to each teacher under each view "
    "among them, is in ../results.csv."
)
PARTS: Mapping[str, tuple[str, Columns]] = {
    "Accuracy and calibration": ("Gap: training minus test top-1.", ACCURACY),
    "Agreement with the teachers": (
        "Fidelity: the share of images on which both name the same class; test view of the test "
        "images unless the heading says otherwise (weak and strong view of the test images, test "
        "view of the training images). Kappa and error consistency: fidelity above what chance "
        "and accuracy give.",
        AGREEMENT,
    ),
    "Information": ("In nats; of the student and the ensemble of its teachers.", INFORMATION),
    "Attention": ("Overlap of the masks, and that of masks of different images.", ATTENTION),
}


def cells_page(
    rows: Sequence[Row],
    top1: Mapping[str, Mapping[int, float]],
    dataset: str,
    selected_on: str = "test",
) -> str:
    """Rows of the report as Markdown; top1: of each cell by seed; selected_on: the images that
    chose the best epoch."""
    lines = [f"# The cells of {dataset}", "", NOTE.format(selected_on=selected_on)]
    for title, (note, columns) in PARTS.items():
        shown = [name for name in columns if any(row.get(name) is not None for row in rows)]
        if shown:
            lines += ["", f"## {title}", "", note, ""]
            lines += _table(rows, {name: columns[name] for name in shown}, top1)
    return "\n".join([*lines, ""])


def _table(
    rows: Sequence[Row], columns: Columns, top1: Mapping[str, Mapping[int, float]]
) -> list[str]:
    """The rows that have one of the columns."""
    headings = [heading for heading, _ in columns.values()]
    lines = ["| cell | n | " + " | ".join(headings) + " |", "|---" * (len(columns) + 2) + "|"]
    for row in rows:
        if all(row.get(name) is None for name in columns):
            continue
        texts = [_figure(row, name, decimals) for name, (_, decimals) in columns.items()]
        if "top1_last" in columns and _differs(row["cell"], top1):
            texts[0] = f"**{texts[0]}**"
        lines.append(f"| {row['cell']} | {row['seeds']} | " + " | ".join(texts) + " |")
    return lines


def _figure(row: Row, name: str, decimals: int) -> str:
    value, std = row.get(name), row.get(f"{name}_std")
    if value is None:
        return "-"
    n = row[f"{name}_n"] if f"{name}_n" in row else row["seeds"]
    of = "" if n == row["seeds"] else f", n = {n}"
    text = f"{value:.{decimals}f}"
    if std is None:
        return text
    return f"{text} ± {half_width(std, n):.{decimals}f} ({std:.{decimals}f}{of})"


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
