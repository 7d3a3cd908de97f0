"""Make lists of ImageNet-LT's kind: python dataloader/make_long_tail_list.py --data-path DIR.

For a tree of one's own, or where the published lists cannot be had: the class sizes follow the
same profile (see `dataloader.subsets.pareto_counts`), the images are others.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # imports start at this checkout, installed or not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from common.errors import OneLineParser, run_program


def main(argv: Sequence[str] | None = None) -> None:
    """Write the lists and print the class sizes; UserError says why they cannot be made."""
    args = vars(_parser().parse_args(argv))
    from dataloader.long_tail_lists import make_lists  # slow to import

    data_path = args.pop("data_path")
    output = args.pop("output") or data_path / "ImageNet_LT"
    counts = make_lists(data_path, output, **args)
    print(
        f"{sum(counts)} training images in {len(counts)} classes, {max(counts)} to {min(counts)} "
        f"a class: lists written to {output}"
    )


def _parser() -> OneLineParser:
    parser = OneLineParser(
        description="Make ImageNet_LT_train.txt, _val.txt and _test.txt from an ImageNet tree: "
        "the class sizes of ImageNet-LT (quantiles of its Pareto distribution), other images.",
    )
    add = parser.add_argument
    add("--data-path", type=Path, required=True, help="folder that holds train/ and val/")
    add("--output", type=Path, help="folder for the lists (default: DATA_PATH/ImageNet_LT)")
    add("--alpha", type=float, default=6.0, help="power of the distribution (%(default)s)")
    add("--largest", type=int, help="images of the largest class (all that it has, at most 1280)")
    add("--smallest", type=int, default=5, help="images of the smallest class (%(default)s)")
    add(
        "--validation-per-class",
        type=int,
        default=20,
        help="training images of each class put aside for validation (%(default)s)",
    )
    add("--seed", type=int, default=0, help="draws the classes and the images (%(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(run_program(main, if_interrupted="run the command again"))
