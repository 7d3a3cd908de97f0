"""Overlap of attention maps: of teachers with each other (T_T), of the student with them (T_S).

bash script/IoU_TT.sh, bash script/IoU_TS.sh, or python -m evaluation.calculate_iou --group T_T
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":  # imports start at this checkout, installed or not
    sys.path[0] = str(Path(__file__).resolve().parents[1])


from dataloader.errors import run_program
from engine.config import option
from evaluation.options import ViewedOptions, parse_options

GROUPS = ("T_T", "T_S")
TARGETS = ("ensemble", "label", "predicted", "class_sum")


@dataclass(frozen=True, kw_only=True)
class OverlapOptions(ViewedOptions):
    """What the overlap can be asked besides."""

    group: str = option("T_T", "teachers with each other, or with the student", choices=GROUPS)
    target: str = option("ensemble", "class whose maps are compared", choices=TARGETS)
    threshold: float = option(0.4, "of each map's range, above which it looks", at_least=0, below=1)
    cells: tuple[str, ...] = option(("2T",), "students, or groups (or CELLS)", operational=True)
    name: str = option("", "of the result files beside the runs (iou_<group>)", operational=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Print and write the overlap of each group, and draw it."""
    measure(parse_options(OverlapOptions, argv, "Overlap of attention maps."))


def measure(options: OverlapOptions) -> None:
    """The same, for a caller that has the options."""
    from evaluation.attention import publish_overlap  # torch only when there is work to do

    publish_overlap(options)


if __name__ == "__main__":
    sys.exit(run_program(main))
