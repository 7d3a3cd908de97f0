"""The paper's claims on the grid's finished runs: estimates, intervals and verdicts.

python -m evaluation.calculate_claims (bash script/report.sh runs it too)
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # imports start at this checkout, installed or not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from common.errors import UserError, run_program
from evaluation.options import MEASURE_AGAIN, ClaimsOptions, parse_options


def main(argv: Sequence[str] | None = None) -> None:
    """Print a row for each claim and write the folder `report` beside the runs."""
    measure(parse_options(ClaimsOptions, argv, "The paper's claims, judged."))


def measure(options: ClaimsOptions) -> None:
    """The same, for a caller that has the options."""
    if options.name:
        raise UserError("--name is of a table: the claims' files are in a folder, report")
    from evaluation.claims_page import publish_claims  # torch only when there is work to do

    publish_claims(options)


if __name__ == "__main__":
    sys.exit(run_program(main, if_interrupted=MEASURE_AGAIN))
