"""Draw docs/views.png: weak, strong, base and test views of a few embedded images."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from dataloader.loader import ViewDataset
from dataloader.synthetic import load_synthetic
from dataloader.views import cifar_view

COLUMNS = ("original", "test", "base", "base", "weak", "weak", "weak", "strong", "strong", "strong")
IMAGES = 5


def main() -> None:
    """One row an image; repeated columns are further epochs of the same view."""
    images = load_synthetic("train")
    figure, axes = plt.subplots(IMAGES, len(COLUMNS), figsize=(1.2 * len(COLUMNS), 1.2 * IMAGES))
    for row, index in zip(axes, range(IMAGES), strict=True):
        for column, (axis, name) in enumerate(zip(row, COLUMNS, strict=True)):
            if name == "original":
                pixels = images.images[index]
            else:
                dataset = ViewDataset(images, cifar_view(name, 32), seed=0)
                pixels = dataset[(column, index)][1].permute(1, 2, 0)
            axis.imshow(pixels, interpolation="nearest")
            axis.set_axis_off()
            if index == 0:
                axis.set_title(name)
    figure.tight_layout(pad=0.3)
    target = Path(__file__).parent.parent / "docs" / "views.png"
    figure.savefig(target, dpi=100)
    print(target)


if __name__ == "__main__":
    main()
