"""Every measurement of a few cells, one after the other in one process, then the grid's table:

python script/evaluate.py --dataset synthetic --cells Sw T1w_T2w_Sw
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import TypeVar

from Affinity import calculate_affinity
from Affinity.calculate_affinity import AffinityOptions
from dataloader.errors import UserError, run_program
from engine.cells import Cell, StudentCell, expand
from evaluation import calculate_agreement, calculate_ece, calculate_iou, report
from evaluation.calculate_agreement import AgreementOptions
from evaluation.calculate_ece import CalibrationOptions
from evaluation.calculate_iou import OverlapOptions
from evaluation.options import MeasureOptions, parse_options
from evaluation.report import ReportOptions

Options = TypeVar("Options", bound=MeasureOptions)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the students named by --cells and their teachers."""
    about = "Every measurement of some students and of their teachers."
    options = parse_options(MeasureOptions, argv, about, cells=("0T", "1T", "2T"))
    if options.name:
        raise UserError("--name is of one measurement: here each has its own")
    students = [cell for cell in expand(options.cells) if isinstance(cell, StudentCell)]
    if not students:
        raise UserError(
            f"--cells {' '.join(options.cells)}: name students, such as T1w_Sw; their teachers are "
            "measured with them (bash script/ECE.sh measures teachers alone)"
        )
    teachers = list(dict.fromkeys(teacher for cell in students for teacher in cell.teachers))
    calculate_ece.measure(_as(CalibrationOptions, options, [*teachers, *students]))
    if ones := [cell for cell in students if cell.teachers]:
        calculate_agreement.measure(_as(AgreementOptions, options, ones))
        calculate_iou.measure(_as(OverlapOptions, options, ones, group="T_S"))
        first = [cell for cell in teachers if cell.number == teachers[0].number]
        calculate_affinity.measure(_as(AffinityOptions, options, first))
    if twos := [cell for cell in students if len(cell.teachers) > 1]:
        calculate_iou.measure(_as(OverlapOptions, options, twos, group="T_T"))
    report.publish(ReportOptions(dataset=options.dataset, output_dir=options.output_dir))


def _as(
    options_class: type[Options], options: MeasureOptions, cells: Sequence[Cell], **more: str
) -> Options:
    """The options of one measurement: what was asked of all, about `cells`."""
    shared = {f.name: getattr(options, f.name) for f in dataclasses.fields(MeasureOptions)}
    del shared["name"]
    return options_class(**{**shared, "cells": tuple(map(str, cells)), **more})


if __name__ == "__main__":
    sys.exit(run_program(main))
