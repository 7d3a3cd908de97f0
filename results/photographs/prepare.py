"""Every fifth class, its first 50 training images and all its validation images, at 32 pixels:

python results/photographs/prepare.py SOURCE TARGET      trees of train/<class>/* and val/<class>/*
"""

import sys
from pathlib import Path

from PIL import Image

TRAINING_IMAGES = 50
SIDE = 32


def main(source: Path, target: Path) -> None:
    """Write the small tree."""
    classes = sorted(path.name for path in (source / "train").iterdir())[::5]
    for split, most in (("train", TRAINING_IMAGES), ("val", None)):
        for name in classes:
            (target / split / name).mkdir(parents=True, exist_ok=True)
            for path in sorted((source / split / name).iterdir())[:most]:
                with Image.open(path) as image:
                    small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
                small.save(target / split / name / f"{path.stem}.png")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
