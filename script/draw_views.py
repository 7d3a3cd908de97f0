"""Draw docs/views.png: the CIFAR views of a few embedded images, and the strong one half way."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # imports start at this checkout, installed or not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from common.errors import OneLineParser, run_program
from common.files import write_bytes
from dataloader.images import ImageSet
from dataloader.loader import ViewDataset
from dataloader.synthetic import load_synthetic
from dataloader.views import cifar_view
from evaluation.figures import Figure, own_style, rendered

COLUMNS = (  # view and strength
    ("original", 1),
    ("test", 1),
    ("base", 1),
    *[("weak", 1)] * 3,
    *[("strong", 0.5)] * 3,
    *[("strong", 1)] * 4,
)
IMAGES = 5
DOCS = Path(__file__).resolve().parents[1] / "docs"


@own_style()
def main(argv: Sequence[str] | None = None) -> None:
    """One row an image; repeated columns are further epochs of the same view."""
    target = _parser().parse_args(argv).output
    images = load_synthetic("train")
    figure = Figure(figsize=(1.2 * len(COLUMNS), 1.3 * IMAGES))
    axes = figure.subplots(IMAGES, len(COLUMNS))
    for index, row in enumerate(axes):
        for column, axis in enumerate(row):
            axis.imshow(pixels(images, index, column), interpolation="nearest")
            axis.set_axis_off()
    for axis, (name, strength) in zip(axes[0], COLUMNS, strict=True):
        axis.set_title(name if strength == 1 else f"{name}, {strength}")
    figure.tight_layout(pad=0.3)
    write_bytes(target, rendered(figure, "png", dpi=100))
    print(target)


def pixels(images: ImageSet, index: int, epoch: int) -> np.ndarray:
    """(32, 32, 3): the image at `index` in the column of that number."""
    name, strength = COLUMNS[epoch]
    if name == "original":
        return images.images[index]
    dataset = ViewDataset(images, cifar_view(name, 32, strength=strength), seed=0)
    return dataset[(epoch, index)][1].permute(1, 2, 0).numpy()


def _parser() -> OneLineParser:
    parser = OneLineParser(description=__doc__)
    parser.add_argument(
        "--output", type=Path, default=DOCS / "views.png", help="the PNG file (%(default)s)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(run_program(main, if_interrupted="run the command again"))
