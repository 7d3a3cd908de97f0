"""How many replicates a study needs, from the spreads of one that is finished:

python -m evaluation.calculate_replicates --dataset CIFAR100 (after bash script/report.sh)
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":  # imports start at this checkout, installed or not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from common.errors import UserError, run_program
from common.files import read_json
from common.settings import Settings, option
from engine.flags import parse
from evaluation.options import MEASURE_AGAIN, check_place
from evaluation.tables import Row, format_table, is_number, write_table
from metrics.conventions import MOST_REPLICATES

COUNTS = (2, 3, 5, 10, 20)  # of replicates, whose half widths are shown
NOTE = (
    "Half widths of 95% intervals to expect of R replicates of the same training and the same\n"
    "test images; needed: replicates for a half width of {points} points or {iou} IoU (never:\n"
    "more than {most}, or the choice of the test images alone leaves more doubt). A spread over\n"
    "few replicates is rough: over 3 the true one is .5 to 6.3 times as large."
)


@dataclass(frozen=True, kw_only=True)
class ReplicatesOptions(Settings):
    """What the plan can be asked."""

    dataset: str = option("CIFAR100", "data set of the runs (or DATASET)")
    output_dir: str = option("runs", "folder that holds the runs")
    points: float = option(1.0, "half width wanted, points of top-1", above=0)
    iou: float = option(0.05, "half width wanted, IoU", above=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_place(self.dataset, self.output_dir)


def main(argv: Sequence[str] | None = None) -> None:
    """Print and write a row for each figure of the claims."""
    dataset = os.environ.get("DATASET") or ReplicatesOptions.dataset
    publish(parse(ReplicatesOptions, argv, "Half widths to expect.", dataset=dataset))


def publish(options: ReplicatesOptions) -> None:
    """The same, for a caller that has the options."""
    folder = Path(options.output_dir) / options.dataset / "report"
    rows = [planned(row, options) for row in spreads(folder / "claims.json")]
    paths = write_table(folder / "replicates", rows)
    print(format_table(rows))
    print(NOTE.format(points=options.points, iou=options.iou, most=MOST_REPLICATES))
    print("results:", ", ".join(map(str, paths)))


def spreads(path: Path) -> list[Row]:
    """The claims' rows that know a spread over replicates; UserError where there are none."""
    try:
        rows = read_json(path)
    except FileNotFoundError:
        raise UserError(f"{path} is not there: bash script/report.sh makes it") from None
    known = [row for row in rows if _is_spread(row)] if isinstance(rows, list) else []
    if not known:
        raise UserError(
            f'{path} knows no spread: it takes two replicates (SEEDS="1 2") of all cells of a claim'
        )
    return known


def planned(row: Row, options: ReplicatesOptions) -> Row:
    """Half widths over several numbers of replicates, and how many are needed for the one that is
    wanted: None of what has no such unit."""
    from metrics.intervals import expected_half_width, replicates_needed  # torch, for there is work

    spread = row["std"], row["image_std"] ** 2
    wanted = {"points": options.points, "IoU": options.iou}.get(row["unit"])
    needed = None if wanted is None else replicates_needed(*spread, wanted) or "never"
    widths = {f"R = {count}": expected_half_width(*spread, count) for count in COUNTS}
    about = {name: row[name] for name in ("claim", "figure", "way", "std", "image_std")}
    return about | widths | {"needed": needed}


def _is_spread(row: object) -> bool:
    return (
        isinstance(row, dict)
        and all(isinstance(row.get(name), str) for name in ("claim", "figure", "way", "unit"))
        and all(is_number(row.get(name)) and row[name] >= 0 for name in ("std", "image_std"))
    )


if __name__ == "__main__":
    sys.exit(run_program(main, if_interrupted=MEASURE_AGAIN))
