"""A tree of photographs, train/<class>/* and val/<class>/*, at 32 pixels: some of its classes, and
of each its first training images and all its validation images.

python results/prepare.py SOURCE TARGET --every 5 --images 50     20 of 100 classes, 50 images each
"""

import argparse
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
    flags = parser.parse_args()
    classes = sorted(path.name for path in (flags.source / "train").iterdir())[:: flags.every]
    for split, most in (("train", flags.images), ("val", None)):
        for name in classes:
            (flags.target / split / name).mkdir(parents=True, exist_ok=True)
            for path in sorted((flags.source / split / name).iterdir())[:most]:
                with Image.open(path) as image:
                    small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
                small.save(flags.target / split / name / f"{path.stem}.png")


if __name__ == "__main__":
    main()
