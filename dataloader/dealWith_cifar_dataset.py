"""Make CIFAR-100 ready for training: python dataloader/dealWith_cifar_dataset.py."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # imports start at this checkout, installed or not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from common.errors import OneLineParser, run_program

ARCHIVE = "cifar-100-python.tar.gz"


def main(argv: Sequence[str] | None = None) -> None:
    """Make the data ready; UserError says why it cannot be."""
    args = _parser().parse_args(argv)
    from dataloader.prepare_cifar import SPLITS, prepare, write_images  # slow to import

    prepare(args.source, args.data_path)
    for split in SPLITS if args.images else ():
        write_images(args.data_path, split)


def _parser() -> OneLineParser:
    parser = OneLineParser(
        description="Make CIFAR-100 ready: check and unpack the published archive "
        f"({ARCHIVE}), or fetch it where there is a network. Running it again changes nothing.",
    )
    parser.add_argument(
        "--source",
        type=Path,
        help=f"{ARCHIVE}, the .tar in it or the folder extracted from it (default: look for them "
        "in the data path, in its folder CIFAR100 and in the current folder)",
    )
    parser.add_argument(
        "--data-path", type=Path, default=Path("data"), help="data root (default: data)"
    )
    parser.add_argument(
        "--images",
        action="store_true",
        help="also write PNG files and lists, <data path>/CIFAR100/train and train.txt "
        "(the same for test)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(run_program(main, if_interrupted="run the command again, it goes on"))
