"""Draw docs/views.png: the CIFAR views of a few embedded images, and the strong one half way."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from dataloader.image_set import ImageSet
from dataloader.loader import ViewDataset
from dataloader.synthetic import load_synthetic
from dataloader.views import cifar_view

COLUMNS = (  # view and strength
    ("original", 1),
    ("test", 1),
    ("base", 1),
    *[("weak", 1)] * 3,
    *[("strong", 0.5)] * 3,
    *[("strong", 1)] * 4,
)
IMAGES = 5


def main() -> None:
    """One row an image; repeated columns are further epochs of the same view."""
    images = load_synthetic("train")
    figure, axes = plt.subplots(IMAGES, len(COLUMNS), figsize=(1.2 * len(COLUMNS), 1.3 * IMAGES))
    for index, row in enumerate(axes):
        for column, axis in enumerate(row):
            axis.imshow(pixels(images, index, column), interpolation="nearest")
            axis.set_axis_off()
    for axis, (name, strength) in zip(axes[0], COLUMNS, strict=True):
        axis.set_title(name if strength == 1 else f"{name}, {strength}")
    figure.tight_layout(pad=0.3)
    target = Path(__file__).parent.parent / "docs" / "views.png"
    figure.savefig(target, dpi=100)
    print(target)


def pixels(images: ImageSet, index: int, epoch: int) -> np.ndarray:
    """(32, 32, 3): the image at `index` in the column of that number."""
    name, strength = COLUMNS[epoch]
    if name == "original":
        return images.images[index]
    dataset = ViewDataset(images, cifar_view(name, 32, strength=strength), seed=0)
    return dataset[(epoch, index)][1].permute(1, 2, 0).numpy()


if __name__ == "__main__":
    main()
