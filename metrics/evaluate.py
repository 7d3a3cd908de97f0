"""Every measurement of a few cells, one after the other in one process, then the grid's table:

python -m metrics.evaluate --dataset synthetic --cells Sw T1w_T2w_Sw
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from Affinity import calculate_affinity
from engine.cells import Cell, StudentCell, expand
from engine.errors import run_program
from metrics import calculate_agreement, calculate_ece, calculate_iou, report
from metrics.grid import measure_parser


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the students named by --cells and their teachers."""
    options = measure_parser("Every measurement.", ("0T", "1T", "2T"), "").parse_args(argv)
    students = [cell for cell in expand(options.cells) if isinstance(cell, StudentCell)]
    teachers = list(dict.fromkeys(teacher for cell in students for teacher in cell.teachers))
    where = ["--dataset", options.dataset, "--output-dir", str(options.output_dir)]
    how = [*where, "--data-path", str(options.data_path), "--device", options.device]
    calculate_ece.main([*how, "--cells", *_names([*teachers, *students])])
    taught = {k: [c for c in students if len(c.teachers) >= k] for k in (1, 2)}
    if taught[1]:
        calculate_agreement.main([*how, "--cells", *_names(taught[1])])
        calculate_iou.main([*how, "--group", "T_S", "--cells", *_names(taught[1])])
        first = [cell for cell in teachers if cell.number == teachers[0].number]
        calculate_affinity.main([*how, "--cells", *_names(first)])
    if taught[2]:
        calculate_iou.main([*how, "--group", "T_T", "--cells", *_names(taught[2])])
    report.main(where)


def _names(cells: Sequence[Cell]) -> list[str]:
    return list(map(str, cells))


if __name__ == "__main__":
    sys.exit(run_program(main, None))
