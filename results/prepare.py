"""A tree of photographs, train/<class>/* and val/<class>/*, at 32 pixels: some of its classes, and
of each its first training images and all its validation images, with `--rest` the other training
images among these.

python results/prepare.py SOURCE TARGET --every 5 --images 50     20 of 100 classes, 50 images each
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

SIDE = 32  # pixels


def main() -> None:
    """Write the small tree."""
    parser = argparse.ArgumentParser(description="A small tree of photographs, 32 pixels a side.")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--every", type=int, default=1, help="take every so many-th class by name")
    parser.add_argument("--images", type=int, help="of a class, in training; all without it")
    parser.add_argument("--rest", action="store_true", help="validate on all other images")
    flags = parser.parse_args()
    for name in sorted(path.name for path in (flags.source / "train").iterdir())[:: flags.every]:
        train, val = (sorted((flags.source / split / name).iterdir()) for split in ("train", "val"))
        most = len(train) if flags.images is None else flags.images
        shrink(train[:most], flags.target / "train" / name)
        shrink([*val, *(train[most:] if flags.rest else [])], flags.target / "val" / name)


def shrink(images: Sequence[Path], folder: Path) -> None:
    """Write the images at SIDE pixels; ValueError where two have one name."""
    folder.mkdir(parents=True, exist_ok=True)
    if len({path.stem for path in images}) < len(images):
        raise ValueError(f"{folder}: two images have the same name")
    for path in images:
        with Image.open(path) as image:
            small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
        small.save(folder / f"{path.stem}.png")


if __name__ == "__main__":
    main()
