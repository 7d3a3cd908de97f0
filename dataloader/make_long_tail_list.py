"""Make lists of ImageNet-LT's kind: python dataloader/make_long_tail_list.py --data-path DIR.

For a tree of one's own, or where the published lists cannot be had: the class sizes follow the
same profile (see `dataloader.subsets.pareto_counts`), the images are others.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # imports start at this checkout, installed or not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from common.errors import OneLineParser, UserError, run_program, shown
from common.files import write_bytes
from common.settings import Bounds
from dataloader.imagenet import LT_LISTS, load_imagenet
from dataloader.images import FileImageSet
from dataloader.subsets import pareto_counts, select

BOUNDS = {
    "alpha": Bounds(above=0, at_most=1000),
    "largest": Bounds(at_least=1),
    "smallest": Bounds(at_least=1),
    "validation_per_class": Bounds(at_least=0),
    "seed": Bounds(at_least=0),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Write the lists and print the class sizes; UserError says why they cannot be made."""
    args = vars(_parser().parse_args(argv))
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


def make_lists(
    data_path: Path,
    output: Path,
    *,
    alpha: float = 6.0,
    largest: int | None = None,
    smallest: int = 5,
    validation_per_class: int = 20,
    seed: int = 0,
) -> list[int]:
    """Write ImageNet_LT_{train,val,test}.txt into `output`; the training images of each class.

    The validation images are training images left over, the test images all of val/. `largest`
    defaults to what the largest class has besides its validation images, at most 1280. Raises
    UserError when a number is out of range, the profile asks for more than there is, or a list is
    already there.
    """
    asked = {
        "alpha": alpha,
        "largest": largest,
        "smallest": smallest,
        "validation_per_class": validation_per_class,
        "seed": seed,
    }
    for name, value in asked.items():
        if value is not None:
            BOUNDS[name].check("--" + name.replace("_", "-"), value)
    paths = {split: output / name for split, name in LT_LISTS.items()}
    if existing := [path for path in paths.values() if path.exists()]:
        raise UserError(f"{existing[0]} is already there: remove it, or give another --output")
    train, test = load_imagenet(data_path, "train"), load_imagenet(data_path, "test")
    room = np.bincount(train.labels) - validation_per_class
    if largest is None:
        largest = min(1280, int(room.max()))
    try:
        profile = pareto_counts(largest, smallest, train.num_classes, alpha=alpha)
    except ValueError as error:
        raise UserError(str(error)) from None
    counts = assign(profile, room, seed)
    chosen, left_over = _chosen(train, counts, validation_per_class, seed)
    splits = {"validation": train.subset(left_over), "test": test, "train": train.subset(chosen)}
    lists = {paths[split]: _text(images) for split, images in splits.items()}
    for path, text in lists.items():  # one after the other, with nothing between that may fail
        write_bytes(path, text)
    return counts


def assign(profile: list[int], room: np.ndarray, seed: int) -> list[int]:
    """The count of each class: the descending `profile` dealt out in an order drawn from `seed`.

    room: (C,) the most each class can have. A class too small for its count leaves it to the
    next in the order that is not. UserError when none is.
    """
    waiting = np.random.RandomState(seed).permutation(len(profile)).tolist()
    counts = [0] * len(profile)
    for count in profile:
        c = next((c for c in waiting if room[c] >= count), None)
        if c is None:
            raise UserError(
                f"no class is left that can spare {count} training images besides those for "
                "validation: give a smaller --largest, --smallest or --validation-per-class"
            )
        waiting.remove(c)
        counts[c] = count
    return counts


def _chosen(
    train: FileImageSet, counts: list[int], spare: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices for training and for validation: of each class's shuffle the first, and the next."""
    both = select(train.labels, [count + spare for count in counts], seed=seed)
    is_train = np.concatenate([np.arange(count + spare) < count for count in counts])
    return both[is_train], both[~is_train]


def _text(images: FileImageSet) -> bytes:
    lines = [f"{_on_a_line(images.relative_path(i))} {c}\n" for i, c in enumerate(images.labels)]
    return os.fsencode("".join(lines))


def _on_a_line(name: str) -> str:
    if "\n" in name or "\r" in name:
        raise UserError(
            f"{shown(name)} has a line break in its name, no list can hold it: rename it"
        )
    return name


if __name__ == "__main__":
    sys.exit(run_program(main, if_interrupted="run the command again"))
