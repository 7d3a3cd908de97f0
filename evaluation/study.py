"""The study of results/README.md: a replicate kept in two small files, or all that are kept judged.

python -m evaluation.study --write --dataset photographs --seeds 3
python -m evaluation.study
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":  # imports start at this checkout, installed or not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from common.errors import UserError, run_program
from common.settings import NO_YES, option
from evaluation.options import MEASURE_AGAIN, MeasureOptions, parse_options


@dataclass(frozen=True, kw_only=True)
class StudyOptions(MeasureOptions):
    """What the study can be asked."""

    study: str = option(
        "results/study", "folder of the replicates' files and of the endpoints", operational=True
    )
    write: str = option(
        "no", "keep the replicates --seeds of the runs there", choices=NO_YES, operational=True
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Write replicates' files, or judge those that are there: endpoints.csv, .md and one page."""
    options = parse_options(StudyOptions, argv, "The study: its replicates kept, or judged.")
    if options.name or options.cells or options.latex == "yes":
        raise UserError(
            "--name, --cells (CELLS) and --latex have no meaning here: the study has cells of its "
            "own, and no table in LaTeX"
        )
    if options.seeds and options.write == "no":
        raise UserError("--seeds are those that --write keeps: all that are kept are judged")
    if options.write == "yes" and not options.seeds:
        raise UserError("--write keeps the replicates that --seeds names, such as --seeds 3")
    if options.write == "yes":
        from evaluation.study_runs import write_replicates  # torch only from here

        write_replicates(options, Path(options.study))
    else:
        from evaluation.study_page import publish_endpoints  # and matplotlib

        publish_endpoints(Path(options.study))


if __name__ == "__main__":
    sys.exit(run_program(main, if_interrupted=MEASURE_AGAIN))
